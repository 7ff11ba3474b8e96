# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what reaches a workspace, from the other side: the engine's events, or what the instance's sshd logged."""
from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from collections.abc import Iterator

from .api import Lab

_SESSION = re.compile(r"Starting session: (command|subsystem '(?P<subsystem>[^']*)'|shell)")


@dataclasses.dataclass
class RemoteCalls:
    """Commands that were executed and files that were transferred while the context was open; ``tunnels`` counts new EIC tunnels."""

    executions: int = 0
    transfers: int = 0
    tunnels: int = 0


@contextlib.contextmanager
def remote_calls(lab: Lab, name: str) -> Iterator[RemoteCalls]:
    """Fill in the counts for workspace ``name`` when the context ends."""
    calls = RemoteCalls()
    instance = lab.world.reload().instance_of(lab.world.workspace(name))
    log_start = lab.paths.service_log.stat().st_size
    tunnels = lab.counters()["tunnels"]
    start = time.time()
    yield calls
    if instance is None:
        container = lab.runtime_container_name(name)
        events = lab.engine.events(since=start, until=time.time(), filters={"container": container}, decode=True)
        actions = [event["Action"] for event in events]
        calls.executions = sum(action.startswith("exec_create") for action in actions)
        calls.transfers = actions.count("extract-to-dir")
        return
    calls.tunnels = lab.counters()["tunnels"] - tunnels
    with open(lab.paths.service_log, encoding="utf-8") as log:
        log.seek(log_start)
        sessions = [match for line in log if f" {instance['instance_id']}: " in line for match in [_SESSION.search(line)] if match]
    calls.transfers = sum(match["subsystem"] == "sftp" for match in sessions)
    calls.executions = len(sessions) - calls.transfers
