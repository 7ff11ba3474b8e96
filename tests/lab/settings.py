# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS publishes nowhere, and what tests need to be shorter than in real life: one table of adjustable values.

A client has to be right for any of these values; ``PUT <control_url>/settings`` changes them while the lab runs.
"""
from __future__ import annotations

from typing import Any

from . import policy

DEFAULTS: dict[str, Any] = {
    # seconds for which a pushed SSH key is accepted (AWS: 60)
    "key_lifetime": 60.0,
    # instances and endpoints per page of a describe call that names no MaxResults
    "page_size": 1000,
    # concurrent tunnels per endpoint (AWS: 20, not adjustable), and how tunnel 21 is refused:
    # "http" (a status and an error document), "close" (101, then CLOSE), "reset" (TCP reset instead of a response)
    "tunnel_quota": 20,
    "quota_refusal": "http",
    "quota_status": 429,
    "quota_code": "ServiceQuotaExceeded",
    "quota_message": "The maximum number of concurrent connections for this EC2 Instance Connect Endpoint has been reached.",
    # seconds; an IAM policy that caps maxTunnelDuration denies requests without it
    "max_tunnel_duration": 3600.0,
    "require_max_tunnel_duration": False,
    # how the service ends a tunnel that reached its duration
    "duration_close_code": 1000,
    "duration_close_reason": "",
    # the code that comes with "Unable to connect to target"
    "unreachable_close_code": 1011,
    # seconds between the service's own pings, and of silence until it ends a tunnel; 0 = never
    "ping_interval": 0.0,
    "idle_limit": 0.0,
    # bytes of one client message that the service accepts (the AWS CLI sends at most this)
    "max_client_message": 65000,
    # seconds for which the credentials of an assumed role are valid at most (AWS: 3600 without DurationSeconds)
    "role_lifetime": 3600.0,
    # the IAM policy of everybody, as the document itself; empty: everything is allowed
    "policy": {},
    # "user:password" that the proxy asks for; empty: it asks nobody
    "proxy_credentials": "",
    # seconds that the platform shows "provisioning" at least, when it restarts a workspace
    "platform_provisioning_time": 0.2,
}


class Settings:
    """The current values; attribute access, validated changes."""

    def __init__(self, changes: dict[str, Any] | None = None) -> None:
        self._values = dict(DEFAULTS)
        self.change(changes or {})

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def change(self, changes: dict[str, Any]) -> None:
        """Set some values.  Raises ValueError, and changes nothing, for an unknown name or a value of another kind."""
        for name, value in changes.items():
            if name not in DEFAULTS:
                raise ValueError(f"unknown setting {name!r}; there are: {', '.join(sorted(DEFAULTS))}")
            wanted = (int, float) if isinstance(DEFAULTS[name], float) else type(DEFAULTS[name])
            if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(DEFAULTS[name], bool):
                raise ValueError(f"setting {name} takes a value like {DEFAULTS[name]!r}, not {value!r}")
        policy.check(changes.get("policy", {}))
        self._values.update(changes)

    def reset(self) -> None:
        """Back to the defaults."""
        self._values = dict(DEFAULTS)

    def as_dict(self) -> dict[str, Any]:
        """All current values."""
        return dict(self._values)
