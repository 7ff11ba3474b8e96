# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the options of the event source -> ``fleet_look`` -> ``fleet_watch`` -> events."""
from __future__ import annotations

import asyncio
import datetime
import importlib
import logging
import sys
import time
import types
from pathlib import Path
from typing import Any

DOCUMENTATION = r"""
---
short_description: Watches a fleet of Molecule AI workspaces for those that may have lost their plugins
description:
  - Looks at the inventory again and again, with C(ansible-inventory), and sends one event for each workspace that runs on another EC2 instance or in another
    container than before, is new, or is back online after an absence.
  - A restart in place keeps instance and container, so it is no event. The first look is the baseline and sends nothing.
  - An event holds ids and fixed words only, never a text that a user of the platform has chosen.
options:
  inventory:
    description:
      - The inventory, as for C(ansible-rulebook -i), with a configuration of the plugin C(molecule_ai.workspace.workspaces); or a list of several.
      - The default is the one of E(ANSIBLE_INVENTORY) or C(ansible.cfg).
    type: list
    elements: str
  interval:
    description: Seconds from the end of a look to the next one. After failed looks it is doubled, up to ten times as long.
    type: float
    default: 60
  timeout:
    description: Seconds that a look may take.
    type: float
    default: 300
  settle:
    description: Seconds that a change must have stayed as it is before it is sent.
    type: float
    default: 30
  min_absence:
    description:
      - Seconds after which a workspace that is back on the same instance or container counts as back online. It must be longer than a restart takes.
    type: float
    default: 300
  backoff:
    description: Seconds from an event until the next one of the same workspace, doubled each time up to O(backoff_max).
    type: float
    default: 60
  backoff_max:
    description: The longest such pause, and the quiet time after which it is short again.
    type: float
    default: 3600
  slots:
    description: The cap on syncs at once. Each event has a slot number below this, and the rulebook runs one sync per slot.
    type: int
    default: 5
  state_file:
    description:
      - A file that keeps what was seen, so that what changes while the watch does not run is an event when it runs again.
      - Without it, each start of the watch is a new baseline.
    type: path
  repeat:
    description:
      - With O(state_file). What was sent so few seconds before the watch ended is sent again when it starts, because the sync may have ended with it.
    type: float
    default: 900
"""

EXAMPLES = r"""
- molecule_ai.workspace.workspaces:
    inventory: /srv/fleet
    interval: 60
    state_file: /var/lib/molecule/watch.json
"""

RETURN = r"""
workspace:
  description: A workspace that may have lost its plugins.
  type: dict
  contains:
    id: {description: The workspace's id., type: str}
    host: {description: 'Its name in the inventory, also in C(meta.hosts), to which ansible-rulebook limits the playbook.', type: str}
    tier: {description: V(docker) or V(eic)., type: str}
    reason: {description: 'V(new_instance), V(new_container), V(new_workspace) or V(back_online).', type: str}
    previous: {description: 'The instance or container that it ran on, or null.', type: str}
    current: {description: The instance or container that it runs on., type: str}
    times: {description: 'How often in a row the workspace was announced, 1 for the first time.', type: int}
    repeated: {description: Whether it was sent before the watch was interrupted., type: bool}
    slot: {description: A number from 0 to O(slots) - 1., type: int}
    seen_at: {description: 'When it was sent, UTC.', type: str}
fleet:
  description: 'The watch itself: C(state) is V(failed), with the C(reason), when it cannot look any more, and V(watched) when it can again.'
  type: dict
"""

log = logging.getLogger(__name__)

_DEFAULTS: dict[str, Any] = {
    "inventory": [], "interval": 60.0, "timeout": 300.0, "settle": 30.0, "min_absence": 300.0, "backoff": 60.0, "backoff_max": 3600.0, "slots": 5,
    "state_file": None, "repeat": 900.0,
}
_MAX_FAILURES_FACTOR = 10.0


def _product(name: str) -> types.ModuleType:
    """A module of the collection that this file belongs to, without Ansible's loader, which ansible-rulebook does not have.

    It is imported below a package name of our own, because ``ansible_collections`` in ``sys.path`` may be another one.
    """
    package = "molecule_ai_workspace_plugins"
    if package not in sys.modules:
        root = types.ModuleType(package)
        root.__path__ = [str(Path(__file__).absolute().parents[4] / "plugins")]
        sys.modules[package] = root
    return importlib.import_module(f"{package}.plugin_utils.{name}")


