# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose keys and credentials a connection uses, where they are meanwhile, and that nothing of them stays; and connections without a tunnel."""
from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from ansible import constants as C
from ansible_run import Run
from canaries import watched
from eic_connections import Controller, Counted, Marker, changed_world, direct_address, fresh_controller, play_with
from lab.api import Lab
from lab.sts_actions import ROLE_SECRET_PREFIX, ROLE_TOKEN_PREFIX
from lab.world import ROLE_ARN


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    with fresh_controller(lab) as made:
        yield made


@pytest.fixture
def play(controller: Controller, ansible: Callable[..., Run]) -> Callable[..., Run]:
    return play_with(controller, ansible)


def own_key(directory: pathlib.Path, kind: str = "ed25519", passphrase: str = "") -> pathlib.Path:
    """A key pair of the user's own; returns the private key's file."""
    path = directory / f"own-{kind}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "me", "-f", str(path)], check=True)
    return path


# -- keys ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_users_own_key_is_pushed_instead_of_an_ephemeral_one(controller: Controller, kind: str) -> None:
    key = own_key(controller.directory, kind)
    controller.variables["ansible_ssh_private_key_file"] = str(key)
    assert controller.run("true")[0] == 0
    stored = (pathlib.Path(controller.lab.world.data["key_store"]) / controller.instance_id / "ubuntu").read_text()
    assert " ".join(key.with_suffix(".pub").read_text().split()[:2]) in stored


def test_a_key_in_the_users_agent_is_used_by_its_public_file(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    key = own_key(controller.directory)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(controller.directory / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(controller.directory / "agent"))
        for _attempt in range(50):
            if (controller.directory / "agent").exists():
                break
            time.sleep(0.1)
        subprocess.run(["ssh-add", "-q", str(key)], check=True, stderr=subprocess.DEVNULL)
        key.unlink()
        controller.variables["ansible_ssh_private_key_file"] = f"{key}.pub"
        assert controller.run("true")[0] == 0
    finally:
        agent.terminate()
        agent.wait()


def test_a_private_key_as_a_variable_lives_in_cores_agent(controller: Controller, play: Callable[..., Run]) -> None:
    from ansible.plugins.connection import ssh

    if "private_key_passphrase" not in ssh.DOCUMENTATION:
        pytest.skip("this ansible-core has no ssh-agent")
    controller.variables["ansible_private_key"] = own_key(controller.directory).read_text()
    run = play([{"name": "Ping", "ansible.builtin.ping": {}}], environment={"ANSIBLE_SSH_AGENT": "auto"}, verbosity=4).ok()
    assert "PRIVATE KEY" not in run.output


def test_an_own_key_that_is_missing_fails_the_task(controller: Controller) -> None:
    controller.variables["ansible_ssh_private_key_file"] = "/nonexistent/key"
    kind, message = controller.failure()
    assert kind == "failed" and "/nonexistent/key does not exist" in message


def test_what_a_killed_run_left_is_gone_after_the_next(controller: Controller, play: Callable[..., Run]) -> None:
    temporary, marker = controller.directory / "tmp", Marker(controller)
    killed: list[str] = []

    def kill() -> None:
        for _attempt in range(300):
            for key in temporary.glob("ansible-local-*/eic-key/id_ed25519"):
                if marker.count() == 0:
                    break
                owner = int(key.parent.parent.name.removeprefix("ansible-local-")[:-8])
                killed.append(str(key))
                os.kill(owner, signal.SIGKILL)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=kill)
    thread.start()
    run = play([{"name": "Sleep", "ansible.builtin.shell": f"{marker.command}; sleep 6"}])
    thread.join()
    assert run.returncode != 0 and killed and os.path.exists(killed[0]), "a killed run cannot remove its key"
    controller.close()
    play([{"name": "Ping", "ansible.builtin.ping": {}}]).ok()
    assert not list(temporary.glob("*/eic*")), "neither key nor ticket of either run is left"


# -- credentials ---------------------------------------------------------------------------------------------------------------


