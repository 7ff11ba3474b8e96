# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action with the real workspace half behind it, but without a connection: what is asked, what is sent, and what is said."""
from __future__ import annotations

import os
import shutil
import tarfile
from typing import Any
from unittest import mock

import pytest
import yaml
from action_workspace import Workspace, plugin
from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible_collections.molecule_ai.workspace.plugins.action import molecule_plugin
from ansible_collections.molecule_ai.workspace.plugins.module_utils import transfer_ids
from ansible_collections.molecule_ai.workspace.plugins.modules.molecule_plugin import RETURN
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import bundle, processes


def test_install_then_nothing_to_do(workspace: Workspace) -> None:
    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == workspace.trips_of_a_change
    assert (result["changed"], result["restart_required"], result["plugins"][0]["action"]) == (True, True, "installed")
    assert result["transferred_bytes"] > 0
    assert (workspace.plugins / "ecc/hooks/h").stat().st_mode & 0o777 == 0o755

    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect"]
    assert (result["changed"], result["restart_required"], result["transferred_bytes"]) == (False, True, 0)
    assert [drift["kind"] for drift in result["drift"]] == ["restart_pending"]


def test_ten_plugins_are_one_inspection_one_transfer_and_one_change(workspace: Workspace) -> None:
    names = [f"p{number}" for number in range(10)]
    for name in names:
        plugin(workspace.directory / name, **{"rules/a.md": name})
    elements = [{"name": name, "source": f"./{name}"} for name in names]
    result = workspace.run(plugins=elements)
    assert workspace.operations == workspace.trips_of_a_change
    assert [plugin["action"] for plugin in result["plugins"]] == ["installed"] * 10
    (workspace.plugins / "p3/rules/a.md").write_text("tampered", encoding="utf-8")
    result = workspace.run(plugins=elements)
    assert {plugin["name"] for plugin in result["plugins"] if plugin["action"] != "none"} == {"p3"}
    assert workspace.operations == workspace.trips_of_a_change


def test_check_mode_predicts_and_touches_nothing(workspace: Workspace) -> None:
    predicted = workspace.run(check=True, name="ecc", source="./ecc")
    assert workspace.operations == ["inspect"]
    assert not any(workspace.config_dir.iterdir())
    done = workspace.run(name="ecc", source="./ecc")
    for key in ("changed", "restart_required", "plugins", "drift", "unmanaged"):
        assert predicted[key] == done[key], key
    assert predicted["transferred_bytes"] == 0


