# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switchable faults: what can go wrong between a controller and a workspace, on demand.

A fault is ``{"name": ..., "instance_id": ... | absent, "count": n | absent, "probability": 0..1 | absent, <its parameters>}``.
Without ``instance_id`` it strikes everyone, without ``count`` until it is removed, without ``probability`` every time.
"""
from __future__ import annotations

import dataclasses
import random
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of fault: what it does, and its parameters with their defaults (a parameter takes a value of the same type)."""

    description: str
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    by_instance: bool = True


KINDS: dict[str, Kind] = {
    # AWS APIs
    "deny_push": Kind("SendSSHPublicKey: AccessDeniedException, as IAM denies"),
    "throttle_push": Kind("SendSSHPublicKey: ThrottlingException"),
    "push_5xx": Kind("SendSSHPublicKey: an internal server error", {"status": 500}),
    "push_error": Kind("SendSSHPublicKey: any error", {"status": 400, "code": "EC2InstanceUnavailableException", "message": "The instance is unavailable."}),
    "lose_key": Kind("SendSSHPublicKey succeeds and the key never arrives (instance without the EC2 Instance Connect package)"),
    "instance_clock_skew": Kind("the instance's clock is ahead (negative: behind) since this push, so the key expires early (late)", {"seconds": 300.0}),
    "slow_authorized_keys": Kind("the instance's AuthorizedKeysCommand is slow since this push (it gives up after 5 s)", {"seconds": 4.0}),
    "deny_describe": Kind("EC2 describe calls: UnauthorizedOperation, as IAM denies", {"action": ""}, by_instance=False),
    "throttle_describe": Kind("EC2 describe calls: RequestLimitExceeded", {}, by_instance=False),
    "expire_token": Kind("the session token has expired; surface: api, tunnel or all", {"surface": "all"}, by_instance=False),
    "clock_skew": Kind("AWS' clock is ahead (negative: behind) of the client's", {"seconds": 300.0}, by_instance=False),
    "hang_proxy": Kind("the proxy accepts connections and never answers", {}, by_instance=False),
    # opening a tunnel
    "deny_tunnel": Kind("openTunnel: 403, as IAM denies"),
    "refuse_tunnel": Kind("openTunnel: any refusal", {"status": 500, "code": "InternalServerError", "message": "An internal error occurred."}),
    "refuse_without_body": Kind("openTunnel: a status without an error document, as a proxy or load balancer answers", {"status": 502}),
    "reset_connection": Kind("TCP reset right after the connection was accepted", {}, by_instance=False),
    "reset_upgrade": Kind("TCP reset instead of a response to the upgrade"),
    "hang_tls": Kind("the TLS handshake is never answered", {}, by_instance=False),
    "hang_upgrade": Kind("the upgrade request is never answered"),
    "target_unreachable": Kind("101, then CLOSE \"Unable to connect to target\""),
    # an open tunnel
    "cut_after": Kind("the connection ends after this many payload bytes; direction: to_client or from_client; how: reset, eof or close",
                      {"bytes": 0, "direction": "to_client", "how": "reset", "close_code": 1011, "close_reason": "Internal error"}),
    "one_byte_frames": Kind("each byte to the client is a frame of its own"),
    "fragment_with_pings": Kind("messages to the client come in fragments of this size with a ping between each two", {"size": 7}),
    "text_frame": Kind("the first frame to the client is TEXT"),
    "slow": Kind("the tunnel carries this many bytes per second; direction: to_client, from_client or both",
                 {"bytes_per_second": 65536, "direction": "both"}),
    # the platform's HTTP API
    "platform_rate_limit": Kind("429 with Retry-After", {"retry_after": 1}, by_instance=False),
    "platform_unavailable": Kind("503 with code platform_unavailable", {}, by_instance=False),
    "platform_ancestor_paused": Kind("restart: 409, an ancestor is paused", {}, by_instance=False),
}

CHOICES = {
    ("cut_after", "direction"): ("to_client", "from_client"),
    ("cut_after", "how"): ("reset", "eof", "close"),
    ("slow", "direction"): ("to_client", "from_client", "both"),
    ("expire_token", "surface"): ("api", "tunnel", "all"),
}


@dataclasses.dataclass
class Fault:
    """One fault that is switched on; ``remaining`` None means until it is removed."""

    number: int
    name: str
    parameters: dict[str, Any]
    instance_id: str | None
    remaining: int | None
    probability: float
    struck: int = 0

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Faults:
    """The faults that are switched on."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._next = 1
        self._random = random.Random(seed)

    def add(self, description: dict[str, Any]) -> Fault:
        """Switch a fault on.  Raises ValueError naming what is wrong with the description."""
        description = dict(description)
        name = description.pop("name", None)
        kind = KINDS.get(name) if isinstance(name, str) else None
        if kind is None or not isinstance(name, str):
            raise ValueError(f"unknown fault {name!r}; there are: {', '.join(sorted(KINDS))}")
        instance_id = description.pop("instance_id", None)
        if instance_id is not None and not kind.by_instance:
            raise ValueError(f"fault {name} strikes before an instance is known; leave instance_id out")
        count = description.pop("count", None)
        if count is not None and (not isinstance(count, int) or count < 1):
            raise ValueError("count is how often the fault strikes: 1 or more")
        probability = float(description.pop("probability", 1.0))
        if not 0.0 <= probability <= 1.0:
            raise ValueError("probability is between 0 and 1")
        fault = Fault(self._next, name, self._parameters(name, kind, description), instance_id, count, probability)
        self._next += 1
        self._faults.append(fault)
        return fault

    @staticmethod
    def _parameters(name: str, kind: Kind, given: dict[str, Any]) -> dict[str, Any]:
        for key, value in given.items():
            if key not in kind.parameters:
                raise ValueError(f"fault {name} has no parameter {key!r}; it has: {', '.join(kind.parameters) or 'none'}")
            default = kind.parameters[key]
            if not isinstance(value, (int, float) if isinstance(default, float) else type(default)) or isinstance(value, bool):
                raise ValueError(f"fault {name}: {key} takes a value like {default!r}, not {value!r}")
            if value not in CHOICES.get((name, key), (value,)):
                raise ValueError(f"fault {name}: {key} is one of {', '.join(CHOICES[name, key])}")
        return {**kind.parameters, **given}

    def take(self, name: str, instance_id: str | None = None, **wanted: Any) -> dict[str, Any] | None:
        """The number and parameters of a fault that strikes now, or None.

        ``wanted`` narrows by parameter (``direction="to_client"``).  Uses up one of the fault's ``count``.
        """
        if name not in KINDS:
            raise KeyError(name)
        for fault in self._faults:
            if fault.name != name or (fault.instance_id is not None and fault.instance_id != instance_id):
                continue
            if any(fault.parameters[key] != value for key, value in wanted.items()):
                continue
            if fault.probability < 1.0 and self._random.random() >= fault.probability:
                continue
            fault.struck += 1
            if fault.remaining is not None:
                fault.remaining -= 1
                if fault.remaining == 0:
                    self._faults.remove(fault)
            return {"number": fault.number, **fault.parameters}
        return None

    def remove(self, number: int | None = None, name: str | None = None) -> int:
        """Switch off the fault of this number, those of this name, or all; how many there were."""
        kept = [fault for fault in self._faults
                if (number is not None and fault.number != number) or (name is not None and fault.name != name)]
        removed = len(self._faults) - len(kept)
        self._faults = kept
        return removed

    def as_list(self) -> list[dict[str, Any]]:
        """The faults that are on, as plain data."""
        return [fault.as_dict() for fault in self._faults]
