# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulated services counted, so that a test can say "one tunnel, one key push, no restart"."""
from __future__ import annotations

import collections
from typing import Any

# Always present in a report, so that a test reads 0 instead of guessing whether a counter exists.
TOTALS = (
    "describe_instances", "describe_endpoints", "console_outputs", "caller_identities", "roles_assumed", "api_refused",
    "key_pushes", "key_pushes_refused",
    "tunnels", "tunnels_refused", "bytes_to_client", "bytes_from_client",
    "proxy_connects", "proxy_refused", "docker_proxy_restarts", "platform_requests", "platform_restarts",
)


class Counters:
    """Totals since the last reset, the same per instance or workspace id, and the tunnels that are open now."""

    def __init__(self) -> None:
        self._open: collections.Counter[str] = collections.Counter()
        self.reset()

    def reset(self) -> None:
        """Forget the totals; what is open stays open, and is the new peak."""
        self._totals: collections.Counter[str] = collections.Counter()
        self._by_id: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self._peaks: collections.Counter[str] = collections.Counter(self._open)

    def add(self, name: str, amount: int = 1, scope: str | None = None) -> None:
        """Count ``amount`` more of ``name``, and of the same for the instance or workspace id ``scope``."""
        if name not in TOTALS:
            raise KeyError(name)
        self._totals[name] += amount
        if scope is not None:
            self._by_id[scope][name] += amount

    def tunnels_open(self, endpoint_id: str) -> int:
        """Tunnels that are open on this endpoint now."""
        return self._open[endpoint_id]

    def tunnel_opened(self, endpoint_id: str) -> None:
        self._open[endpoint_id] += 1
        self._peaks[endpoint_id] = max(self._peaks[endpoint_id], self._open[endpoint_id])

    def tunnel_closed(self, endpoint_id: str) -> None:
        self._open[endpoint_id] -= 1

    def as_dict(self) -> dict[str, Any]:
        """All of it, as plain data."""
        report: dict[str, Any] = {name: self._totals[name] for name in TOTALS}
        report["tunnels_open"] = sum(self._open.values())
        report["tunnels_open_by_endpoint"] = {name: count for name, count in self._open.items() if count}
        report["tunnels_open_peak_by_endpoint"] = dict(self._peaks)
        report["by_id"] = {scope: dict(counter) for scope, counter in self._by_id.items()}
        return report
