# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workspace half does for a request: the promises of inspect, apply, read, pending_restarts and confirm_restart."""
from __future__ import annotations

import json
import os
import shutil

import pytest
from adapter_simulation import Adapter
from ansible_collections.molecule_ai.workspace.plugins.module_utils import directory_files, plugin_slot, safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import BusyError, ConflictError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.workspace_directories import open_for_reading
from ansible_collections.molecule_ai.workspace.plugins.module_utils.workspace_lock import writer_lock
from plugin_samples import COMPLETE, V1, V2, Workspace, contents, digest_of, members, pack, shipment, write_tree

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def everything(workspace: Workspace):
    return contents(workspace.config)


def test_an_empty_workspace_is_inspected_without_leaving_a_trace(workspace):
    before = everything(workspace)
    answer = workspace.inspect({"ecc": V1, "gone": None})
    assert answer["plugins"]["ecc"] == answer["plugins"]["gone"] == {
        "exists": False, "digest": None, "wrong_owner": [], "entries": None, "receipt": None, "receipt_problem": None, "placements": None,
        "has_remains": False, "previous": None,
    }
    assert (answer["unmanaged"], answer["restart_pending"], answer["interrupted"]) == ([], [], [])
    assert everything(workspace) == before


def test_inspect_never_writes(installed):
    before = everything(installed)
    installed.inspect({"ecc": V2})
    installed.inspect({"ecc": None}, exclusive=True)
    installed.handle("read", files=[{"plugin": "ecc", "path": "plugin.yaml"}], max_bytes=100)
    installed.handle("pending_restarts")
    assert everything(installed) == before


def test_a_missing_config_dir_is_an_error_and_not_an_empty_one(workspace):
    workspace.config.rmdir()
    for operation, fields in (("inspect", {"plugins": []}), ("apply", {"plugins": []}), ("pending_restarts", {})):
        with pytest.raises(WorkspaceError, match=f"cannot open config dir {workspace.config}"):
            workspace.handle(operation, **fields)


def test_an_install_is_byte_equal_with_modes_and_owner(workspace, tmp_path):
    result = workspace.apply({"ecc": V1})["plugins"]["ecc"]
    assert result == {"changed": True, "previous_digest": None, "digest": digest_of(V1), "removed_placements": [], "kept": []}
    assert contents(workspace.plugins / "ecc") == contents(write_tree(tmp_path / "want", V1))
    assert os.listdir(workspace.plugins) == ["ecc"]
    assert workspace.staging() == []
    assert workspace.state.stat().st_mode & 0o777 == 0o700


@as_root
def test_an_install_belongs_to_the_agent(workspace):
    workspace.apply({"ecc": V1}, owner=[1000, 1001])
    assert {(uid, gid) for _mode, uid, gid, _what in contents(workspace.plugins).values()} == {(1000, 1001)}
    assert {(uid, gid) for _mode, uid, gid, _what in contents(workspace.state).values()} == {(0, 0)}


def test_the_second_run_changes_nothing(installed):
    before = everything(installed)
    seen = installed.inspect({"ecc": V1})["plugins"]["ecc"]
    assert (seen["digest"], seen["entries"], seen["placements"]) == (digest_of(V1), None, None)
    assert installed.apply({"ecc": V1})["plugins"]["ecc"]["changed"] is False
    assert everything(installed) == before


def test_an_upgrade_keeps_one_previous_version(installed, tmp_path):
    result = installed.apply({"ecc": V2})
    assert result["plugins"]["ecc"]["previous_digest"] == digest_of(V1)
    assert contents(installed.plugins / "ecc") == contents(write_tree(tmp_path / "v2", V2))
    assert contents(installed.state / "previous" / "ecc") == contents(write_tree(tmp_path / "v1", V1))
    installed.apply({"ecc": V1})
    assert contents(installed.state / "previous" / "ecc") == contents(tmp_path / "v2")


def test_a_removal_leaves_nothing_live_and_keeps_previous(installed, tmp_path):
    result = installed.apply({"ecc": None})
    assert result["plugins"]["ecc"]["changed"] is True and result["plugins"]["ecc"]["digest"] is None
    assert os.listdir(installed.plugins) == []
    assert contents(installed.state / "previous" / "ecc") == contents(write_tree(tmp_path / "v1", V1))
    assert installed.apply({"ecc": None})["plugins"]["ecc"]["changed"] is False


