# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source as ansible-rulebook runs it: by path, with a queue and a dictionary. The inventory is a program that reads a file."""
from __future__ import annotations

import asyncio
import json
import pathlib
import runpy
import typing as t
from unittest import mock

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
SOURCE = ROOT / "extensions" / "eda" / "plugins" / "event_source" / "workspaces.py"
RULEBOOK = ROOT / "extensions" / "eda" / "rulebooks" / "self_healing.yml"


class Fleet:
    """An inventory that a test changes, and the events of the source that watches it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.answer = directory / "answer.json"
        program = directory / "ansible-inventory"
        program.write_text(f"#!/bin/sh\necho look >> {directory}/looks\nexec cat {self.answer}\n")
        program.chmod(0o755)

    def show(self, **containers: str) -> None:
        hosts = {
            name: {"workspace_id": f"id-{name}", "workspace_container_id": identity, "workspace_backend": {"tier": "docker", "lookup": "found"}}
            for name, identity in containers.items()
        }
        new = self.directory / "new.json"
        new.write_text(json.dumps({"_meta": {"hostvars": hosts}}))
        new.rename(self.answer)

    async def looked(self, more: int = 2) -> None:
        """Wait until so many further looks have begun, so that all but the last one have been acted upon."""
        target = self.looks() + more
        while self.looks() < target:
            await asyncio.sleep(0.02)

    def looks(self) -> int:
        path = self.directory / "looks"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def fleet(tmp_path: pathlib.Path) -> t.Iterator[Fleet]:
    with mock.patch("sys.executable", str(tmp_path / "python")):
        yield Fleet(tmp_path)


def watch(args: dict[str, t.Any], scenario: t.Callable[[asyncio.Queue[t.Any]], t.Coroutine[t.Any, t.Any, None]]) -> list[dict[str, t.Any]]:
    """Run the source while ``scenario`` goes on, end it as ansible-rulebook does, and return its events."""
    module = runpy.run_path(str(SOURCE))
    queue: asyncio.Queue[t.Any] = asyncio.Queue()

    async def run() -> None:
        # first the scenario, up to its first wait: the first look is to see what it shows
        played = asyncio.create_task(scenario(queue))
        task = asyncio.create_task(module["main"](queue, {"interval": 0.1, "settle": 0, **args}))
        await asyncio.wait([task, played], return_when=asyncio.FIRST_COMPLETED)
        for each in (task, played):
            if each.done():
                each.result()
            each.cancel()
        await asyncio.gather(task, played, return_exceptions=True)

    asyncio.run(run())
    return [queue.get_nowait() for _number in range(queue.qsize())]


def test_one_event_for_a_new_container(fleet: Fleet) -> None:
    async def scenario(_queue: asyncio.Queue[t.Any]) -> None:
        fleet.show(a="c1", b="c1")
        await fleet.looked()
        fleet.show(a="c2", b="c1")
        await fleet.looked(4)

    (event,) = watch({"inventory": "fleet"}, scenario)
    assert event["meta"] == {"hosts": "a"}
    workspace = event["workspace"]
    assert workspace.pop("seen_at").endswith("+00:00")
    assert workspace == {
        "id": "id-a", "host": "a", "tier": "docker", "reason": "new_container", "previous": "c1", "current": "c2", "times": 1, "repeated": False, "slot": 0}


def test_the_state_file_bridges_an_interruption(fleet: Fleet) -> None:
    """What changed while nobody watched, and what was announced shortly before; a workspace's slot is below the cap."""
    async def first(_queue: asyncio.Queue[t.Any]) -> None:
        fleet.show(a="c1", b="c1", c="c1")
        await fleet.looked()
        fleet.show(a="c2", b="c1", c="c1")
        await fleet.looked(3)

    async def second(_queue: asyncio.Queue[t.Any]) -> None:
        fleet.show(a="c2", b="c2", c="c2")
        await fleet.looked(3)

    args = {"state_file": str(fleet.directory / "state.json"), "slots": "2", "backoff": 0}
    assert [event["workspace"]["id"] for event in watch(args, first)] == ["id-a"]
    found = {event["workspace"]["id"]: event["workspace"] for event in watch(args, second)}
    assert {name: each["repeated"] for name, each in found.items()} == {"id-a": True, "id-b": False, "id-c": False}
    assert {each["slot"] for each in found.values()} == {0, 1}


def test_failing_looks_are_said_once_and_slow_down(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(queue: asyncio.Queue[t.Any]) -> None:
        fleet.answer.write_text("no inventory")
        await fleet.looked(3)
        fleet.show(a="c1")
        while queue.qsize() < 2:
            await asyncio.sleep(0.02)

    failed, watched = watch({}, scenario)
    assert failed["fleet"]["state"] == "failed" and "did not answer with an inventory" in failed["fleet"]["reason"]
    assert watched == {"fleet": {"state": "watched", "reason": ""}}
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) >= 2


BAD = {
    "an unknown option": ({"intervall": 3}, "has no option 'intervall'"),
    "no number": ({"interval": "soon"}, "interval .* must be a number"),
    "too small": ({"slots": 0}, "slots .* must be a number of 1 or more"),
    "not a number at all": ({"settle": "nan"}, "settle .* must be a number"),
}


@pytest.mark.parametrize(("args", "sentence"), BAD.values(), ids=BAD)
def test_options_that_cannot_work(args: dict[str, t.Any], sentence: str) -> None:
    module = runpy.run_path(str(SOURCE))
    with pytest.raises(module["errors"].WorkspaceError, match=sentence):
        asyncio.run(module["main"](asyncio.Queue(), args))


def test_the_rulebook_and_the_source_agree() -> None:
    """Every option that the rulebook hands over is one, with the same default, and what ansible-rulebook adds is accepted."""
    module = runpy.run_path(str(SOURCE))
    ((ruleset,),) = (yaml.safe_load(RULEBOOK.read_text()),)
    handed = ruleset["sources"][0]["molecule_ai.workspace.workspaces"]
    defaults = module["options"]({"eda_feedback_queue": object()})
    documented = yaml.safe_load(module["DOCUMENTATION"])["options"]
    assert documented.keys() == defaults.keys()
    for name, option in documented.items():
        assert option.get("default", [] if name == "inventory" else None) == defaults[name]
    for name, template in handed.items():
        default = template.partition("default(")[2].partition(")")[0].strip("'")
        assert default == ("" if name in ("inventory", "state_file") else f"{defaults[name]:g}")
