# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees: the diff per file within its limits, and the result."""
from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from ansible_collections.molecule_ai.workspace.plugins.module_utils.plugin_tree import Limits, entry, tree_digest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import plugin_plan
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.drift_report import DiffReport, result_of
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.plugin_plan import PluginPlan, Target, WantedPlugin
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.prepared_plugin import describe_tree, prepare
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.sources import DirectorySource
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.workspace_answer import Application, Applied, Inspection, Observed, Placements, Previous

TARGET = Target("/configs", "/configs", "claude-code", (1000, 1000), 60, 1000)
NO_PLACEMENTS = Placements()
WANTED = WantedPlugin("ecc", "present", None, False, False, None, None, None, False, False)
NEW = {"plugin.yaml": b"name: ecc\n", "same.md": b"same\n", "changed.md": b"new\n", "added.md": b"added\n", "binary": b"\0new", "big.md": b"n" * 500}
OLD = {"plugin.yaml": b"name: ecc\n", "same.md": b"same\n", "changed.md": b"old\n", "gone.md": b"gone\n", "binary": b"\0old", "big.md": b"o" * 500}


def _write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def _plan(tmp_path: Path, old: dict[str, bytes] | None, placements: Placements = NO_PLACEMENTS) -> PluginPlan:
    new = _write(tmp_path / "new", NEW)
    prepared = prepare(DirectorySource(str(new), "plugins/ecc"), False, Limits(), RunCache(tmp_path / "cache"))
    entries = None if old is None else describe_tree(_write(tmp_path / "old", old), Limits(), "old")
    observed = Observed(entries is not None, tree_digest(entries) if entries else None, (), entries, None, None, placements)
    return plugin_plan.plan_plugin(WANTED, prepared, observed, TARGET)


def _texts(report: DiffReport) -> dict[tuple[str, str, bool], str | None]:
    files = {False: OLD, True: NEW}
    return {key: None if b"\0" in files[key[2]][key[1]] else files[key[2]][key[1]].decode() for key in report.wanted_texts()}


def test_text_files_as_texts_others_by_their_digest(tmp_path: Path) -> None:
    report = DiffReport([_plan(tmp_path, OLD)], 100)
    assert set(report.wanted_texts()) == {("ecc", "changed.md", False), ("ecc", "gone.md", False), ("ecc", "binary", False)}
    diffs = {diff["after_header"]: (diff["before"], diff["after"]) for diff in report.render(_texts(report))}
    assert set(diffs) == {f"plugins/ecc/{name}" for name in ("added.md", "big.md", "binary", "changed.md", "gone.md (absent)")}
    assert diffs["plugins/ecc/changed.md"] == ("old\n", "new\n")
    assert diffs["plugins/ecc/added.md"] == ("", "added\n")
    assert diffs["plugins/ecc/gone.md (absent)"] == ("gone\n", "")
    for name in ("binary", "big.md"):
        before, after = diffs[f"plugins/ecc/{name}"]
        assert hashlib.sha256(OLD[name]).hexdigest() in before and hashlib.sha256(NEW[name]).hexdigest() in after


def test_a_rollback_is_shown_with_texts_from_the_workspace_alone(tmp_path: Path) -> None:
    upgrade = _plan(tmp_path, OLD)
    assert upgrade.prepared is not None
    previous = Previous(upgrade.prepared.digest, upgrade.prepared.entries, "plugins/ecc", "0.9", False, None)
    wanted = dataclasses.replace(WANTED, state="rolled_back")
    plan = plugin_plan.plan_plugin(wanted, None, dataclasses.replace(upgrade.observed, previous=previous), TARGET)
    report = DiffReport([plan], 100)
    assert ("ecc", "added.md", True) in report.wanted_texts() and ("ecc", "gone.md", True) not in report.wanted_texts()
    assert report.render(_texts(report)) == DiffReport([upgrade], 100).render(_texts(DiffReport([upgrade], 100)))


def test_a_file_that_vanished_meanwhile_is_described(tmp_path: Path) -> None:
    report = DiffReport([_plan(tmp_path, OLD)], 100)
    diff = next(diff for diff in report.render({}) if diff["after_header"].endswith("changed.md"))
    assert diff["before"].startswith("(not shown) file of 4 bytes")