@pytest.mark.parametrize(
    "tamper, path",
    [
        (lambda tree: (tree / "plugin.yaml").write_bytes(b"evil"), "plugin.yaml"),
        (lambda tree: (tree / "rules" / "one.md").unlink(), None),
        (lambda tree: (tree / "extra").mkdir(), "extra"),
        (lambda tree: (tree / "skills" / "helper" / "run.sh").chmod(0o644), "skills/helper/run.sh"),
        (lambda tree: os.mkfifo(tree / "pipe"), "pipe"),
        (lambda tree: (tree / "link").symlink_to("/etc"), "link"),
    ],
    ids=["modified", "missing", "extra", "mode", "pipe", "link"],
)
def test_drift_is_seen_and_repaired(installed, tmp_path, tamper, path):
    tamper(installed.plugins / "ecc")
    seen = installed.inspect({"ecc": V1})["plugins"]["ecc"]
    assert seen["digest"] != digest_of(V1) and seen["entries"] is not None
    assert path is None or path in seen["entries"]
    assert seen["receipt"]["digest"] == digest_of(V1), "the receipt is a claim, so it still says what was installed"
    assert installed.apply({"ecc": V1})["plugins"]["ecc"]["changed"] is True
    assert contents(installed.plugins / "ecc") == contents(write_tree(tmp_path / "want", V1))


@as_root
def test_a_wrong_owner_is_drift_though_the_content_is_right(installed):
    os.chown(installed.plugins / "ecc" / "plugin.yaml", 1234, 1234)
    seen = installed.inspect({"ecc": V1})["plugins"]["ecc"]
    assert seen["digest"] == digest_of(V1) and seen["wrong_owner"] == ["plugin.yaml"]
    assert seen["entries"]["plugin.yaml"]["uid"] == 1234
    assert installed.apply({"ecc": V1})["plugins"]["ecc"]["changed"] is True
    assert installed.inspect({"ecc": V1})["plugins"]["ecc"]["wrong_owner"] == []


@pytest.mark.parametrize("wanted", [V1, None], ids=["present", "absent"])
@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("/etc"), lambda path: path.write_bytes(b"x"), os.mkfifo], ids=["link", "file", "pipe"]
)
def test_what_is_no_directory_is_replaced_and_never_followed(workspace, make, wanted):
    workspace.plugins.mkdir()
    make(workspace.plugins / "ecc")
    before = sorted(os.listdir("/etc"))
    assert workspace.inspect({"ecc": wanted})["plugins"]["ecc"]["exists"] is True
    assert workspace.apply({"ecc": wanted})["plugins"]["ecc"]["changed"] is True
    assert workspace.inspect({"ecc": wanted})["plugins"]["ecc"]["digest"] == (digest_of(V1) if wanted else None)
    assert sorted(os.listdir("/etc")) == before and workspace.staging() == []


def test_ten_plugins_are_one_apply(workspace):
    trees = {f"plugin-{number}": dict(V1, number=str(number).encode()) for number in range(10)}
    result = workspace.apply(trees)
    assert sorted(result["plugins"]) == sorted(trees) and all(item["changed"] for item in result["plugins"].values())
    assert result["restart_pending"] == sorted(trees)
    assert sorted(os.listdir(workspace.plugins)) == sorted(trees)


def test_two_plugins_of_the_same_content_share_a_bundle(workspace):
    assert all(item["changed"] for item in workspace.apply({"one": V1, "two": V1})["plugins"].values())


def test_a_change_since_inspect_is_a_conflict_and_nothing_is_overwritten(installed):
    observed = {"ecc": digest_of(V1), "other": None}
    (installed.plugins / "ecc" / "by-hand").write_bytes(b"x")
    before = everything(installed)
    with pytest.raises(ConflictError, match=r"plugins/ecc was changed by somebody else"):
        installed.apply_request({"other": V1, "ecc": V2}, observed)
    after = everything(installed)
    assert {path: what for path, what in after.items() if path != ".molecule_ai/lock"} == {
        path: what for path, what in before.items() if path != ".molecule_ai/lock"
    }


