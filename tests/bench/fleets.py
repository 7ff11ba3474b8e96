# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all scenarios share: the fleet with ten plugins on every host, playbooks, and how runs of Ansible are judged."""
from __future__ import annotations

import contextlib
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import content
import measure
import yaml
from hosts import Hosts, hosts
from measure import NotDone, Reading

INSTALL, AUDIT = "molecule_ai.workspace.install", "molecule_ai.workspace.audit"
TASK = {"name": "Keep the plugins", "molecule_ai.workspace.molecule_plugin": {"plugins": "{{ workspace_plugins }}"}}
_RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Fleet:
    """Hosts on which all plugins of ``wanted`` are, installed by the collection; playbooks lie beside it."""

    def __init__(self, running: Hosts) -> None:
        self.hosts, self.directory = running, running.directory
        self.wanted = self.directory / "wanted"
        self.plugins = content.write(self.wanted)
        self.task = self.playbook("task.yml", [TASK])
        running.write(self.plugins)

    def playbook(self, name: str, tasks: Sequence[dict[str, Any]], **keywords: Any) -> pathlib.Path:
        """A play of ``tasks`` over all hosts."""
        path = self.directory / name
        play = {"name": "Bench", "hosts": "workspaces", "gather_facts": False, "tasks": list(tasks), **keywords}
        path.write_text(yaml.safe_dump([play], sort_keys=False))
        return path

    def install_everywhere(self) -> None:
        """The plugins on all hosts; one is done by the collection and copied."""
        self.hosts.empty()
        self.play(self.task, "--limit", self.hosts.names[0])
        for path in (self.hosts.configs(0) / ".molecule_ai" / "receipts").glob("*.json"):
            # there is no runtime on these hosts that could be restarted: as if it had been
            receipt = json.loads(path.read_text())
            receipt["restart_pending"] = False
            path.write_text(json.dumps(receipt))
        self.hosts.copy_to_all()
        self.hosts.require(self.wanted)

    def play(self, playbook: pathlib.Path | str, *arguments: str, inventory: pathlib.Path | None = None, status: int | None = 0,
             **environment: str) -> Reading:
        """Run a playbook."""
        command = ["ansible-playbook", "-i", str(inventory or self.hosts.inventory), str(playbook), *arguments]
        return measure.run(command, self.hosts.environment(**environment), self.directory, status=status)

    def ping(self, **environment: str) -> Reading:
        """The floor."""
        command = ["ansible", "workspaces", "-i", str(self.hosts.inventory), "-m", "ansible.builtin.ping"]
        return measure.run(command, self.hosts.environment(**environment), self.directory)

    def all_answered(self, reading: Reading) -> None:
        """Every host has answered the ping."""
        answered = reading.output.count("| SUCCESS")
        if answered != self.hosts.size:
            raise NotDone(f"{answered} of {self.hosts.size} hosts answered")

    def unchanged(self, reading: Reading) -> None:
        """Every host was looked at, and nothing was changed."""
        self.recap(reading, changed=False)
        self.hosts.require(self.wanted)

    def changed(self, reading: Reading) -> None:
        """Every host was changed, and has what is wanted now."""
        self.recap(reading, changed=True)
        self.hosts.require(self.wanted)

    def recap(self, reading: Reading, *, changed: bool) -> None:
        """Every host has ended well and was, or was not, changed."""
        found = {name: [int(count) for count in counts] for name, *counts in _RECAP.findall(reading.output)}
        good = [name for name, (done, changes, unreachable, failed) in found.items() if done and bool(changes) == changed and not unreachable and not failed]
        if sorted(good) != sorted(self.hosts.names):
            raise NotDone(f"{len(good)} of {self.hosts.size} hosts ended as they should:\n{reading.output[-1500:]}")


@contextlib.contextmanager
def fleet(size: int) -> Iterator[Fleet]:
    """A fleet in sync."""
    with hosts(size) as running:
        made = Fleet(running)
        made.install_everywhere()
        yield made
