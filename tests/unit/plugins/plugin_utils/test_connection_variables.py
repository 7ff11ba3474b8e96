# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection variables of each tier, and that role ``backend`` sets all of them."""
from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import backend, connection_variables
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.aws_session import AwsOptions
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.docker_engine import EngineOptions

ROLE_TASKS = pathlib.Path(__file__).resolve().parents[4] / "roles" / "backend" / "tasks" / "reach.yml"
WORKSPACE = backend.Workspace("w")
IN_CONTAINER = backend.Backend(WORKSPACE, "docker", "found", "r", container="ws-w", config_dir="/configs")
ON_EC2 = backend.Backend(WORKSPACE, "eic", "found", "r", instance_id="i-12345678", private_address="10.0.1.17", config_dir="/configs")


LOCAL = EngineOptions()


def variables(answer: backend.Backend, engine: EngineOptions = LOCAL, os_user: str = "ubuntu", **aws: str) -> dict[str, t.Any]:
    """For one backend with the usual options, and those for AWS."""
    return connection_variables.for_backend(answer, engine, AwsOptions(region="us-east-2", **aws), os_user=os_user)


def test_docker() -> None:
    """Into the container as root, without become, with nothing of the agent's in the environment."""
    assert variables(IN_CONTAINER) == {
        "ansible_connection": "community.docker.docker_api",
        "ansible_host": "ws-w",
        "ansible_user": "root",
        "ansible_become": False,
        "ansible_pipelining": True,
        "ansible_python_interpreter": "python3",
        "ansible_docker_extra_env": {"TMPDIR": "/dev/shm", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        "ansible_docker_working_dir": "/",
        "ansible_docker_docker_host": "unix:///var/run/docker.sock",
    }
    assert variables(IN_CONTAINER, EngineOptions(api_version="1.41"))["ansible_docker_api_version"] == "1.41"


TLS_FILES = {"ca_path": "/c/ca.pem", "client_cert": "/c/cert.pem", "client_key": "/c/key.pem"}
TLS_ARGUMENTS = "--tlscacert=/c/ca.pem --tlscert=/c/cert.pem --tlskey=/c/key.pem"


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"docker_host": "tcp://h:2376", "validate_certs": True, **TLS_FILES}, f"--host=tcp://h:2376 --tlsverify {TLS_ARGUMENTS}"),
        ({"docker_host": "tcp://h:2376", "tls": True, "validate_certs": True}, "--host=tcp://h:2376 --tlsverify"),
        ({"docker_host": "tcp://h:2376", "tls": True}, "--host=tcp://h:2376 --tls"),
        ({"docker_host": "https://h:2376"}, "--host=tcp://h:2376 --tlsverify"),
        ({"docker_host": "ssh://ops@h"}, "--host=ssh://ops@h"),
    ],
)
def test_engines_that_docker_api_cannot_reach(options: dict[str, t.Any], arguments: str) -> None:
    """TLS and ssh go by the docker command line."""
    found = variables(IN_CONTAINER, EngineOptions(**options))
    assert (found["ansible_connection"], found["ansible_docker_extra_args"]) == ("community.docker.docker", arguments)
    assert "ansible_docker_docker_host" not in found


def test_blank_in_a_tls_path() -> None:
    """The connection plugin would cut the argument in two, so it is refused."""
    with pytest.raises(InvalidInputError, match="has a blank"):
        variables(IN_CONTAINER, EngineOptions(docker_host="tcp://h:2376", validate_certs=True, ca_path="/my certs/ca.pem"))


FOR_AWS = {"assume_role_arn": "arn:r", "endpoint_url": "https://ec2.example.com", "aws_ca_bundle": "/ca.pem"}
READ_BY_THE_CONNECTION = {"ansible_eic_assume_role_arn", "ansible_eic_ec2_endpoint_url", "ansible_eic_ca_bundle"}


def test_eic() -> None:
    """Onto the host by instance id, as the login user, with sudo; only what is known."""
    expected = {
        "ansible_connection": "molecule_ai.workspace.eic",
        "ansible_host": "i-12345678",
        "ansible_user": "admin",
        "ansible_become": True,
        "ansible_become_method": "ansible.builtin.sudo",
        "ansible_pipelining": True,
        "ansible_python_interpreter": "python3",
        "ansible_eic_instance_id": "i-12345678",
        "ansible_eic_region": "us-east-2",
        "ansible_eic_private_address": "10.0.1.17",
    }
    assert variables(ON_EC2, os_user="admin") == expected
    assert variables(ON_EC2, os_user="admin", profile="fleet") == {**expected, "ansible_eic_profile": "fleet"}
    keys = {"access_key": "A", "secret_key": "B", "session_token": "C"}
    assert variables(ON_EC2, os_user="admin", **keys, **FOR_AWS) == {
        **expected, "ansible_eic_assume_role_arn": "arn:r", "ansible_eic_ec2_endpoint_url": "https://ec2.example.com", "ansible_eic_ca_bundle": "/ca.pem",
    }


@pytest.mark.parametrize("tier", ["external", "none"])
def test_nothing_to_connect_to(tier: str) -> None:
    """No variables at all, so that nothing can be connected to by mistake."""
    assert variables(backend.Backend(WORKSPACE, tier, "failed", "r")) == {}


def test_role_sets_every_variable() -> None:
    """The role names each variable, so that one quiet task sets them; none may be forgotten there."""
    tasks = yaml.safe_load(ROLE_TASKS.read_text())
    (arguments,) = [task["ansible.builtin.set_fact"] for task in tasks if "ansible.builtin.set_fact" in task]
    everything = {
        **variables(IN_CONTAINER, EngineOptions(api_version="1.41")),
        **variables(IN_CONTAINER, EngineOptions(docker_host="ssh://h")),
        **variables(ON_EC2, profile="fleet", **FOR_AWS),
    }
    # those the connection has from the role's own variables, so that somebody's ansible_eic_* is not overridden by a fact
    assert set(arguments) == set(everything) - READ_BY_THE_CONNECTION
    assert all(re.search(rf"backend_connection\.{name}\b", value) for name, value in arguments.items())
