# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the connection's options, as Ansible has them, to its settings."""
from __future__ import annotations

import os
import typing as t

from ..module_utils.names import INSTANCE_ID
from . import aws_session, eic_identity
from .eic_preparation_errors import invalid
from .eic_settings import Settings
from .eic_target import Target

DEFAULTS_BELOW_HOME: dict[str, t.Callable[[str], str]] = {
    "control_path_dir": eic_identity.default_control_directory,
    "state_directory": lambda home: os.path.join(home, "eic"),
    "known_hosts_file": lambda home: os.path.join(home, "eic_known_hosts"),
}
"""By option, its default below ANSIBLE_HOME; a template in an option's default sees the host's variables, not ANSIBLE_HOME."""

Get = t.Callable[[str], t.Any]


def settings(get: Get, host: object, key_file: str | None, run_directory: str) -> Settings:
    """The settings by ``get(option)``; ``host`` is the address of the play, for an instance id that stands there.

    ``key_file``: the user's own key pair, if any. Raises :class:`InvalidInputError`.
    """
    instance_id = get("instance_id") or (host if isinstance(host, str) and INSTANCE_ID.fullmatch(host) else None)
    if not instance_id:
        raise invalid("InstanceIdMissing", host=host)
    return Settings(
        instance_id=instance_id,
        os_user=get("remote_user") or "",
        port=int(get("port") or 22),
        known=Target(get("private_address") or None, get("endpoint_id") or None, get("endpoint_dns_name") or None),
        aws=_aws(get),
        max_tunnel_duration=get("max_tunnel_duration"),
        instance_connect_endpoint_url=get("instance_connect_endpoint_url") or None,
        connect_to=get("tunnel_address") or None,
        known_hosts=get("known_hosts_file"),
        host_key_policy=get("host_key_policy"),
        control_directory=get("control_path_dir"),
        run_directory=run_directory,
        tunnel_timeout=get("tunnel_timeout"),
        login_timeout=int(get("timeout")),
        direct=get("tunnel") == "none",
        key_file=key_file,
        state_directory=get("state_directory"),
        tunnel_budget=get("tunnel_budget"),
        tunnel_wait=get("tunnel_wait"),
        rotation_margin=get("rotation_margin"),
        target_cache_lifetime=get("target_cache_lifetime"),
        ssh_executable=get("ssh_executable"),
    )


def _aws(get: Get) -> aws_session.AwsOptions:
    return aws_session.AwsOptions(
        region=get("region") or None,
        profile=get("profile") or None,
        access_key=get("access_key") or None,
        secret_key=get("secret_key") or None,
        session_token=get("session_token") or None,
        endpoint_url=get("ec2_endpoint_url") or None,
        aws_ca_bundle=get("ca_bundle") or None,
        assume_role_arn=get("assume_role_arn") or None,
    )