def test_one_bad_bundle_stops_all_of_them(workspace):
    good, bad = digest_of(V1), digest_of(V2)
    sent = workspace.directory / "sent.tar"
    shipment(sent, V1, extra={bad[7:] + ".tar.gz": pack(members(dict(V2, more=b"x")))})
    plugins = [
        {"name": name, "state": "present", "digest": digest, "observed_digest": None, "source": None, "plugin_version": None}
        for name, digest in (("good", good), ("bad", bad))
    ]
    with pytest.raises(WorkspaceError, match="the bundle of plugin 'bad' unpacks to digest .* instead of " + bad):
        workspace.handle("apply", plugins=plugins, shipment=str(sent))
    assert os.listdir(workspace.plugins) == [] and workspace.staging() == []


def test_a_bundle_that_was_not_sent_is_named(workspace):
    with pytest.raises(WorkspaceError, match="bundle of plugin 'ecc' was not sent"):
        workspace.apply({"ecc": V1}, shipment=None)
    assert os.listdir(workspace.plugins) == []


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100], ids=["empty", "garbage"])
def test_a_damaged_shipment_is_one_sentence(workspace, content):
    (workspace.directory / "bad.tar").write_bytes(content)
    with pytest.raises(WorkspaceError, match="shipment of plugins is damaged"):
        workspace.apply({"ecc": V1}, shipment=str(workspace.directory / "bad.tar"))
    assert workspace.staging() == []


def test_a_missing_shipment_is_one_sentence(workspace):
    with pytest.raises(WorkspaceError, match="nothing was changed"):
        workspace.apply({"ecc": V1}, shipment="/nonexistent.tar")


def test_a_plugin_over_the_cap_is_refused(workspace):
    size = sum(len(content) for _member, content in members(V1) if content)
    with pytest.raises(WorkspaceError, match=f"more than {size - 1} bytes"):
        workspace.apply({"ecc": V1}, max_plugin_bytes=size - 1)
    assert workspace.apply({"ecc": V1}, max_plugin_bytes=size)["plugins"]["ecc"]["changed"] is True


def test_another_writer_makes_apply_fail_with_its_name(workspace):
    workspace.apply({"ecc": V1})
    with open_for_reading(str(workspace.config)) as directories, writer_lock(directories.state_fd, {"id": "99"}, 0, "x"):
        with pytest.raises(BusyError, match="id 99"):
            workspace.apply({"ecc": V2}, lock_timeout=0)
        assert workspace.inspect({"ecc": V1})["plugins"]["ecc"]["digest"] == digest_of(V1), "reading needs no lock"


# Restarts -------------------------------------------------------------------------------------------------------------


def test_a_restart_stays_pending_until_it_is_confirmed(workspace):
    assert workspace.apply({"ecc": V1})["restart_pending"] == ["ecc"]
    assert workspace.apply({"ecc": V1})["restart_pending"] == ["ecc"], "a run that died before the restart still asks for it"
    pending = workspace.handle("pending_restarts")["restart_pending"]
    assert workspace.handle("confirm_restart", install_ids=pending) == {"cleared": ["ecc"], "restart_pending": []}
    assert workspace.inspect({"ecc": V1})["restart_pending"] == []
    assert workspace.inspect({"ecc": V1})["plugins"]["ecc"]["receipt"]["restart_pending"] is False


def test_what_was_installed_after_the_restart_began_stays_pending(workspace):
    workspace.apply({"ecc": V1})
    before = workspace.handle("pending_restarts")["restart_pending"]
    workspace.apply({"ecc": V2})
    assert workspace.handle("confirm_restart", install_ids=before) == {"cleared": [], "restart_pending": ["ecc"]}


def test_a_removals_receipt_lives_until_the_restart(installed):
    installed.apply({"ecc": None})
    receipt = installed.inspect({"ecc": None})["plugins"]["ecc"]["receipt"]
    assert (receipt["state"], receipt["restart_pending"], receipt["digest"]) == ("absent", True, None)
    installed.handle("confirm_restart", install_ids=installed.handle("pending_restarts")["restart_pending"])
    assert installed.inspect({"ecc": None})["plugins"]["ecc"]["receipt"] is None


@pytest.mark.parametrize("confirmed", [True, False])
def test_the_receipt_of_a_plugin_that_somebody_deleted_is_resolved(workspace, confirmed):
    workspace.apply({"ecc": V1})
    if confirmed:
        workspace.handle("confirm_restart", install_ids=workspace.handle("pending_restarts")["restart_pending"])
    (workspace.plugins / "ecc").rename(workspace.directory / "away")
    shutil.rmtree(workspace.state / "installed" / "ecc")  # otherwise it would be known what the runtime made of it
    result = workspace.apply({"ecc": None})
    assert result["plugins"]["ecc"]["changed"] is False
    receipt = workspace.inspect({"ecc": None})["plugins"]["ecc"]["receipt"]
    assert receipt is None if confirmed else receipt["state"] == "absent"
    assert result["restart_pending"] == ([] if confirmed else ["ecc"])