def test_a_rollback_is_predicted_and_done_in_one_change_without_any_transfer(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    plugin(workspace.directory / "new/ecc", **{"rules/a.md": "# new\n"})
    upgraded = workspace.run(name="ecc", source="./new/ecc")["plugins"][0]
    predicted = workspace.run(check=True, diff=True, name="ecc", state="rolled_back")
    assert workspace.operations == ["inspect", "read"]
    assert any({"before": "# new\n", "after": "# a\n"}.items() <= diff.items() for diff in predicted["diff"])
    done = workspace.run(name="ecc", state="rolled_back")
    assert workspace.operations == ["inspect", "apply"]
    for key in ("changed", "restart_required", "plugins", "drift", "unmanaged"):
        assert predicted[key] == done[key], key
    restored = done["plugins"][0]
    assert (restored["action"], restored["digest"], restored["version"]) == ("rolled_back", upgraded["previous_digest"], "1.0.0")
    assert (workspace.plugins / "ecc/rules/a.md").read_text(encoding="utf-8") == "# a\n"
    again = workspace.run(name="ecc", state="rolled_back")
    assert workspace.operations == ["inspect"] and again["changed"] is False and again["plugins"][0]["action"] == "none"


def test_nothing_is_changed_where_one_plugin_cannot_be_rolled_back(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for check in (True, False):
        with pytest.raises(AnsibleActionFail, match="^plugin other has no previous version in .*: install the version you want; nothing was changed$"):
            workspace.run(check=check, plugins=[{"name": "ecc", "state": "rolled_back"}, {"name": "other", "state": "rolled_back"}])
    assert (workspace.plugins / "ecc").exists()


def test_every_kind_of_drift_is_found_and_repaired(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    live = workspace.plugins / "ecc"
    (live / "rules/a.md").write_text("tampered\n", encoding="utf-8")
    (live / "plugin.yaml").unlink()
    (live / "extra").write_text("x", encoding="utf-8")
    (live / "hooks/h").chmod(0o644)
    audit = workspace.run(check=True, diff=True, name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", "read"]
    kinds = {(drift["kind"], drift["path"]) for drift in audit["drift"]}
    assert kinds == {("modified", "rules/a.md"), ("missing", "plugin.yaml"), ("extra", "extra"), ("mode", "hooks/h"), ("restart_pending", "")}
    assert audit["plugins"][0]["action"] == "repaired"
    diffs = {diff["before_header"]: diff for diff in audit["diff"]}
    assert (diffs["plugins/ecc/rules/a.md"]["before"], diffs["plugins/ecc/rules/a.md"]["after"]) == ("tampered\n", "# a\n")
    assert "hooks/h: file 0644\n" in diffs["plugins/ecc (modes, owners and directories)"]["before"]
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "repaired"
    assert workspace.run(name="ecc", source="./ecc")["changed"] is False


def test_what_is_returned_is_what_is_documented(workspace: Workspace) -> None:
    documented = yaml.safe_load(RETURN)
    result = workspace.run(name="ecc", source="./ecc")
    assert set(result) == {*documented, "changed"}
    assert set(result["plugins"][0]) == set(documented["plugins"]["contains"])
    assert set(result["drift"][0]) == set(documented["drift"]["contains"])


def test_max_drift_shortens_the_list_and_not_the_count(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for number in range(5):
        (workspace.plugins / "ecc" / f"extra-{number}").write_text("x", encoding="utf-8")
    audit = workspace.run(check=True, name="ecc", source="./ecc", max_drift=2)
    assert [drift["kind"] for drift in audit["drift"]] == ["extra", "extra", "restart_pending"]
    assert (audit["plugins"][0]["drift_count"], audit["drift_count"]) == (5, 6)
    assert [drift["kind"] for drift in workspace.run(check=True, name="ecc", source="./ecc", max_drift=0)["drift"]] == ["extra", "restart_pending"]


def test_upgrade_and_removal(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    (workspace.directory / "ecc/rules/a.md").write_text("# b\n", encoding="utf-8")
    shutil.rmtree(C.DEFAULT_LOCAL_TMP)
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "upgraded"
    predicted = workspace.run(check=True, name="ecc", state="absent")
    result = workspace.run(name="ecc", state="absent")
    assert workspace.operations == ["inspect", "apply"]
    assert result["plugins"] == predicted["plugins"]
    assert (result["plugins"][0]["action"], result["plugins"][0]["digest"], result["restart_required"]) == ("removed", None, True)
    assert not (workspace.plugins / "ecc").exists()
    result = workspace.run(name="ecc", state="absent")
    assert (result["changed"], workspace.operations) == (False, ["inspect"])


def test_a_removal_in_diff_mode_shows_what_goes(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    result = workspace.run(check=True, diff=True, name="ecc", state="absent")
    diffs = {diff["before_header"]: diff["before"] for diff in result["diff"] if "before" in diff}
    assert diffs["plugins/ecc/rules/a.md"] == "# a\n"


def test_unmanaged_plugins_are_reported_or_removed(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for name in ("stranger", "No plugin"):
        plugin(workspace.plugins / name)
    result = workspace.run(name="ecc", source="./ecc")
    assert (result["changed"], result["unmanaged"]) == (False, ["No plugin", "stranger"])
    assert {drift["plugin"] for drift in result["drift"] if drift["kind"] == "unmanaged"} == {"stranger", "No plugin"}
    predicted = workspace.run(check=True, diff=True, name="ecc", source="./ecc", exclusive=True)
    result = workspace.run(name="ecc", source="./ecc", exclusive=True)
    assert workspace.operations == ["inspect", "apply"]
    assert result["plugins"] == predicted["plugins"]
    assert {plugin["name"]: plugin["action"] for plugin in result["plugins"]} == {"ecc": "none", "stranger": "removed", "No plugin": "removed"}
    assert [path.name for path in workspace.plugins.iterdir()] == ["ecc"]
    assert workspace.run(name="ecc", source="./ecc", exclusive=True)["changed"] is False


def test_files_beside_the_plugins_are_listed_and_nothing_else(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for name in ("README.md", "notes.md"):
        (workspace.plugins / name).write_text("a person's")
    workspace.run(name="ecc", source="./ecc", exclusive=True)
    result = workspace.run(name="ecc", source="./ecc", exclusive=True)
    assert (result["changed"], result["unmanaged"]) == (False, ["README.md", "notes.md"])
    assert {drift["kind"] for drift in result["drift"]} == {"restart_pending"} and result["drift_count"] == 1
    assert (workspace.plugins / "notes.md").read_text() == "a person's"


def test_exclusive_takes_away_what_a_deleted_plugin_has_left(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    (workspace.config_dir / "CLAUDE.md").write_text("# Plugin: ecc / rule: a.md\n\n# a\n\n")
    shutil.rmtree(workspace.plugins / "ecc")
    predicted = workspace.run(check=True, diff=True, plugins=[], exclusive=True)
    result = workspace.run(plugins=[], exclusive=True)
    assert result["plugins"] == predicted["plugins"]
    assert [(item["name"], item["action"], item["removed_placements"]) for item in result["plugins"]] == [("ecc", "removed", ["CLAUDE.md: rule a.md"])]
    assert [(drift["plugin"], drift["path"]) for drift in result["drift"] if drift["kind"] == "placement"] == [("ecc", "CLAUDE.md: rule a.md")]
    assert not (workspace.config_dir / "CLAUDE.md").exists()
    assert workspace.run(plugins=[], exclusive=True)["changed"] is False


def test_the_receipt_says_who_did_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "17")
    requests: list[dict[str, Any]] = []

    def record(request: dict[str, Any]) -> dict[str, Any]:
        requests.append(request)
        return workspace.handle(request)

    workspace.answer = record
    workspace.run(name="ecc", source="./ecc", variables={"ansible_play_name": "Install"})
    job = requests[-1]["job"]
    assert (job["play"], job["awx_job_id"]) == ("Install", "17") and job["controller"] and job["user"]


def test_sources_are_prepared_once_for_all_hosts(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.run(name="ecc", source="./ecc")
    shutil.rmtree(workspace.config_dir)
    workspace.config_dir.mkdir()
    monkeypatch.setattr(bundle, "write_bundle", mock.Mock(side_effect=AssertionError("packed again")))
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "installed"


@pytest.mark.parametrize("suffix", ["", ".tar.gz"])
def test_a_source_that_the_play_changes_is_read_again(workspace: Workspace, suffix: str) -> None:
    """A role may render it for each host or loop item, always at the same path; even the size and the time of the file can be the same."""
    source, rule = f"{workspace.directory}/ecc{suffix}", workspace.directory / "ecc/rules/a.md"
    times = rule.stat().st_atime_ns, rule.stat().st_mtime_ns
    for text in ("# b\n", "# c\n"):
        rule.write_text(text, encoding="utf-8")
        os.utime(rule, ns=times)
        if suffix:
            with tarfile.open(source, "w:gz") as archive:
                archive.add(workspace.directory / "ecc", "ecc")
        assert workspace.run(name="ecc", source=source)["changed"]
        assert (workspace.plugins / "ecc/rules/a.md").read_text(encoding="utf-8") == text
        assert not workspace.run(name="ecc", source=source)["changed"]


@pytest.mark.parametrize("workspace", [True], indirect=True, ids=["carried"])
def test_what_is_larger_than_a_request_may_carry_is_sent_in_pieces(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(molecule_plugin, "MAX_ATTACHED_BYTES", 300)
    named = mock.Mock(side_effect=transfer_ids.make)
    monkeypatch.setattr(transfer_ids, "make", named)
    result = workspace.run(name="ecc", source="./ecc")
    assert named.mock_calls == [mock.call(processes.name_of(os.getpid()))]
    assert workspace.operations == ["inspect", *["receive"] * -(-result["transferred_bytes"] // 300), "apply"]
    assert (workspace.plugins / "ecc/rules/a.md").read_text() == "# a\n"
    assert list((workspace.config_dir / ".molecule_ai/incoming").iterdir()) == []
