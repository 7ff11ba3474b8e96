# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection variables that reach a workspace of each tier. Only what is known, and never a secret: facts enter caches and logs."""
from __future__ import annotations

import posixpath
import typing as t

from ..module_utils.errors import InvalidInputError
from .aws_session import AwsOptions
from .backend import Backend
from .docker_engine import EngineOptions

SHARED_MEMORY = posixpath.join("/dev", "shm")
"""Docker mounts it into every container, writable on a read-only root as well, with the sticky bit: nobody moves or removes what root made there."""

ROOTS_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where only root installs programs. An image's own PATH may begin with a directory of the agent's."""

INTERPRETER = "python3"
"""A name, found on the workspace's PATH. It spares Ansible's interpreter discovery, which is a round trip per host."""


def for_backend(backend: Backend, engine: EngineOptions, aws: AwsOptions, *, os_user: str) -> dict[str, t.Any]:
    """The variables for one backend; empty for tiers that nothing connects to. Raises :class:`InvalidInputError` as :func:`docker`."""
    if backend.tier == "docker":
        return docker(str(backend.container), engine)
    if backend.tier == "eic":
        return eic(str(backend.instance_id), aws, private_address=backend.private_address, os_user=os_user)
    return {}


def docker(container: str, engine: EngineOptions) -> dict[str, t.Any]:
    """Into the container, as root.

    The agent must have no say in what root executes, reads or removes on our behalf. So nothing lies in a directory of the agent's (the config
    dir is one: it could put a link in the place of any directory there): not the temporary directory of Python, where a pipelined module unpacks
    itself, not the working directory, from which Python imports first, not the programs. Ansible's own remote temporary directory is not used.
    The root may be read-only, and /tmp missing, or small and noexec, so what is temporary lies in the memory that Docker mounts into every
    container; if it is not there, Python takes /tmp.

    Raises :class:`InvalidInputError` when a TLS path has a blank (the connection plugin splits its arguments there).
    """
    variables: dict[str, t.Any] = {
        "ansible_host": container,
        "ansible_user": "root",
        "ansible_become": False,
        "ansible_pipelining": True,
        "ansible_python_interpreter": INTERPRETER,
        "ansible_docker_extra_env": {"TMPDIR": SHARED_MEMORY, "PATH": ROOTS_PROGRAMS},
        "ansible_docker_working_dir": "/",
    }
    if engine.uses_tls or engine.docker_host.startswith("ssh://"):
        # docker_api cannot half-close a TLS stream and needs paramiko for ssh, so these engines are reached by the docker command line.
        return {"ansible_connection": "community.docker.docker", "ansible_docker_extra_args": _command_line_arguments(engine), **variables}
    variables["ansible_docker_docker_host"] = engine.docker_host
    if engine.api_version != "auto":
        variables["ansible_docker_api_version"] = engine.api_version
    return {"ansible_connection": "community.docker.docker_api", **variables}


def eic(instance_id: str, aws: AwsOptions, *, private_address: str | None, os_user: str) -> dict[str, t.Any]:
    """Onto the EC2 host, as its login user with sudo; the connection asks the AWS that the look-up has asked. Keys are secrets, and not passed on."""
    known = {
        "ansible_eic_region": aws.region,
        "ansible_eic_profile": aws.profile,
        "ansible_eic_assume_role_arn": aws.assume_role_arn,
        "ansible_eic_ec2_endpoint_url": aws.endpoint_url,
        "ansible_eic_ca_bundle": aws.aws_ca_bundle,
        "ansible_eic_private_address": private_address,
    }
    return {
        "ansible_connection": "molecule_ai.workspace.eic",
        "ansible_host": instance_id,
        "ansible_user": os_user,
        "ansible_become": True,
        "ansible_become_method": "ansible.builtin.sudo",
        "ansible_pipelining": True,
        "ansible_python_interpreter": INTERPRETER,
        "ansible_eic_instance_id": instance_id,
        **{name: value for name, value in known.items() if value},
    }


def _command_line_arguments(engine: EngineOptions) -> str:
    """The engine's options as global options of the docker command line, in one string that is split at blanks."""
    arguments = [f"--host={engine.docker_host.replace('https://', 'tcp://', 1)}"]
    if engine.uses_tls:
        arguments.append("--tlsverify" if engine.validate_certs or not engine.tls else "--tls")
        files = {"--tlscacert": engine.ca_path, "--tlscert": engine.client_cert, "--tlskey": engine.client_key}
        arguments += [f"{option}={path}" for option, path in files.items() if path]
    for argument in arguments:
        if any(character.isspace() for character in argument):
            raise InvalidInputError(f"{argument!r} has a blank, which the connection plugin for TLS engines cannot pass on; use a path without blanks")
    return " ".join(arguments)