def test_confirming_on_a_workspace_without_receipts_creates_nothing(workspace):
    before = everything(workspace)
    assert workspace.handle("confirm_restart", install_ids={"ecc": "0" * 32}) == {"cleared": [], "restart_pending": []}
    assert everything(workspace) == before


def test_a_broken_receipt_does_not_hide_the_plugin(installed):
    (installed.state / "receipts" / "ecc.json").write_bytes(b"{")
    seen = installed.inspect({"ecc": V1})["plugins"]["ecc"]
    assert seen["digest"] == digest_of(V1) and seen["receipt"] is None and "is not JSON" in seen["receipt_problem"]
    assert installed.handle("pending_restarts")["problems"] == [seen["receipt_problem"]]
    installed.apply({"ecc": V2})
    assert installed.inspect({"ecc": V2})["plugins"]["ecc"]["receipt"]["digest"] == digest_of(V2)


# Unmanaged ------------------------------------------------------------------------------------------------------------


def test_whatever_else_lies_there_is_unmanaged(installed):
    (installed.plugins / "other").mkdir()
    (installed.plugins / ".hidden").mkdir()
    (installed.plugins / "Notes.txt").write_bytes(b"x")
    os.mkdir(os.fsencode(str(installed.plugins)) + b"/\xff")
    assert installed.inspect({"ecc": V1})["unmanaged"] == [".hidden", "Notes.txt", "other", "\\xff"]


def test_exclusive_describes_the_unmanaged_that_can_be_removed(installed):
    write_tree(installed.plugins / "other", V2)
    (installed.plugins / ".hidden").mkdir()
    seen = installed.inspect({"ecc": V1}, exclusive=True)
    assert sorted(seen["plugins"]) == [".hidden", "ecc", "other"]
    assert seen["plugins"]["other"]["digest"] == digest_of(V2) and seen["plugins"]["other"]["placements"] is not None
    json.dumps(seen)


def test_exclusive_leaves_files_alone_whatever_they_are_called(installed):
    for name in ("notes.md", "Notes.txt", "readme"):
        (installed.plugins / name).write_bytes(b"a person's")
    os.mkfifo(installed.plugins / "pipe")
    (installed.plugins / "link").symlink_to("/etc")
    seen = installed.inspect({"ecc": V1}, exclusive=True)
    assert sorted(seen["plugins"]) == ["ecc", "link"]
    assert seen["unmanaged"] == ["Notes.txt", "link", "notes.md", "pipe", "readme"]
    assert seen["other_files"] == ["Notes.txt", "notes.md", "pipe", "readme"]


def test_exclusive_finds_what_is_left_of_a_plugin_that_somebody_deleted(installed):
    installed.apply({"old": V2})
    Adapter(installed.config, str(installed.config / ".claude")).start()
    shutil.rmtree(installed.plugins / "old")
    assert list(installed.inspect({"ecc": V1})["plugins"]) == ["ecc"]
    seen = installed.inspect({"ecc": V1}, exclusive=True)
    assert seen["plugins"]["old"]["has_remains"] is True and seen["unmanaged"] == []
    assert "CLAUDE.md: rule two.md" in seen["plugins"]["old"]["placements"]["removed"]
    done = installed.apply({"old": None})["plugins"]["old"]
    assert done["changed"] is True and "CLAUDE.md: rule two.md" in done["removed_placements"]
    assert list(installed.inspect({"ecc": V1}, exclusive=True)["plugins"]) == ["ecc"]


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_a_plugin_that_has_grown_too_large_can_be_removed(installed):
    grown = {"max_plugin_bytes": 10}
    (installed.plugins / "ecc" / "skills" / "node_modules").write_bytes(b"x" * 1000)
    with pytest.raises(WorkspaceError, match="plugins/ecc holds more than 100 bytes"):
        installed.inspect({"ecc": V1}, **grown)
    (seen,) = installed.inspect({}, exclusive=True, **grown)["plugins"].values()
    assert installed.inspect({"ecc": None}, **grown)["plugins"]["ecc"] == seen
    assert (seen["exists"], seen["entries"]) == (True, None)
    with pytest.raises(ConflictError):
        installed.apply_request({"ecc": None}, {"ecc": digest_of(V1)}, **grown)
    done = installed.apply_request({"ecc": None}, {"ecc": seen["digest"]}, **grown)["plugins"]["ecc"]
    assert done["changed"] is True and os.listdir(installed.plugins) == []
    assert (installed.state / "previous" / "ecc" / "skills" / "node_modules").stat().st_size == 1000
    (seen,) = installed.handle("inspect", plugins=[{"name": "ecc", "state": "rolled_back"}], **grown)["plugins"].values()
    assert "larger than a plugin may be" in seen["previous"]["problem"]