fleet_look = _product("fleet_look")
fleet_watch = _product("fleet_watch")
fleet_watch_file = _product("fleet_watch_file")
errors = importlib.import_module("molecule_ai_workspace_plugins.module_utils.errors")


def options(args: dict[str, Any]) -> dict[str, Any]:
    """The options with their defaults and types; raises :class:`WorkspaceError` for one that cannot work."""
    # ansible-rulebook adds this one by itself
    given = {name: value for name, value in args.items() if name != "eda_feedback_queue" and value not in (None, "")}
    unknown = sorted(given.keys() - _DEFAULTS.keys())
    if unknown:
        raise errors.InvalidInputError(f"the event source workspaces has no option {unknown[0]!r}: use {', '.join(_DEFAULTS)}")
    chosen = {**_DEFAULTS, **given}
    for name, default in _DEFAULTS.items():
        if isinstance(default, (int, float)):
            chosen[name] = _number(name, chosen[name], type(default))
    inventory = chosen["inventory"]
    chosen["inventory"] = [inventory] if isinstance(inventory, str) else [str(each) for each in inventory]
    return chosen


def _number(name: str, value: Any, kind: type) -> float:
    least = {"interval": 0.1, "timeout": 1, "slots": 1}.get(name, 0)
    try:
        number = kind(value)
    except (TypeError, ValueError):
        number = None
    if number is None or isinstance(value, bool) or not least <= number < float("inf"):
        raise errors.InvalidInputError(f"option {name} of the event source workspaces must be a number of {least} or more, not {value!r}")
    return number


class Source:
    """One watch, with what it needs from one look to the next."""

    def __init__(self, queue: asyncio.Queue[Any], chosen: dict[str, Any]) -> None:
        self._queue = queue
        self._options = chosen
        self._file = fleet_watch_file.WatchFile(chosen["state_file"]) if chosen["state_file"] else None
        patience = fleet_watch.Patience(*(chosen[name] for name in ("settle", "min_absence", "backoff", "backoff_max", "repeat")))
        self._watch = fleet_watch.Watch(patience, self._file.load() if self._file else None, time.time())
        self._slots: dict[str, int] = {}
        self._failing = 0
        self._said: set[str] = set()

    def close(self) -> None:
        """Give the state file free."""
        if self._file:
            self._file.close()

    async def run(self) -> None:
        """Look for ever; only what a person must put right ends it, as a :class:`WorkspaceError`."""
        while True:
            await self._look()
            await asyncio.sleep(self._options["interval"] * min(2.0 ** min(self._failing, 32), _MAX_FAILURES_FACTOR))

    async def _look(self) -> None:
        try:
            look = await fleet_look.look(self._options["inventory"], self._options["timeout"])
        except fleet_look.LookError as error:
            await self._tell([str(error)])
            return
        for remark in look.remarks:
            if remark not in self._said:
                self._said.add(remark)
                log.warning("%s", remark)
        changes = self._watch.observe(look.sightings, complete=not look.failures, now=time.time())
        for change in changes:
            await self._queue.put(self._event(change))
        # after the events: if this ends in between, they are sent again, and a sync that finds nothing to do changes nothing
        if self._file and self._watch.has_baseline:
            self._file.save(self._watch)
        await self._tell(look.failures)

    async def _tell(self, failures: Any) -> None:
        """Log that the fleet cannot be seen, or not all of it, and send it once, and once that it can be seen again."""
        before, self._failing = self._failing, self._failing + 1 if failures else 0
        if failures:
            log.error("%s", "; ".join(failures))
        if bool(before) != bool(failures):
            await self._queue.put({"fleet": {"state": "failed" if failures else "watched", "reason": "; ".join(failures)}})

    def _event(self, change: Any) -> dict[str, Any]:
        # a workspace keeps its slot, so that two syncs of one workspace never run at the same time
        slot = self._slots.setdefault(change.workspace_id, len(self._slots) % self._options["slots"])
        workspace = {
            "id": change.workspace_id, "host": change.host, "tier": change.tier, "reason": change.reason, "previous": change.previous,
            "current": change.identity, "times": change.times, "repeated": change.repeated, "slot": slot,
            "seen_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
        log.info("workspace %(id)s: %(reason)s, %(previous)s -> %(current)s", workspace)
        return {"workspace": workspace, "meta": {"hosts": change.host}}


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """The entry that ansible-rulebook calls."""
    source = Source(queue, options(args))
    try:
        await source.run()
    finally:
        source.close()
