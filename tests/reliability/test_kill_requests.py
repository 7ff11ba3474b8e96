# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill what is no change of listed plugins: the confirmation of a restart, a piece of a transfer, and what ``exclusive`` takes away."""
from __future__ import annotations

import io
import os
import pathlib
import random
import typing

import promise
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request, transfer_ids
from ansible_collections.molecule_ai.workspace.plugins.module_utils.names import is_plugin_name
from killing import calls_of, chosen, kill_at, points_of
from plugin_samples import digest_of
from scenarios import NEW, OLD, SCENARIOS, Workspace

POINTS = 30
RECEIPTS = ["ecc.json", "ecc.previous", "more.json", "more.previous", "other.previous"]
STRAY = ".stray"
TRANSFER = transfer_ids.make(f"{'a' * 16}-1-1")


@pytest.fixture(name="workspace")
def fixture_workspace(tmp_path: pathlib.Path) -> Workspace:
    """Two plugins are installed and started."""
    made = Workspace(tmp_path, tmp_path / "sent")
    made.prepare(SCENARIOS["several"])
    return made


def killed(workspace: Workspace, request: dict[str, typing.Any], seed: int, attached: bytes = b"") -> typing.Iterator[str]:
    """Kill the request at some of its points, at all where there are few, each time from the same state; after each, say where that was."""
    workspace.save("before")
    points = points_of(calls_of(request, attached))
    for point in sorted({points[0], points[-1], *chosen(points, POINTS, random.Random(seed))}):
        workspace.restore("before")
        yield f"killed {point.where} call {point.index} ({kill_at(request, point, attached)})"


def test_a_killed_confirmation_confirms_nothing_that_was_not_asked_for_and_can_be_repeated(workspace: Workspace, reliability_seed: int) -> None:
    workspace.apply(SCENARIOS["several"].wanted)
    pending = workspace.handle("pending_restarts")["restart_pending"]
    assert sorted(pending) == ["ecc", "more", "other"]
    asked = {name: pending[name] for name in ("ecc", "other")}
    plugins = promise.observe(workspace.config / "plugins")
    request = workspace.request("confirm_restart", install_ids=asked)
    seen = set()
    for where in killed(workspace, request, reliability_seed):
        after = workspace.handle("pending_restarts")
        assert after["problems"] == [] and after["restart_pending"].items() <= pending.items() and "more" in after["restart_pending"], where
        seen.add(tuple(after["restart_pending"]))
        again = workspace.handle("confirm_restart", install_ids=asked)
        assert again["restart_pending"] == ["more"] and set(again["cleared"]) == set(after["restart_pending"]) - {"more"}, where
        assert promise.observe(workspace.config / "plugins") == plugins and workspace.inspect(SCENARIOS["several"].wanted)["interrupted"] == [], where
        assert sorted(os.listdir(workspace.config / ".molecule_ai/receipts")) == RECEIPTS, where
    assert len(seen) > 1


def test_a_killed_piece_of_a_transfer_changes_no_plugin_and_is_removed_by_whoever_knows_its_sender(workspace: Workspace, reliability_seed: int) -> None:
    def receive(offset: int) -> dict[str, typing.Any]:
        return workspace.request("receive", transfer=TRANSFER, offset=offset)

    plugin_request.handle(receive(0), io.BytesIO(b"x" * 5000))
    before = promise.observe(workspace.config)
    sizes = set()
    for where in killed(workspace, receive(5000), reliability_seed, b"y" * 5000):
        now = promise.observe(workspace.config)
        path = f".molecule_ai/incoming/{TRANSFER}"
        sizes.add(len(now[path][3]))
        assert {each: value for each, value in now.items() if each != path} == {each: value for each, value in before.items() if each != path}, where
        abandoned = workspace.inspect({})["transfers"]
        assert abandoned == [TRANSFER]
        workspace.handle("apply", plugins=[], abandoned_transfers=abandoned)
        assert workspace.inspect({})["transfers"] == [] and workspace.apply({"ecc": NEW})["plugins"]["ecc"]["changed"], where
    assert sizes == {5000, 7500, 10000}


def test_what_exclusive_takes_away_is_whole_where_it_was_or_where_it_is_kept(workspace: Workspace, reliability_seed: int) -> None:
    """A plugin that nobody has asked for, and a directory of a name that no plugin can have, of which the runtime has placed a rule."""
    stray = workspace.config / "plugins" / STRAY
    stray.mkdir()
    (stray / "plugin.yaml").write_bytes(b"name: stray\n")
    (stray / "rules").mkdir()
    (stray / "rules" / "stray.md").write_bytes(b"A stray rule.\n")
    workspace.start_runtime()
    request = exclusive_request(workspace)
    content, whole = promise.observe(stray), {"plugins": set(), "modified": set()}
    for where in killed(workspace, request, reliability_seed):
        for _run in range(2):
            places = [workspace.config / "plugins", workspace.config / ".molecule_ai/modified"]
            found = {place.name: [path for path in place.iterdir() if path.name.endswith(STRAY.lstrip("."))] for place in places}
            ((place, [path]),) = [(place, paths) for place, paths in found.items() if paths]
            assert promise.observe(path) == content, where
            whole[place].add(where)
            workspace.apply({})
        pending = set(workspace.handle("pending_restarts")["restart_pending"])
        plugin_request.handle(exclusive_request(workspace))
        assert os.listdir(workspace.config / "plugins") == ["ecc"], where
        assert len(workspace.handle("pending_restarts")["restart_pending"]) == 2 >= len(pending), where
        assert b"stray" not in (workspace.config / "CLAUDE.md").read_bytes() and b"Another rule" not in (workspace.config / "CLAUDE.md").read_bytes(), where
        assert workspace.inspect({})["interrupted"] == [], where
        again = exclusive_request(workspace)
        assert (again["plugins"], again["strays"]) == ([], []), where
    assert whole["plugins"] and whole["modified"]


def exclusive_request(workspace: Workspace) -> dict[str, typing.Any]:
    """What the controller asks for after it has looked: ``ecc`` stays as it is, and nothing else stays."""
    wanted = [{"name": "ecc", "state": "present", "digest": digest_of(OLD)}]
    found = workspace.handle("inspect", plugins=wanted, exclusive=True)["plugins"]
    gone = [{"name": name, "observed_digest": seen["digest"]} for name, seen in found.items() if name != "ecc" and seen["exists"]]
    plugins = [{**each, "state": "absent"} for each in gone if is_plugin_name(each["name"])]
    return workspace.request("apply", plugins=plugins, strays=[each for each in gone if not is_plugin_name(each["name"])], job={"id": "7"})