def test_crowded_directories_stop_no_removal(workspace, monkeypatch):
    workspace.apply({"ecc": COMPLETE})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    for directory in (workspace.config / "skills" / "helper", workspace.config / ".claude" / "hooks" / "__pycache__"):
        directory.mkdir(exist_ok=True)
        for number in range(20):
            (directory / f"junk{number}").write_bytes(b"x")
    monkeypatch.setattr(directory_files, "_MAX_NAMES", 15)
    done = workspace.apply({"ecc": None})["plugins"]["ecc"]
    assert {"skills/helper/SKILL.md", ".claude/hooks/check.sh", "CLAUDE.md: rule one.md"} <= set(done["removed_placements"])
    assert [entry["path"] for entry in done["kept"]] == [".claude/hooks/__pycache__", "skills/helper"]
    assert all("holds more than 15 names" in entry["reason"] for entry in done["kept"])


@pytest.mark.parametrize("crowded", ["rules", "skills", "skills/helper", "hooks", "commands", ""])
def test_a_crowded_plugin_can_be_removed(workspace, monkeypatch, crowded):
    workspace.apply({"ecc": COMPLETE})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    for number in range(20):
        (workspace.plugins / "ecc" / crowded / f"junk{number}").write_bytes(b"x")
    monkeypatch.setattr(directory_files, "_MAX_NAMES", 15)
    done = workspace.apply({"ecc": None})["plugins"]["ecc"]
    assert done["changed"] is True and os.listdir(workspace.plugins) == []
    assert {"skills/helper/SKILL.md", ".claude/hooks/check.sh", ".claude/commands/go.md", "CLAUDE.md: rule one.md"} <= set(done["removed_placements"])
    reasons = [entry["reason"] for entry in done["kept"]]
    assert any("holds more than 15 names" in reason for reason in reasons) if crowded in ("", "rules") else reasons == []


# Failures of the file system ------------------------------------------------------------------------------------------


def test_a_full_disk_while_unpacking_is_one_sentence_and_leaves_nothing(installed, monkeypatch):
    def full(file_fd, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safe_files, "write_all", full)
        with pytest.raises(WorkspaceError, match=r"plugin.yaml: No space left on device\): nothing was changed"):
            installed.apply({"ecc": V2})
    assert installed.staging() == []
    assert installed.inspect({"ecc": V1})["plugins"]["ecc"]["digest"] == digest_of(V1)


def test_a_failure_in_the_middle_names_what_is_in_place(workspace, monkeypatch):
    real = plugin_slot.Slot._exchange

    def fail(slot, intent):
        if slot.name == "two":
            raise OSError(5, "Input/output error")
        real(slot, intent)

    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_exchange", fail)
        with pytest.raises(WorkspaceError, match=r"cannot change .*/two: Input/output error; .* is untouched.* in place: one"):
            workspace.apply({"one": V1, "two": V1, "three": V1})
    assert os.listdir(workspace.plugins) == ["one"] and workspace.staging() == []
    assert workspace.handle("pending_restarts")["restart_pending"].keys() == {"one"}
    assert sorted(name for name, item in workspace.apply({"one": V1, "two": V1, "three": V1})["plugins"].items() if item["changed"]) == ["three", "two"]


def test_all_answers_are_plain_data(installed):
    os.mkdir(os.fsencode(str(installed.plugins / "ecc")) + b"/\xff")
    os.symlink(b"\xfe", os.fsencode(str(installed.plugins / "ecc")) + b"/link")
    json.dumps(installed.inspect({"ecc": V1}), ensure_ascii=False).encode("utf-8")
