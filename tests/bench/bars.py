# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection is to reach: one table, fixed before anything was made faster. Each bar is a figure out of the data, and its limit.

A bar that was missed says why in :data:`REASONS`; one that was not measured is shown as such.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Table = Mapping[str, Any]
Data = Sequence[Table]


@dataclasses.dataclass(frozen=True)
class Bar:
    """``figure`` finds the measured value in the data, or None. ``at_most``: smaller is better. ``number``: which of the seven demands it belongs to."""

    number: int
    name: str
    limit: float
    figure: Callable[[Data], float | None]
    at_most: bool = True
    unit: str = "×"

    def met(self, value: float) -> bool:
        """Whether the value is on the right side of the limit."""
        return value <= self.limit if self.at_most else value >= self.limit


def table(data: Data, scenario: str, **keys: Any) -> Table | None:
    """The table of a scenario with these keys."""
    for each in data:
        if each["scenario"] == scenario and all(each.get(key) == value for key, value in keys.items()):
            return each
    return None


def median(found: Table | None, contestant: str, what: str = "wall") -> float | None:
    """The median of one contestant's readings; None if it was not measured or did not do its job."""
    if found is None:
        return None
    figures = found["results"].get(contestant, {}).get(what)
    return float(figures["median"]) if figures else None


def ratio(above: float | None, below: float | None) -> float | None:
    """Their ratio, if both are known."""
    return above / below if above is not None and below else None


def _no_op(contestant: str, hosts: int, what: str) -> Callable[[Data], float | None]:
    def figure(data: Data) -> float | None:
        found = table(data, "no-op", hosts=hosts)
        return ratio(median(found, contestant, what), median(found, "ping", what))
    return figure


def _peer(contestant: str, ours: str) -> Callable[[Data], float | None]:
    def figure(data: Data) -> float | None:
        found = next((each for each in data if each["scenario"] == "no-op" and contestant in each["results"]), None)
        return ratio(median(found, contestant), median(found, ours))
    return figure


def _install(above: str, below: str, latency: int = 0) -> Callable[[Data], float | None]:
    def figure(data: Data) -> float | None:
        tables = [each for each in data if each["scenario"] == "install" and each["latency"] == latency]
        found = max(tables, key=lambda each: int(each["hosts"]), default=None)
        return ratio(median(found, above), median(found, below))
    return figure


def _round_trips(data: Data) -> float | None:
    """Round trips more than ping's for an install on one host, out of what 150 ms of latency add to both."""
    near, far = table(data, "install", hosts=1, latency=0), table(data, "install", hosts=1, latency=150)
    values = [median(far, "one"), median(near, "one"), median(far, "ping"), median(near, "ping")]
    if any(value is None for value in values):
        return None
    ours, ours_near, ping, ping_near = (value or 0.0 for value in values)
    return ((ours - ours_near) - (ping - ping_near)) / 0.150


def _each(name: str) -> Callable[[Data], float | None]:
    def figure(data: Data) -> float | None:
        found = table(data, "cold")
        counted = (found or {"results": {}})["results"].get("ours cold", {}).get("extra", {})
        value = counted.get(f"{name} for {found['hosts']} hosts") if found else None
        return value / found["hosts"] if found and value is not None else None
    return figure


def _connection_cpu(data: Data) -> float | None:
    found = table(data, "cold")
    values = [median(found, name, "cpu") for name in ("ours cold", "ours warm", "plain cold", "plain warm")]
    if any(value is None for value in values):
        return None
    ours_cold, ours_warm, plain_cold, plain_warm = (value or 0.0 for value in values)
    return ratio(ours_cold - ours_warm, plain_cold - plain_warm)


def _pair(scenario: str, above: str, below: str, what: str = "wall") -> Callable[[Data], float | None]:
    def figure(data: Data) -> float | None:
        found = table(data, scenario)
        return ratio(median(found, above, what), median(found, below, what))
    return figure


def _per_workspace(data: Data) -> float | None:
    """What each further workspace costs at the large size, as a multiple of the small one's; the start of Ansible is in neither."""
    found = table(data, "scale")
    if found is None:
        return None
    one, small, large = (median(found, str(size)) for size in (1, found["small"], found["large"]))
    if one is None or small is None or large is None:
        return None
    return ((large - one) / (found["large"] - 1)) / ((small - one) / (found["small"] - 1))


