# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user set for a connection through EC2 Instance Connect: checked once, and what follows from it, such as which connections may be shared.

Nothing here knows Ansible, and nothing is asked or opened.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import typing as t

from ..module_utils.names import INSTANCE_ID
from . import aws_session, eic_errors, eic_identity, eic_use
from .eic_preparation_errors import invalid
from .eic_target import Target

_OS_USER = re.compile(r"[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?")
_CONNECT_TO = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")
_LOGIN_ALLOWANCE = 15
"""Seconds that key exchange and login may take after the banner; sshd may wait 5 s for each of two key look-ups."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user set. Directories exist already, are absolute and private; times are seconds.

    ``direct``: no tunnel, ssh connects to the address itself. ``key_file``: the user's key pair instead of an ephemeral one, by its private or public file.
    ``spare``: the number of a further shared connection, for more sessions than sshd allows on the first (0).
    Raises :class:`InvalidInputError` when something cannot be right.
    """

    instance_id: str
    os_user: str
    port: int
    known: Target
    aws: aws_session.AwsOptions
    max_tunnel_duration: int
    instance_connect_endpoint_url: str | None
    connect_to: str | None
    known_hosts: str
    host_key_policy: str
    control_directory: str
    run_directory: str
    tunnel_timeout: int
    login_timeout: int
    direct: bool = False
    key_file: str | None = None
    state_directory: str = ""
    tunnel_budget: int = 18
    tunnel_wait: int = 3600
    rotation_margin: int = 300
    target_cache_lifetime: int = 300
    ssh_executable: str = "ssh"
    spare: int = 0

    def __post_init__(self) -> None:
        url = self.instance_connect_endpoint_url
        for code, value, is_right in (
            ("InstanceIdInvalid", self.instance_id, INSTANCE_ID.fullmatch(self.instance_id)),
            ("OsUserInvalid", self.os_user, _OS_USER.fullmatch(self.os_user)),
            ("DurationInvalid", self.max_tunnel_duration, 1 <= self.max_tunnel_duration <= 3600),
            ("BudgetInvalid", self.tunnel_budget, self.tunnel_budget >= 1),
            ("WaitInvalid", self.tunnel_wait, self.tunnel_wait >= 0),
            ("MarginInvalid", self.rotation_margin, self.rotation_margin >= 0),
            ("LifetimeInvalid", self.target_cache_lifetime, self.target_cache_lifetime >= 0),
            ("TimeoutInvalid", self.tunnel_timeout, self.tunnel_timeout >= 1),
            ("TunnelAddressInvalid", self.connect_to, not self.connect_to or _CONNECT_TO.fullmatch(self.connect_to)),
            ("KeyPushUrlInvalid", url, not url or re.match(r"https?://[^/\s]", url)),
        ):
            if not is_right:
                raise invalid(code, value=value)

    @property
    def control_path(self) -> str:
        """The socket of the shared connection, by everything that makes it a different one."""
        identity: list[object] = [self.instance_id, self.os_user, self.port, dataclasses.astuple(self.known), self.connect_to, self.aws.aws_ca_bundle]
        identity += [self.known_hosts, self.host_key_policy, self.instance_connect_endpoint_url, self.aws.identity]
        identity += ["direct"] if self.direct else []
        identity += [self.spare] if self.spare else []
        return eic_identity.control_path(self.control_directory, identity)

    @property
    def status_path(self) -> str:
        """Where the tunnel of the shared connection says why it ended, for whoever uses it then."""
        return f"{self.control_path}.status"

    @property
    def target_cache(self) -> str:
        """The file of what EC2 said to these credentials about instances and endpoints."""
        return os.path.join(self.state_directory, f"targets-{hashlib.sha256(json.dumps(self.aws.identity).encode()).hexdigest()[:20]}.json")

    @property
    def use_file(self) -> str:
        """The lock file of those who use the shared connection."""
        return eic_use.path(self.state_directory, self.control_path)

    @property
    def trusted_hosts(self) -> str:
        """The known_hosts file of the policy: keys from consoles are in one of their own, because nothing else may be trusted then."""
        return f"{self.known_hosts}.console" if self.host_key_policy == "console" else self.known_hosts

    @property
    def login_limit(self) -> int:
        """Seconds after which a new connection is given up as a whole."""
        return self.tunnel_timeout + self.login_timeout + _LOGIN_ALLOWANCE

    def context(self, **names: t.Any) -> eic_errors.Context:
        """What the sentences of errors name."""
        values: dict[str, t.Any] = {
            "instance_id": self.instance_id,
            "user": self.os_user,
            "port": self.port,
            "known_hosts": self.trusted_hosts,
            "seconds": self.login_limit,
            "budget": self.tunnel_budget,
            "region": self.aws.region,
            "endpoint": self.known.endpoint_id,
            "address": self.known.address,
            **names,
        }
        return eic_errors.Context(**{name: value for name, value in values.items() if value})