def test_an_empty_file_that_is_too_much_is_described(tmp_path: Path) -> None:
    report = DiffReport([_plan(tmp_path, {**NEW, "empty": b""})], 1000)
    [diff] = report.render({("ecc", "empty", False): ""})
    assert diff["after_header"] == "plugins/ecc/empty (absent)"
    assert diff["before"].startswith("(not shown) file of 0 bytes") and diff["after"] == ""


def test_an_installation_shows_what_comes(tmp_path: Path) -> None:
    report = DiffReport([_plan(tmp_path, None)], 0)
    assert report.wanted_texts() == []
    diffs = report.render({})
    assert len(diffs) == len(NEW)
    assert all(diff["before"] == "" and diff["before_header"].endswith("(absent)") for diff in diffs)


def test_nothing_to_do_is_no_diff(tmp_path: Path) -> None:
    assert DiffReport([_plan(tmp_path, NEW)], 100).render({}) == []


def test_many_and_large_files_stay_within_the_budget(tmp_path: Path) -> None:
    files = {f"f{number:03}.md": b"x" * 5000 for number in range(250)}
    entries = {"": entry("directory", 0o755)} | {
        path: entry("file", 0o644, len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()
    }
    observed = Observed(True, "sha256:1", (), entries, None, None, Placements())
    plan = plugin_plan.plan_unmanaged("ecc", observed)
    report = DiffReport([plan], 104448)
    texts = {key: files[key[1]].decode() for key in report.wanted_texts()}
    diffs = report.render(texts)
    assert 0 < len(texts) <= 60
    assert sum(len(str(diff)) for diff in diffs) < 500_000
    assert diffs[-1] == {"prepared": "and 50 more files differ\n"}


def test_modes_owners_and_directories_are_one_diff(tmp_path: Path) -> None:
    plan = _plan(tmp_path, NEW)
    assert plan.prepared is not None
    entries = {path: dict(item) for path, item in plan.prepared.entries.items()}
    entries["same.md"]["mode"] = 0o600
    entries["binary"].update(uid=0, gid=0)
    entries["empty"] = entry("directory", 0o755)
    observed = Observed(True, tree_digest(entries), ("binary",), entries, None, None, Placements())
    plan = plugin_plan.plan_plugin(WANTED, plan.prepared, observed, TARGET)
    [diff] = DiffReport([plan], 100).render({})
    assert diff["before"] == "binary: file 0644 owner 0:0\nempty: directory 0755\nsame.md: file 0600\n"
    assert diff["after"] == "binary: file 0644\nsame.md: file 0644\n"


def test_placements_that_go_are_a_short_text(tmp_path: Path) -> None:
    placements = Placements(("skills/a/SKILL.md",), ({"path": "CLAUDE.md", "reason": "somebody changed it"},))
    diffs = DiffReport([_plan(tmp_path, OLD, placements)], 0).render({})
    assert diffs[-1]["prepared"] == "placements of plugin ecc\n- skills/a/SKILL.md\n  kept: CLAUDE.md (somebody changed it)\n"


def test_long_lists_are_cut_and_say_so(tmp_path: Path) -> None:
    placements = Placements(tuple(f"skills/a/{number}" for number in range(350)), tuple({"path": f"x{number}", "reason": "changed"} for number in range(150)))
    plan = _plan(tmp_path, OLD, placements)
    [text] = [diff["prepared"] for diff in DiffReport([plan], 0).render({}) if "prepared" in diff]
    assert text.startswith("placements of plugin ecc\n- skills/a/0\n") and text.endswith("- skills/a/199\nand 300 more\n")
    [plugin] = result_of([plan], _inspection([plan]), None, False, 100)["plugins"]
    assert (len(plugin["removed_placements"]), plugin["removed_placements_count"], len(plugin["kept"]), plugin["kept_count"]) == (100, 350, 100, 150)
    assert plan.observed.entries is not None
    modes = {path: dict(item, mode=0o600) for path, item in plan.observed.entries.items()}
    modes.update({f"d{number:03}": entry("directory", 0o755) for number in range(250)})
    changed = dataclasses.replace(plan, observed=dataclasses.replace(plan.observed, entries=modes, placements=NO_PLACEMENTS))
    [structure] = [diff for diff in DiffReport([changed], 0).render({}) if "modes" in diff.get("before_header", "")]
    assert structure["before"].count("\n") == 201 and structure["before"].endswith(" more\n") and " more" not in structure["after"]


def test_the_removal_of_what_is_not_listed_is_shown_as_a_whole() -> None:
    observed = Observed(True, "sha256:1", (), None, None, None, NO_PLACEMENTS)
    assert DiffReport([plugin_plan.plan_unmanaged("My Plugin", observed)], 0).render({}) == [
        {"before_header": "plugins/My Plugin", "after_header": "plugins/My Plugin (absent)", "before": "(not shown) sha256:1\n", "after": ""}
    ]


def _inspection(plans: list[PluginPlan], **changes: object) -> Inspection:
    values: dict[str, object] = {
        "plugins": {plan.name: plan.observed for plan in plans}, "others": {}, "unmanaged": (), "restart_pending": (), "interrupted": ()
    }
    return Inspection(**(values | changes))  # type: ignore[arg-type]


def test_a_prediction(tmp_path: Path) -> None:
    plan = _plan(tmp_path, OLD, Placements(("skills/a/SKILL.md",), ()))
    result = result_of([plan], _inspection([plan]), None, False, 2)
    assert (result["changed"], result["restart_required"]) == (True, True)
    [plugin] = result["plugins"]
    assert (plugin["action"], plugin["drift_count"], plugin["removed_placements"]) == ("upgraded", len(plan.drift), ["skills/a/SKILL.md"])
    assert len(result["drift"]) == 2 < len(plan.drift)


def test_nothing_to_do_with_a_pending_restart(tmp_path: Path) -> None:
    plan = _plan(tmp_path, NEW)
    result = result_of([plan], _inspection([plan], restart_pending=("ecc",)), None, False, 100)
    assert (result["changed"], result["restart_required"]) == (False, True)
    assert result["drift"] == [
        {"plugin": "ecc", "kind": "restart_pending", "path": "", "expected": "restarted", "observed": "not restarted since the last change"}
    ]


def test_unmanaged_plugins_are_drift_and_no_change(tmp_path: Path) -> None:
    plan = _plan(tmp_path, NEW)
    result = result_of([plan], _inspection([plan], unmanaged=("other",)), None, False, 100)
    assert (result["changed"], result["restart_required"], result["unmanaged"]) == (False, False, ["other"])
    assert [(drift["plugin"], drift["kind"]) for drift in result["drift"]] == [("other", "unmanaged")]


def test_a_recovery_is_a_change(tmp_path: Path) -> None:
    plan = _plan(tmp_path, NEW)
    assert result_of([plan], _inspection([plan]), None, True, 100)["changed"] is True


def test_what_was_done_counts_more_than_the_plan(tmp_path: Path) -> None:
    plan = _plan(tmp_path, OLD)
    done = Application({"ecc": Applied(False, "sha256:1", Placements())}, (), (), {})
    result = result_of([plan], _inspection([plan]), done, False, 100)
    assert (result["changed"], result["restart_required"], result["plugins"][0]["action"]) == (False, False, "none")


def test_the_version_that_was_found_is_the_one_that_a_digest_proves(tmp_path: Path) -> None:
    def found(plan: PluginPlan, receipt: dict[str, object] | None) -> object:
        observed = dataclasses.replace(plan.observed, receipt=receipt)
        return result_of([dataclasses.replace(plan, observed=observed)], _inspection([plan]), None, False, 2)["plugins"][0]["installed_version"]

    changed, same = _plan(tmp_path, OLD), _plan(tmp_path, NEW)
    old_digest = changed.observed.digest
    assert found(changed, None) is None
    assert found(changed, {"digest": "sha256:" + "0" * 64, "plugin_version": "1.0.0"}) is None
    assert found(changed, {"digest": old_digest, "plugin_version": "1.0.0\n"}) == "1.0.0\\n"
    assert found(same, {"digest": old_digest, "plugin_version": "9"}) == same.version
    assert found(_plan(tmp_path, None), {"digest": old_digest, "plugin_version": "1.0.0"}) is None
