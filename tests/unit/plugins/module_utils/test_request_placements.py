# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request says and does about what the runtime has placed of a plugin: foretold by inspect, done by apply."""
from __future__ import annotations

import os
import shutil

import pytest
from adapter_simulation import Adapter
from plugin_samples import CHANGING, COMPLETE, V1, V2, Workspace, contents


def test_placements_of_a_plugin_that_does_not_differ_are_looked_at_when_asked_for(workspace):
    workspace.apply({"ecc": CHANGING})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    hook = workspace.config / ".claude" / "hooks" / "check.sh"
    hook.write_bytes(b"changed by hand")
    assert workspace.inspect({"ecc": CHANGING})["plugins"]["ecc"]["placements"] is None
    kept = workspace.inspect({"ecc": CHANGING}, placements=True)["plugins"]["ecc"]["placements"]["kept"]
    assert [(entry["path"], entry["reason"]) for entry in kept] == [(".claude/hooks/check.sh", "changed since it was placed")]
    assert hook.read_bytes() == b"changed by hand"


@pytest.mark.parametrize("wanted", [V2, None], ids=["upgrade", "removal"])
def test_the_old_versions_placements_go_and_what_was_changed_stays(workspace, wanted):
    (workspace.config / "CLAUDE.md").write_bytes(b"my own line\n")
    workspace.apply({"ecc": CHANGING})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    assert b"# One" in (workspace.config / "CLAUDE.md").read_bytes()
    (workspace.config / ".claude" / "hooks" / "check.sh").write_bytes(b"changed by hand")
    predicted = workspace.inspect({"ecc": wanted})["plugins"]["ecc"]["placements"]
    result = workspace.apply({"ecc": wanted})["plugins"]["ecc"]
    assert {"removed": result["removed_placements"], "kept": result["kept"]} == predicted
    assert b"# One" not in (workspace.config / "CLAUDE.md").read_bytes()
    assert (workspace.config / "CLAUDE.md").read_bytes().startswith(b"my own line\n")
    assert not (workspace.config / "skills" / "helper" / "SKILL.md").exists()
    assert (workspace.config / ".claude" / "hooks" / "check.sh").read_bytes() == b"changed by hand"
    assert [kept["path"] for kept in result["kept"]] == [".claude/hooks/check.sh"]


def tamper(workspace: Workspace) -> None:
    """Change, remove and add what the runtime places something of, in the live plugin."""
    live = workspace.plugins / "ecc"
    for path in ("rules/one.md", "hooks/check.sh", "commands/go.md"):
        (live / path).write_bytes(b"changed in the live plugin\n")
    (live / "skills" / "helper" / "extra.md").write_bytes(b"added to the live plugin\n")
    for path in ("GUIDE.md", "skills/helper/SKILL.md", "settings-fragment.json"):
        (live / path).unlink()


@pytest.mark.parametrize("restarted", [False, True], ids=["not restarted since", "restarted since"])
@pytest.mark.parametrize("vanished", [False, True], ids=["live plugin tampered with", "live plugin deleted"])
@pytest.mark.parametrize("wanted", [COMPLETE, V2, None], ids=["repair", "upgrade", "removal"])
def test_what_was_placed_of_the_installed_version_goes_whatever_became_of_the_live_one(workspace, wanted, vanished, restarted):
    (workspace.config / "CLAUDE.md").write_bytes(b"my own line\n")
    workspace.apply({"ecc": COMPLETE})
    adapter = Adapter(workspace.config, str(workspace.config / ".claude"))
    adapter.start()
    if vanished:
        shutil.rmtree(workspace.plugins / "ecc")
    else:
        tamper(workspace)
    if restarted:
        adapter.start()
    predicted = workspace.inspect({"ecc": wanted})["plugins"]["ecc"]["placements"]
    result = workspace.apply({"ecc": wanted})["plugins"]["ecc"]
    assert {"removed": result["removed_placements"], "kept": result["kept"]} == predicted
    assert result["kept"] == [] and "CLAUDE.md: rule one.md" in result["removed_placements"]
    left = sorted(str(path.relative_to(workspace.config)) for path in workspace.config.rglob("*") if path.is_file())
    assert [path for path in left if not path.startswith((".molecule_ai/", "plugins/"))] == ["CLAUDE.md"]
    assert (workspace.config / "CLAUDE.md").read_bytes().strip() == b"my own line"


def test_what_a_person_changed_in_a_placement_stays_though_the_installed_version_is_known(workspace):
    workspace.apply({"ecc": COMPLETE})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    tamper(workspace)
    (workspace.config / ".claude" / "commands" / "go.md").write_bytes(b"changed where it was placed\n")
    (workspace.config / ".claude" / "settings.json").write_bytes(b'{"model": "b"}')
    result = workspace.apply({"ecc": V2})["plugins"]["ecc"]
    assert [kept["path"] for kept in result["kept"]] == [".claude/settings.json: model", ".claude/commands/go.md"]


@pytest.mark.parametrize("last", [CHANGING, V2, None], ids=["stays", "upgrade", "removal"])
@pytest.mark.parametrize("first", [dict(CHANGING, **{"plugin.yaml": b"name: other\n"}), None], ids=["upgrade", "removal"])
def test_what_two_plugins_place_is_foretold_as_it_comes(workspace, first, last):
    """The first leaves to the second what both place; the second, changed after it, leaves nothing to the first."""
    workspace.apply({"a": CHANGING, "b": CHANGING})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    wanted = {"a": first, "b": last}
    predicted = workspace.inspect(wanted)["plugins"]
    done = workspace.apply(wanted)["plugins"]
    assert ".claude/hooks/check.sh" in {entry["path"] for entry in done["a"]["kept"]}
    for name in ("a", "b") if last is not CHANGING else ("a",):
        assert predicted[name]["placements"] == {"removed": done[name]["removed_placements"], "kept": done[name]["kept"]}
    assert (workspace.config / ".claude" / "hooks" / "check.sh").exists() is (last is CHANGING)


@pytest.mark.parametrize("wanted", [V2, None], ids=["upgrade", "removal"])
def test_text_that_was_appended_to_a_live_rule_and_placed_goes_with_it(workspace, wanted):
    """Otherwise the text would stay active below no header, reported as removed."""
    workspace.apply({"ecc": V1})
    (workspace.plugins / "ecc" / "rules" / "one.md").write_bytes(b"# One\n\nExcept on Fridays.\n")
    (workspace.config / "CLAUDE.md").write_bytes(b"my own line\n")
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    assert b"Fridays" in (workspace.config / "CLAUDE.md").read_bytes()
    result = workspace.apply({"ecc": wanted})["plugins"]["ecc"]
    assert "CLAUDE.md: rule one.md" in result["removed_placements"] and result["kept"] == []
    assert (workspace.config / "CLAUDE.md").read_bytes().strip() == b"my own line"


def test_only_what_the_runtime_places_something_of_is_kept_aside(installed):
    kept = contents(installed.state / "installed" / "ecc")
    assert sorted(kept) == [".", "rules", "rules/one.md", "skills", "skills/helper", "skills/helper/SKILL.md", "skills/helper/run.sh"]
    assert kept["rules/one.md"][3] == V1["rules/one.md"]
    installed.apply({"ecc": None})
    assert os.listdir(installed.state / "installed") == []