def test_credentials_are_resolved_anew_for_each_connection(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile with a credential process whose keys expire: the connection after that has the next ones."""
    principals = [{"access_key": f"ASIATEMPORARY{number:07}", "secret_key": f"secret-{number}", "session_token": f"token-{number}"} for number in range(2)]
    script, calls = controller.directory / "credentials.py", controller.directory / "calls"
    script.write_text(
        "import json, os, sys\n"
        f"calls = {str(calls)!r}\n"
        "open(calls, 'a').write('x')\n"
        f"each = {principals!r}[os.path.exists(calls + '.second')]\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': each['access_key'], 'SecretAccessKey': each['secret_key'], 'SessionToken': each['session_token'],"
        " 'Expiration': '2099-01-01T00:00:00Z'}))\n"
    )
    configuration = controller.directory / "aws-config"
    configuration.write_text(f"[profile fleet]\nregion = us-east-2\ncredential_process = {sys.executable} {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    del controller.variables["ansible_eic_access_key"], controller.variables["ansible_eic_secret_key"]
    controller.variables["ansible_eic_profile"] = "fleet"
    with changed_world(controller.lab) as world:
        world["more_credentials"] = principals[:1]
        world.save()
        assert controller.run("true")[0] == controller.run("true")[0] == 0
        assert calls.read_text() == "x", "a warm connection asks nobody"
        controller.close()
        world["more_credentials"] = principals[1:]
        world.save()
        kind, message = controller.failure()
        assert kind == "authentication" and "access key" in message
        pathlib.Path(f"{calls}.second").touch()
        assert controller.run("true")[0] == 0


def test_no_secret_is_seen_anywhere(controller: Controller, play: Callable[..., Run]) -> None:
    """Arguments and environments of processes, files that others may read, the most verbose output and results: no key, no token, no signed URL.

    The keys are variables that role backend and the connection read, and a role is assumed with them, so that there are those of STS as well.
    """
    principal = {"access_key": "ASIACANARY0000000001", "secret_key": "canarysecretkey", "session_token": "canarysessiontoken"}
    canaries = [b"canarysecretkey", b"canarysessiontoken", b"X-Amz-Signature", b"PRIVATE KEY-----", ROLE_SECRET_PREFIX.encode(), ROLE_TOKEN_PREFIX.encode()]
    workspace, lab = controller.lab.world.workspace(controller.workspace), controller.lab
    for name in ("access_key", "secret_key", "ca_bundle", "ec2_endpoint_url", "instance_id"):
        del controller.variables[f"ansible_eic_{name}"]
    controller.variables.update(
        workspace_aws_access_key=principal["access_key"], workspace_aws_secret_key=principal["secret_key"],
        workspace_aws_session_token=principal["session_token"], workspace_aws_assume_role_arn=ROLE_ARN, workspace_id=workspace["id"],
        workspace_runtime=workspace["runtime"], workspace_ec2_endpoint_url=lab.service["aws_url"], workspace_aws_ca_bundle=lab.service["ca_file"],
        workspace_docker_host=lab.world.data["docker_host"], workspace_instance_id=controller.instance_id,
    )
    # nothing that the test's own environment has may help
    environment = {"AWS_ENDPOINT_URL_STS": lab.service["aws_url"], "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CA_BUNDLE": ""}
    assumed = lab.counters()["roles_assumed"]
    with changed_world(controller.lab) as world:
        world["more_credentials"] = [principal]
        world.save()
        with watched(controller.directory, canaries, environments=True) as seen:
            tasks = [
                {"name": "Backend", "ansible.builtin.include_role": {"name": "molecule_ai.workspace.backend"}},
                {"name": "Ping", "ansible.builtin.ping": {}},
                {"name": "Copy", "ansible.builtin.copy": {"content": "x", "dest": "/tmp/canary", "mode": "0600"}},
            ]
            run = play([*tasks, {"name": "Reset", "ansible.builtin.meta": "reset_connection"}, *tasks[1:]], verbosity=4, environment=environment)
            for fault in ("deny_tunnel", "deny_push", "target_unreachable"):
                controller.close()
                controller.fault(fault)
                failed = play(tasks[1:2], verbosity=4, environment=environment)
                assert failed.returncode != 0
                run = Run(run.returncode, run.output + failed.output, [*run.records, *failed.records])
                controller.lab.clear_faults()
    assert run.returncode == 0, run.output
    assert controller.lab.counters()["roles_assumed"] > assumed
    assert seen == []
    shown = (run.output + repr(run.records)).encode()
    assert [canary for canary in canaries if canary in shown] == []
    files = [path for path in controller.directory.rglob("*") if path.is_file() and path.name != "inventory.yml"]
    assert [path for path in files if any(canary in path.read_bytes() for canary in canaries)] == []


# -- without a tunnel ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def address(controller: Controller) -> Iterator[tuple[str, int]]:
    with direct_address(controller.lab, controller.workspace) as made:
        yield made


def test_without_a_tunnel_the_key_is_pushed_and_ssh_connects_by_itself(controller: Controller, address: tuple[str, int]) -> None:
    controller.variables.update(ansible_eic_tunnel="none", ansible_eic_private_address=address[0], ansible_port=address[1])
    counter = Counted(controller.lab)
    for _task in range(3):
        assert controller.run("id -un") == (0, b"ubuntu\n")
    content = os.urandom(1_000_000)
    (controller.directory / "source").write_bytes(content)
    controller.connection().put_file(str(controller.directory / "source"), "/tmp/direct")
    controller.connection().fetch_file("/tmp/direct", str(controller.directory / "fetched"))
    assert (controller.directory / "fetched").read_bytes() == content
    assert [counter[name] for name in ("key_pushes", "tunnels", "describe_instances", "describe_endpoints")] == [1, 0, 0, 0]
    assert controller.instance_id in controller.known_hosts.read_text()
    tunnels = subprocess.run(["pgrep", "-f", f"^[^ ]*python.*{C.DEFAULT_LOCAL_TMP}/eic-ticket"], capture_output=True, check=False)
    assert tunnels.stdout == b"", "nothing stands between ssh and sshd"


def test_without_a_tunnel_errors_are_the_same(controller: Controller, address: tuple[str, int]) -> None:
    controller.variables.update(ansible_eic_tunnel="none", ansible_eic_private_address=address[0], ansible_port=address[1])
    for fault, words in (("deny_push", "ec2-instance-connect:SendSSHPublicKey"), ("lose_key", "EC2 Instance Connect package")):
        controller.fault(fault)
        assert_failure(controller, "authentication", words)
        controller.lab.clear_faults()
    controller.known_hosts.write_text(f"{controller.instance_id} {' '.join(own_key(controller.directory).with_suffix('.pub').read_text().split()[:2])}\n")
    assert_failure(controller, "authentication", "host key has changed")
    counter = Counted(controller.lab)
    controller.variables["ansible_port"] = 1
    assert_failure(controller, "unreachable", "127.0.0.1 port 1 cannot be reached from the controller")
    assert counter["key_pushes"] == 0, "a key is pushed only when somebody answers"
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, socket.create_connection(silent.getsockname()), contextlib.ExitStack() as crowd:
        # its queue is full, so that nobody gets an answer
        for _client in range(3):
            client = crowd.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        controller.variables.update(ansible_port=silent.getsockname()[1], ansible_eic_tunnel_timeout=2)
        assert_failure(controller, "unreachable", "(no answer in time)")
    assert counter["tunnels"] == 0


def test_without_a_tunnel_only_the_address_is_looked_up(controller: Controller, address: tuple[str, int]) -> None:
    controller.variables.update(ansible_eic_tunnel="none", ansible_port=address[1])
    counter = Counted(controller.lab)
    with changed_world(controller.lab) as world:
        next(each for each in world["instances"] if each["instance_id"] == controller.instance_id)["private_ip"] = address[0]
        world.save()
        assert controller.run("id -un") == (0, b"ubuntu\n")
    assert [counter[name] for name in ("tunnels", "describe_instances", "describe_endpoints")] == [0, 1, 0]


def assert_failure(controller: Controller, kind: str, words: str) -> None:
    failed_as, message = controller.failure()
    assert failed_as == kind and words in message and controller.instance_id in message and "\n" not in message, message