def memory_slope(data: Data) -> float | None:
    """MiB of the controller's largest process for 1,000 more workspaces."""
    found = table(data, "scale")
    if found is None:
        return None
    small, large = (median(found, str(size), "memory") for size in (found["small"], found["large"]))
    return None if small is None or large is None else (large - small) * 1000 / (found["large"] - found["small"])


def _tunnel_memory(data: Data) -> float | None:
    return median(table(data, "throughput"), "ours", "memory")


BARS = (
    *(Bar(1, f"no-op {shown}, {hosts} workspaces: {what} against ping's", limit, _no_op(contestant, hosts, what))
      for hosts in (20, 100, 300)
      for contestant, shown in (("task", "converge, the task"), ("audit task", "audit, the task"), ("install", "converge, the playbook"),
                                ("audit", "audit, the playbook"))
      for what, limit in (("wall", 0.8), ("cpu", 1.0))),
    Bar(2, "install of one changed 1 MiB plugin against ping", 2.2, _install("one", "ping")),
    Bar(2, "install of ten against one", 1.4, _install("ten", "one")),
    Bar(2, "round trips more than ping, at 150 ms", 3.0, _round_trips, unit=""),
    Bar(3, "tunnels of a cold workspace", 1.0, _each("tunnels"), unit=""),
    Bar(3, "logins of a cold workspace", 1.0, _each("logins"), unit=""),
    Bar(3, "key pushes of a cold workspace", 1.0, _each("key_pushes"), unit=""),
    Bar(3, "start of the tunnel against the AWS CLI's", 0.25, _pair("tunnel start", "ours", "aws")),
    Bar(3, "CPU of a fresh connection against plain ssh's", 1.3, _connection_cpu),
    Bar(4, "stock playbook's audit against ours (the task)", 4.0, _peer("stock audit", "audit task"), at_most=False),
    Bar(4, "stock playbook's audit against ours (the playbook)", 4.0, _peer("stock audit", "audit"), at_most=False),
    Bar(4, "platform's install of 4 plugins against ours", 3.0, _pair("platform", "platform", "ours"), at_most=False),
    Bar(5, "throughput through the tunnel against plain ssh", 0.9, _pair("throughput", "direct", "ours"), at_most=False),
    Bar(5, "memory of the tunnel, MiB", 48.0, _tunnel_memory, unit=" MiB"),
    Bar(6, "cost of a workspace among many against among few", 1.1, _per_workspace),
    Bar(6, "controller memory for 1,000 workspaces more, MiB", 50.0, memory_slope, unit=" MiB"),
)

# Why a bar is missed, by a part of its name.
REASONS: dict[str, str] = {
    "the playbook,":
        "The playbooks: core forks a worker and computes all variables anew for each task of each host, also for one that is skipped. `ping` is one task; a "
        "playbook of ours that finds nothing to do is four, an audit five: arguments are checked, the backend is looked up in what the inventory has said, "
        "plugins are compared, the result is said. Only the comparison goes to the host. To meet the bar it would have to be the only task, which is what the "
        "rows *the task* show. What was measured at a commit before [decision 75](decisions/0075-tasks-that-cost-a-worker.md) had 19 and 17 tasks.",
    "the task,":
        "The task: of what it takes more than `ping`, most is spent once per run, on packing ten plugins and looking through them for secrets.",
    "round trips more":
        "Round trips: an install is one execution more than `ping`, each of which opens a session, starts a command and waits for its end. The figure is a "
        "difference of four medians, so it also has the noise of a busy machine, in which 0.15 s is little.",
    "CPU of a fresh connection":
        "A fresh connection: the worker imports botocore to resolve credentials and asks EC2 for address and endpoint, and the tunnel is a Python process; "
        "plain ssh with a trivial ProxyCommand does nothing of all that.",
    "throughput through":
        "Throughput: plain ssh reaches the same sshd without a gateway here. Through the tunnel, every byte is also carried and decrypted by the lab's "
        "gateway, which is Python on the same cores.",
    "start of the tunnel":
        "Start of the tunnel: ours includes the push of the SSH key, which the AWS CLI does in a command of its own.",
    "install of one":
        "Install of one plugin: two executions (look, apply) instead of one, and what the controller does once per run: pack, scan, ship.",
    "install of ten":
        "Install of ten plugins: ten times the bytes are packed, sent, unpacked and synced to disk; only the round trips are shared.",
}
