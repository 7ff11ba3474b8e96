# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling back: a plugin is as it was before its last change of version, with a receipt that is true, and only if nobody has touched what is restored."""
from __future__ import annotations

import json
import os
import pathlib
import shutil

import pytest
from adapter_simulation import Adapter
from ansible_collections.molecule_ai.workspace.plugins.module_utils import previous_version
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import ConflictError, InvalidInputError, WorkspaceError
from plugin_samples import OWNER, V1, V2, Workspace, contents, digest_of, write_tree

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


@pytest.fixture(name="workspace")
def fixture_workspace(tmp_path: pathlib.Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(name="upgraded")
def fixture_upgraded(workspace: Workspace) -> Workspace:
    for tree in (V1, V2):
        workspace.apply({"ecc": tree})
        workspace.confirm_restart()
        Adapter(workspace.config, str(workspace.config / ".claude")).start()
    return workspace


def receipt(workspace: Workspace, name: str = "ecc"):
    return json.loads((workspace.state / "receipts" / f"{name}.json").read_text())


def live(workspace: Workspace, name: str = "ecc"):
    return workspace.inspect({name: None})["plugins"][name]["digest"]


def test_the_previous_version_is_back_byte_for_byte_and_waits_for_its_restart(upgraded, tmp_path):
    before = receipt(upgraded)
    seen = upgraded.inspect_previous("ecc")["ecc"]
    assert (seen["previous"]["digest"], seen["previous"]["source"], seen["previous"]["rolled_back"]) == (digest_of(V1), "test://ecc", False)
    result = upgraded.roll_back("ecc")
    assert result["plugins"]["ecc"]["changed"] is True and result["restart_pending"] == ["ecc"]
    assert (result["plugins"]["ecc"]["previous_digest"], result["plugins"]["ecc"]["digest"]) == (digest_of(V2), digest_of(V1))
    assert contents(upgraded.plugins / "ecc") == contents(write_tree(tmp_path / "v1", V1))
    assert contents(upgraded.state / "previous" / "ecc") == contents(write_tree(tmp_path / "v2", V2))
    after = receipt(upgraded)
    assert (after["digest"], after["source"], after["plugin_version"], after["state"]) == (digest_of(V1), "test://ecc", "1.0.0", "present")
    assert after["install_id"] != before["install_id"] and after["job"] == {"id": "8"}
    assert upgraded.staging() == []


def test_the_placements_of_the_version_that_goes_are_removed_and_the_runtime_places_the_restored_ones(upgraded):
    memory = upgraded.config / "CLAUDE.md"
    assert "# Two" in memory.read_text() and "# One" not in memory.read_text()
    result = upgraded.roll_back("ecc")["plugins"]["ecc"]
    assert result["removed_placements"] == ["skills/helper/SKILL.md", "CLAUDE.md: rule two.md"] and result["kept"] == []
    Adapter(upgraded.config, str(upgraded.config / ".claude")).start()
    assert "# One" in memory.read_text() and "# Two" not in memory.read_text()
    assert (upgraded.config / "skills" / "helper" / "SKILL.md").read_bytes() == V1["skills/helper/SKILL.md"]
    # The next change knows what the restored version has placed, even if somebody changes the plugin's own files.
    (upgraded.plugins / "ecc" / "rules" / "one.md").write_bytes(b"tampered\n")
    assert "CLAUDE.md: rule one.md" in upgraded.apply({"ecc": None})["plugins"]["ecc"]["removed_placements"]


def test_a_second_rollback_changes_nothing_until_a_version_is_installed(upgraded):
    upgraded.roll_back("ecc")
    upgraded.confirm_restart()
    before = contents(upgraded.config)
    seen = upgraded.inspect_previous("ecc")["ecc"]
    assert (seen["previous"]["rolled_back"], seen["previous"]["problem"], seen["entries"], seen["placements"]) == (True, None, None, None)
    assert upgraded.roll_back("ecc")["plugins"] == {}
    assert {path: what for path, what in contents(upgraded.config).items() if path != ".molecule_ai/lock"} == {
        path: what for path, what in before.items() if path != ".molecule_ai/lock"
    }
    upgraded.apply({"ecc": V2})
    assert upgraded.roll_back("ecc")["plugins"]["ecc"]["digest"] == digest_of(V1)


def test_two_runs_at_once_do_not_roll_back_twice(upgraded):
    order = {"name": "ecc", "state": "rolled_back", "digest": digest_of(V1), "observed_digest": digest_of(V2)}
    upgraded.handle("apply", plugins=[order])
    with pytest.raises(ConflictError, match="the previous version of plugin ecc is another one since it was inspected"):
        upgraded.handle("apply", plugins=[order])
    assert live(upgraded) == digest_of(V1)


def test_rolling_back_a_first_install_removes_it(workspace):
    workspace.apply({"ecc": V1})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    seen = workspace.inspect_previous("ecc")["ecc"]
    assert (seen["previous"]["digest"], seen["previous"]["problem"]) == (None, None) and seen["entries"] is not None
    result = workspace.roll_back("ecc")
    assert result["plugins"]["ecc"]["digest"] is None and result["restart_pending"] == ["ecc"]
    assert os.listdir(workspace.plugins) == [] and not (workspace.config / "CLAUDE.md").exists()
    workspace.confirm_restart()
    assert workspace.roll_back("ecc")["plugins"] == {}, "the receipt is gone with the restart, and it is still known that this was a rollback"


def test_rolling_back_a_removal_brings_the_plugin_back(upgraded, tmp_path):
    upgraded.apply({"ecc": None})
    upgraded.confirm_restart()
    upgraded.roll_back("ecc")
    assert contents(upgraded.plugins / "ecc") == contents(write_tree(tmp_path / "v2", V2))
    assert receipt(upgraded)["digest"] == digest_of(V2) and receipt(upgraded)["restart_pending"] is True
    assert upgraded.roll_back("ecc")["plugins"] == {}


def test_a_repair_keeps_the_good_previous_version_and_what_it_replaced(upgraded, tmp_path):
    (upgraded.plugins / "ecc" / "rules" / "two.md").write_bytes(b"tampered\n")
    upgraded.apply({"ecc": V2})
    assert contents(upgraded.state / "previous" / "ecc") == contents(write_tree(tmp_path / "v1", V1))
    assert (upgraded.state / "modified" / "ecc" / "rules" / "two.md").read_bytes() == b"tampered\n"
    upgraded.roll_back("ecc")
    assert contents(upgraded.plugins / "ecc") == contents(tmp_path / "v1")


def test_a_repair_after_a_rollback_does_not_make_the_next_one_go_forward(upgraded):
    upgraded.roll_back("ecc")
    (upgraded.plugins / "ecc" / "by-hand").write_bytes(b"x")
    upgraded.apply({"ecc": V1})
    assert upgraded.roll_back("ecc")["plugins"] == {} and live(upgraded) == digest_of(V1)


def test_installing_again_what_was_deleted_by_hand_is_a_repair(upgraded):
    shutil.rmtree(upgraded.plugins / "ecc")
    upgraded.apply({"ecc": V2})
    assert upgraded.roll_back("ecc")["plugins"]["ecc"]["digest"] == digest_of(V1)


@as_root
def test_a_repair_of_owners_keeps_the_previous_version(upgraded):
    os.chown(upgraded.plugins / "ecc" / "plugin.yaml", 1234, 1234)
    (upgraded.state / "receipts" / "ecc.json").unlink()
    upgraded.apply({"ecc": V2})
    assert upgraded.roll_back("ecc")["plugins"]["ecc"]["digest"] == digest_of(V1)


def test_a_version_that_was_installed_otherwise_is_restored_as_it_was(workspace, tmp_path):
    write_tree(workspace.plugins / "ecc", V1)
    workspace.apply({"ecc": V2})
    workspace.roll_back("ecc")
    assert contents(workspace.plugins / "ecc") == contents(write_tree(tmp_path / "v1", V1))
    assert (receipt(workspace)["digest"], receipt(workspace)["source"]) == (digest_of(V1), None)


def test_what_had_been_changed_before_the_upgrade_is_restored_with_the_receipt_it_had(upgraded):
    """As it ran before: the next comparison with the source shows the change, as it did before."""
    changed = dict(V2, **{"rules/two.md": b"changed by hand\n"})
    (upgraded.plugins / "ecc" / "rules" / "two.md").write_bytes(changed["rules/two.md"])
    upgraded.apply({"ecc": dict(V1, more=b"third version")})
    upgraded.roll_back("ecc")
    assert live(upgraded) == digest_of(changed) and receipt(upgraded)["digest"] == digest_of(V2)


def test_modes_that_no_plugin_has_are_not_restored(upgraded):
    (upgraded.plugins / "ecc" / "rules" / "two.md").chmod(0o4777)
    upgraded.apply({"ecc": dict(V1, more=b"third version")})
    upgraded.roll_back("ecc")
    assert (upgraded.plugins / "ecc" / "rules" / "two.md").stat().st_mode & 0o7777 == 0o755


def test_what_is_restored_has_new_files_that_nobody_holds_open(upgraded):
    inode = (upgraded.state / "previous" / "ecc" / "plugin.yaml").stat().st_ino
    upgraded.roll_back("ecc")
    assert (upgraded.plugins / "ecc" / "plugin.yaml").stat().st_ino != inode


def test_what_the_runtime_compiled_is_not_restored(upgraded):
    compiled = upgraded.plugins / "ecc" / "adapters" / "__pycache__"
    upgraded.apply({"ecc": dict(V2, **{"adapters/a.py": b"1\n"})})
    compiled.mkdir()
    (compiled / "a.cpython-311.pyc").write_bytes(b"planted")
    upgraded.apply({"ecc": V1})
    upgraded.roll_back("ecc")
    assert os.listdir(upgraded.plugins / "ecc" / "adapters") == ["a.py"]


@pytest.mark.parametrize(
    "tamper, problem",
    [
        (lambda tree: (tree / "plugin.yaml").write_bytes(b"evil"), "was changed after it had been replaced"),
        (lambda tree: (tree / "link").symlink_to("/etc"), "holds 'link', which is neither a plain file nor a directory"),
        (lambda tree: os.mkfifo(tree / "pipe"), "holds 'pipe', which is neither a plain file nor a directory"),
        (shutil.rmtree, "is recorded, but .*/previous/ecc is gone"),
        (lambda tree: (shutil.rmtree(tree), tree.symlink_to("/etc")), "holds '.', which is neither"),
        (lambda tree: (tree.parent.parent / "receipts" / "ecc.previous").write_bytes(b"{"), r"receipts/ecc.previous\) is damaged"),
        (lambda tree: (tree.parent.parent / "receipts" / "ecc.previous").unlink(), "has no previous version"),
    ],
    ids=["modified", "link", "pipe", "gone", "replaced by a link", "broken record", "no record"],
)
def test_a_previous_version_that_is_not_what_was_replaced_is_refused_and_nothing_is_touched(upgraded, tamper, problem):
    upgraded.apply({"other": V1})
    tamper(upgraded.state / "previous" / "ecc")
    assert upgraded.inspect_previous("ecc")["ecc"]["previous"]["problem"]
    orders = [
        {"name": "other", "state": "rolled_back", "digest": None, "observed_digest": digest_of(V1)},
        {"name": "ecc", "state": "rolled_back", "digest": digest_of(V1), "observed_digest": digest_of(V2)},
    ]
    with pytest.raises(WorkspaceError, match=problem + ".*; nothing was changed"):
        upgraded.handle("apply", plugins=orders)
    assert (live(upgraded), live(upgraded, "other"), upgraded.staging()) == (digest_of(V2), digest_of(V1), [])


def test_a_link_that_was_in_the_live_tree_is_never_restored(upgraded):
    (upgraded.plugins / "ecc" / "link").symlink_to("/etc")
    upgraded.apply({"ecc": V1})
    with pytest.raises(WorkspaceError, match="holds 'link', which is neither a plain file nor a directory, so somebody had tampered with it"):
        upgraded.roll_back("ecc")
    assert live(upgraded) == digest_of(V1)


def test_a_change_of_live_since_inspect_is_a_conflict(upgraded):
    (upgraded.plugins / "ecc" / "by-hand").write_bytes(b"x")
    with pytest.raises(ConflictError, match="was changed by somebody else since it was inspected"):
        upgraded.handle("apply", plugins=[{"name": "ecc", "state": "rolled_back", "digest": digest_of(V1), "observed_digest": digest_of(V2)}])


def test_a_change_of_the_copy_while_it_is_made_is_noticed(upgraded, monkeypatch):
    real_copy = previous_version.copy_tree

    def racing(source_fd: int, *arguments, **options) -> None:
        (upgraded.state / "previous" / "ecc" / "plugin.yaml").write_bytes(b"name: ecc\nversion: 6.6.6\n")
        real_copy(source_fd, *arguments, **options)

    monkeypatch.setattr(previous_version, "copy_tree", racing)
    with pytest.raises(WorkspaceError, match="was changed while it was being copied: nothing was restored"):
        upgraded.roll_back("ecc")
    assert live(upgraded) == digest_of(V2) and upgraded.staging() == []


def test_several_plugins_are_rolled_back_in_one_go(workspace):
    workspace.apply({"one": V1, "two": V1})
    workspace.apply({"one": V2, "two": None, "three": V1})
    result = workspace.roll_back("one", "two", "three")
    assert {name: item["digest"] for name, item in result["plugins"].items()} == {"one": digest_of(V1), "two": digest_of(V1), "three": None}
    assert result["restart_pending"] == ["one", "three", "two"]


@as_root
def test_what_is_restored_belongs_to_the_agent(workspace):
    workspace.apply({"ecc": V1}, owner=[1000, 1001])
    workspace.apply({"ecc": V2}, owner=[1000, 1001])
    workspace.roll_back("ecc", owner=[1000, 1001])
    assert {(uid, gid) for _mode, uid, gid, _what in contents(workspace.plugins / "ecc").values()} == {(1000, 1001)}
    assert OWNER == [0, 0] and {(uid, gid) for _mode, uid, gid, _what in contents(workspace.state / "installed").values()} == {(0, 0)}


def test_texts_of_the_previous_version_can_be_read_for_a_diff(upgraded):
    files = [{"plugin": "ecc", "path": "rules/one.md", "previous": True}, {"plugin": "ecc", "path": "rules/two.md"}]
    assert [file["text"] for file in upgraded.handle("read", files=files, max_bytes=100)["files"]] == ["# One\n", "# Two\n"]
    with pytest.raises(InvalidInputError, match="previous of a file must be true or false"):
        upgraded.handle("read", files=[dict(files[0], previous=1)], max_bytes=100)


def test_remains_of_a_plugin_that_was_deleted_by_hand_are_removed(workspace):
    workspace.apply({"ecc": V1})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    workspace.confirm_restart()
    shutil.rmtree(workspace.plugins / "ecc")
    seen = workspace.inspect({"ecc": None})["plugins"]["ecc"]
    assert seen["has_remains"] is True and "CLAUDE.md: rule one.md" in seen["placements"]["removed"]
    result = workspace.apply({"ecc": None})
    assert result["plugins"]["ecc"]["changed"] is True and result["restart_pending"] == ["ecc"]
    assert sorted(os.listdir(workspace.config)) == [".molecule_ai", "plugins"] and os.listdir(workspace.state / "installed") == []
    workspace.confirm_restart()
    assert workspace.apply({"ecc": None})["plugins"]["ecc"]["changed"] is False
