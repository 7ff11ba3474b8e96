# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine: its options and environment, its three calls, TLS, and that only "No such container" is a definite no."""
from __future__ import annotations

import pathlib
import socket
import ssl
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.molecule_ai.workspace.plugins.module_utils.engine_arguments import ENGINE_ARGUMENT_SPEC
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import docker_engine
from fake_engine import FakeEngine

pytest.importorskip("docker")


@pytest.fixture(name="engine")
def fixture_engine() -> t.Iterator[FakeEngine]:
    """An engine with one running and one stopped container."""
    with FakeEngine({"ws-one": "running", "ws-two": "exited"}) as engine:
        yield engine


def options_of(engine: FakeEngine, **others: t.Any) -> docker_engine.EngineOptions:
    """Its options, impatient."""
    return docker_engine.EngineOptions(docker_host=engine.url, timeout=5, **others)


def parsed(arguments: dict[str, t.Any]) -> docker_engine.EngineOptions:
    """Options as a task gives them."""
    result = ArgumentSpecValidator(ENGINE_ARGUMENT_SPEC).validate(arguments)
    assert not result.error_messages
    return docker_engine.EngineOptions.from_parameters(result.validated_parameters)


@pytest.fixture(name="clean_environment", autouse=True)
def fixture_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Docker variables but the test's own."""
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION", "DOCKER_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    """The local engine, without TLS."""
    assert parsed({}) == docker_engine.EngineOptions()
    assert docker_engine.EngineOptions().docker_host == "unix:///var/run/docker.sock"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's own variables, unless the task says otherwise."""
    for name, value in {"HOST": "tcp://h:1", "TLS_VERIFY": "1", "CERT_PATH": "/c", "API_VERSION": "1.41", "TIMEOUT": "7"}.items():
        monkeypatch.setenv(f"DOCKER_{name}", value)
    expected = docker_engine.EngineOptions("tcp://h:1", False, True, "/c/ca.pem", "/c/cert.pem", "/c/key.pem", "1.41", 7)
    assert parsed({}) == expected and expected.uses_tls
    assert parsed({"docker_url": "tcp://other:2", "timeout": 9}).docker_host == "tcp://other:2"


def test_list_inspect_restart(engine: FakeEngine) -> None:
    """One call each."""
    options = options_of(engine)
    client = docker_engine.connect(options)
    assert {container["State"] for container in docker_engine.list_containers(client, options)} == {"running", "exited"}
    assert docker_engine.inspect_container(client, options, "ws-one")["State"] == {"Running": True}
    docker_engine.restart_container(client, options, "ws-one", stop_timeout=1)
    assert engine.requests == ["GET /v1.41/containers/json", "GET /v1.41/containers/ws-one/json", "POST /v1.41/containers/ws-one/restart"]


def test_no_such_container_is_definite(engine: FakeEngine) -> None:
    """And named."""
    options = options_of(engine)
    client = docker_engine.connect(options)
    with pytest.raises(docker_engine.ContainerNotFoundError, match="there is no container ws-three on the Docker engine at tcp://"):
        docker_engine.inspect_container(client, options, "ws-three")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 503])
def test_any_other_error_means_unknown(engine: FakeEngine, status: int) -> None:
    """Even a 404, when it is not about a container that was asked for."""
    options = options_of(engine)
    client = docker_engine.connect(options)
    engine.failure = (status, "It hurts.\nHere.")
    with pytest.raises(docker_engine.EngineError, match=r"cannot list the containers: the Docker engine at tcp://\S+ answers It hurts$") as caught:
        docker_engine.list_containers(client, options)
    assert not isinstance(caught.value, docker_engine.ContainerNotFoundError)


@pytest.mark.parametrize(
    ("docker_host", "cause"),
    [
        ("unix:///nonexistent/docker.sock", "No such file or directory"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("gopher://127.0.0.1", "Invalid bind address protocol"),
    ],
)
def test_unreachable_engine(docker_host: str, cause: str) -> None:
    """Where and why, without the five layers of the HTTP library."""
    with pytest.raises(docker_engine.EngineError, match=f"cannot connect: no Docker engine answers at {docker_host} \\({cause}") as caught:
        docker_engine.connect(docker_engine.EngineOptions(docker_host=docker_host, timeout=2))
    assert "object at 0x" not in str(caught.value)


def test_silent_engine() -> None:
    """A port that accepts and says nothing ends with the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = docker_engine.EngineOptions(docker_host=f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout=1)
        with pytest.raises(docker_engine.EngineError, match="timed out"):
            docker_engine.connect(options)


def test_certificate_without_key() -> None:
    """Half a certificate cannot work."""
    with pytest.raises(InvalidInputError, match="both client_cert and client_key"):
        docker_engine.connect(docker_engine.EngineOptions(docker_host="tcp://h:1", tls=True, client_cert="/c/cert.pem"))


def test_tls(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified with the given CA and a client certificate, whatever the environment says; refused without the CA; without verification on request."""
    trustme = pytest.importorskip("trustme")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other-ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other-ca.pem"))
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("client.example.com")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate = {"client_cert": str(tmp_path / "cert.pem"), "client_key": str(tmp_path / "key.pem")}
    with FakeEngine({"ws-one": "running"}, tls=context) as engine:
        verified = options_of(engine, validate_certs=True, ca_path=str(tmp_path / "ca.pem"), **certificate)
        assert docker_engine.list_containers(docker_engine.connect(verified), verified)
        unverified = options_of(engine, tls=True, **certificate)
        assert docker_engine.list_containers(docker_engine.connect(unverified), unverified)
        with pytest.raises(docker_engine.EngineError, match="certificate verify failed"):
            docker_engine.connect(options_of(engine, validate_certs=True, **certificate))
        with pytest.raises(docker_engine.EngineError):
            docker_engine.connect(options_of(engine, validate_certs=True, ca_path=str(tmp_path / "ca.pem")))
