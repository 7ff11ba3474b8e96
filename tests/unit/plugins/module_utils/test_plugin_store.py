# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes an installation fail before anything is changed, word by word, what it leaves open or behind, and what an earlier run left."""
from __future__ import annotations

import io
import json
import os
import pathlib
import re
import stat
import tarfile
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import directory_files, plugin_slot, plugin_store, safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import ConflictError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.workspace_directories import WorkspaceDirectories, open_for_reading
from plugin_samples import OWNER, V1, V2, Workspace, contents, digest_of, members, pack, shipment, write_tree


def descriptors() -> set[str]:
    """What this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:  # the listing's own
            pass
    return found


def refusal(workspace: Workspace, wanted: typing.Mapping[str, typing.Any], kind: type[WorkspaceError] = WorkspaceError, **fields: typing.Any) -> str:
    """Apply, and return why it was refused; nothing is changed, left in staging or left open."""
    before, opened = contents(workspace.plugins) if workspace.plugins.exists() else None, descriptors()
    with pytest.raises(kind) as caught:
        workspace.apply(wanted, **fields)
    assert descriptors() == opened
    assert workspace.staging() == []
    assert before is None or contents(workspace.plugins) == before
    return str(caught.value)


# Shipments ------------------------------------------------------------------------------------------------------------


def test_an_installation_leaves_nothing_open(workspace: Workspace) -> None:
    opened = descriptors()
    workspace.apply({"ecc": V1, "other": V2})
    workspace.apply({"ecc": V2, "other": None})
    workspace.roll_back("ecc")
    assert descriptors() == opened


def test_a_shipment_that_is_no_file_is_refused_and_not_waited_for(installed: Workspace) -> None:
    pipe = str(installed.directory / "pipe")
    os.mkfifo(pipe)
    assert refusal(installed, {"ecc": V2}, shipment=pipe) == f"shipment {pipe} is not a file: run again"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("/dev/null"), "Too many levels of symbolic links"),
        (lambda path: None, "No such file or directory"),
    ],
    ids=["link", "missing"],
)
def test_a_shipment_that_cannot_be_opened_is_named(installed: Workspace, make: typing.Callable[[pathlib.Path], None], why: str) -> None:
    path = installed.directory / "sent"
    make(path)
    assert refusal(installed, {"ecc": V2}, shipment=str(path)) == (
        f"cannot prepare the plugins in {installed.config}/.molecule_ai/staging ({path}: {why}): nothing was changed; mend that and run again"
    )


def test_a_failure_without_a_file_is_said_without_one(installed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(directory_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(safe_files, "sync_file_system", broken)
    assert refusal(installed, {"ecc": V2}) == (
        f"cannot prepare the plugins in {installed.config}/.molecule_ai/staging (Input/output error): nothing was changed; mend that and run again"
    )


@pytest.mark.parametrize("content", [b"no tar at all" * 100, b"\0"], ids=["garbage", "short"])
def test_a_damaged_shipment_is_refused(installed: Workspace, content: bytes) -> None:
    path = installed.directory / "sent.tar"
    path.write_bytes(content)
    said = refusal(installed, {"ecc": V2}, shipment=str(path))
    assert re.fullmatch(r"the shipment of plugins is damaged \([a-z ]+\): run again, so that it is sent anew", said)


def sent_as(workspace: Workspace, member: tarfile.TarInfo, content: bytes = b"") -> str:
    """A shipment with V2's bundle as this member."""
    member.name = digest_of(V2)[len("sha256:"):] + ".tar.gz"
    member.size = len(content)
    path = workspace.directory / "sent.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(member, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE], ids=["link", "hard link", "directory", "pipe"])
def test_only_a_file_in_a_shipment_is_a_bundle(installed: Workspace, kind: bytes) -> None:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, "/etc/passwd"
    assert refusal(installed, {"ecc": V2}, shipment=sent_as(installed, member)) == "the bundle of plugin 'ecc' was not sent: run again"


def test_a_bundle_that_holds_something_else_is_refused(installed: Workspace) -> None:
    assert refusal(installed, {"ecc": V2}, shipment=sent_as(installed, tarfile.TarInfo(), pack(members(V1)))) == (
        f"the bundle of plugin 'ecc' unpacks to digest {digest_of(V1)} instead of {digest_of(V2)}: nothing was installed, run again so that it is sent anew"
    )


def test_a_bundle_that_is_damaged_names_its_plugin(installed: Workspace) -> None:
    assert refusal(installed, {"ecc": V2}, shipment=sent_as(installed, tarfile.TarInfo(), b"no gzip")).startswith("the bundle of plugin 'ecc' ")


def test_a_bundle_over_the_cap_is_refused_while_it_is_unpacked(installed: Workspace) -> None:
    """Not only once all of it lies on the disk."""
    said = "the bundle of plugin 'ecc' holds more than 10 bytes (at plugin.yaml): nothing of it was installed"
    assert refusal(installed, {"ecc": V2}, max_plugin_bytes=10) == said


def test_compiled_files_in_a_bundle_count(installed: Workspace) -> None:
    """Live, they are the runtime's. Here nothing has run yet: what is not in the digest was not to be sent."""
    more = dict(V2, **{"module.pyc": b"x"})
    assert "unpacks to digest" in refusal(installed, {"ecc": V2}, shipment=sent_as(installed, tarfile.TarInfo(), pack(members(more))))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_file_system_that_does_not_keep_owners_is_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fchown

    def without_files(descriptor: int, uid: int, gid: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            real(descriptor, uid, gid)

    monkeypatch.setattr(os, "fchown", without_files)
    said = refusal(workspace, {"ecc": {"b": b"", "a": b""}}, owner=[1000, 1001])
    assert said == "the file system of the workspace does not keep owners (at 'a'): use one that does"


def test_one_shipment_holds_what_is_sent_and_nothing_of_what_is_there(installed: Workspace) -> None:
    """A plugin that is up to date needs no bundle; bundles that nobody asks for are left alone."""
    path = shipment(installed.directory / "more.tar", V2, extra={"x" * 64 + ".tar.gz": b"nobody's"})
    done = installed.apply({"ecc": V1, "other": V2}, shipment=path)["plugins"]
    assert {name: found["changed"] for name, found in done.items()} == {"ecc": False, "other": True}
    assert done["ecc"] == {"changed": False, "previous_digest": digest_of(V1), "digest": digest_of(V1), "removed_placements": [], "kept": []}


def test_a_bundle_that_is_not_needed_leaves_no_slot(installed: Workspace) -> None:
    assert installed.apply({"ecc": V1})["plugins"]["ecc"]["changed"] is False
    assert installed.staging() == []


# Preconditions --------------------------------------------------------------------------------------------------------


def test_a_conflict_says_which_plugin_and_that_it_is_as_it_was(installed: Workspace) -> None:
    with pytest.raises(ConflictError) as caught:
        installed.apply_request({"ecc": V2, "other": V1}, {"ecc": digest_of(V2)})
    said = f"{installed.plugins}/ecc was changed by somebody else since it was inspected: nothing was overwritten, run again"
    assert str(caught.value) == said
    assert os.listdir(installed.plugins) == ["ecc"] and installed.staging() == []


def test_a_previous_version_that_changed_since_it_was_inspected_is_a_conflict(installed: Workspace) -> None:
    installed.apply({"ecc": V2})
    plugins = [{"name": "ecc", "state": "rolled_back", "digest": digest_of(V2), "observed_digest": digest_of(V2)}]
    with pytest.raises(ConflictError) as caught:
        installed.handle("apply", plugins=plugins, shipment=None, job={})
    assert str(caught.value) == "the previous version of plugin ecc is another one since it was inspected: nothing was changed, run again"
    plugins[0].update(name="never", digest=None, observed_digest=None)
    with pytest.raises(WorkspaceError, match=r"never.*; nothing was changed$"):
        installed.handle("apply", plugins=plugins, shipment=None, job={})


def test_a_failure_after_the_first_of_several_names_all_that_are_in_place(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = plugin_slot.Slot.commit

    def commit(slot: plugin_slot.Slot, *arguments: typing.Any) -> typing.Any:
        if slot.name == "three":
            raise ConflictError("three is not as it was")
        return real(slot, *arguments)

    monkeypatch.setattr(plugin_slot.Slot, "commit", commit)
    with pytest.raises(ConflictError) as caught:
        workspace.apply({"one": V1, "two": V1, "three": V1, "four": V1})
    assert str(caught.value) == "three is not as it was; changed before that, and in place: one, two"
    # The slot of the one that failed is its own to settle; the others' go.
    assert sorted(os.listdir(workspace.plugins)) == ["one", "two"] and workspace.staging() == ["three"]
    with pytest.raises(ConflictError, match="^three is not as it was$"):
        workspace.apply({"three": V1})


def test_a_slot_that_cannot_be_removed_hides_no_failure(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(slot: plugin_slot.Slot) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "give_up", broken)
        path = workspace.directory / "sent.tar"
        pathlib.Path(shipment(path, V1)).rename(workspace.directory / "one.tar")
        with pytest.raises(WorkspaceError, match="^the bundle of plugin 'two' was not sent: run again$"):
            workspace.apply({"one": V1, "two": V2}, shipment=str(workspace.directory / "one.tar"))
    assert workspace.staging() == ["one"]
    assert workspace.apply({})["recovered"] == [
        "discarded an interrupted change of plugin 'one' that had not begun: what was installed stayed as it was"
    ]
    assert workspace.staging() == []


# What earlier runs left -----------------------------------------------------------------------------------------------


def test_what_is_no_slot_is_removed_from_staging_without_a_word(installed: Workspace) -> None:
    staging = installed.state / "staging"
    (staging / "Not-A-Plugin" / "below").mkdir(parents=True)
    (staging / "file").write_text("x")
    (staging / "zzz").mkdir()
    answer = installed.apply({})
    assert answer["recovered"] == ["cleared what an interrupted run had left in staging of plugin 'zzz': its change was done or had not begun"]
    assert answer["recovered_placements"] == {} and installed.staging() == []


def test_nothing_is_recovered_where_nothing_was_left(installed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing a file system to its disk can take long, so it is not done for nothing."""
    synced: list[int] = []
    monkeypatch.setattr(safe_files, "sync_file_system", synced.append)
    with open_for_reading(str(installed.config)) as directories:
        assert plugin_store.recover(directories) == ([], {})
        assert synced == []
        (installed.state / "staging" / "ecc").mkdir()
        plugin_store.recover(directories)
        assert synced == [directories.staging_fd]
    assert plugin_store.recover(WorkspaceDirectories("/nowhere")) == ([], {})


def test_what_a_dead_run_did_to_placements_is_said_by_the_next(installed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed.config / "CLAUDE.md").write_text("# Plugin: ecc / rule: one.md\n\n# One\n")

    def die(slot: plugin_slot.Slot, intent: plugin_slot.Intent) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            installed.apply({"ecc": V2})
    answer = installed.apply({})
    assert answer["recovered"] == ["finished an interrupted change of plugin 'ecc'"]
    assert answer["recovered_placements"] == {"ecc": {"removed": ["CLAUDE.md: rule one.md"], "kept": []}}
    assert installed.inspect({"ecc": V2})["plugins"]["ecc"]["digest"] == digest_of(V2)


def test_staging_is_needed(workspace: Workspace) -> None:
    directories = WorkspaceDirectories(str(workspace.config))
    settings = plugin_store.Settings((OWNER[0], OWNER[1]), [], {}, plugin_store.Limits(), plugin_store.Limits())
    with pytest.raises(WorkspaceError) as caught:
        plugin_store.apply(directories, [], None, settings)
    assert str(caught.value) == f"{workspace.config}/.molecule_ai/staging is missing: run again"


# Remains and receipts of what somebody deleted ------------------------------------------------------------------------


def test_remains_are_of_plugins_that_were_installed_and_are_gone(workspace: Workspace) -> None:
    nowhere = WorkspaceDirectories("/nowhere")
    assert plugin_store.remains(nowhere) == [] and plugin_store.has_remains(nowhere, "ecc") is False
    workspace.apply({"two": V1, "one": V1, "live": V1})
    for name in ("one", "two"):
        os.rename(workspace.plugins / name, workspace.directory / name)
    (workspace.state / "installed" / "Not-A-Plugin").mkdir()
    with open_for_reading(str(workspace.config)) as directories:
        assert plugin_store.remains(directories) == ["one", "two"]
        assert plugin_store.has_remains(directories, "one") is True and plugin_store.has_remains(directories, "never") is False
    os.rename(workspace.plugins, workspace.directory / "gone")
    with open_for_reading(str(workspace.config)) as directories:
        assert plugin_store.remains(directories) == ["live", "one", "two"]


def receipt(workspace: Workspace, name: str) -> typing.Any:
    return workspace.inspect({name: None})["plugins"][name]["receipt"]


def test_the_receipt_of_what_somebody_deleted_goes_once_it_owes_no_restart(workspace: Workspace) -> None:
    workspace.apply({"ecc": V1})
    for directory in (workspace.plugins, workspace.state / "installed"):
        safe_files.remove_tree(os.open(directory, os.O_RDONLY), "ecc")
    assert workspace.apply({"ecc": None})["plugins"]["ecc"] == {
        "changed": False, "previous_digest": None, "digest": None, "removed_placements": [], "kept": [],
    }
    found = receipt(workspace, "ecc")
    assert (found["state"], found["digest"], found["restart_pending"], found["source"]) == ("absent", None, True, "test://ecc")
    workspace.apply({"ecc": None})
    assert receipt(workspace, "ecc") == found
    workspace.confirm_restart()
    workspace.apply({"ecc": None})
    assert receipt(workspace, "ecc") is None


def test_the_receipt_says_what_was_asked_for(workspace: Workspace) -> None:
    workspace.apply({"ecc": V1})
    found = receipt(workspace, "ecc")
    assert [found[name] for name in ("name", "state", "digest", "source", "plugin_version", "job")] == [
        "ecc", "present", digest_of(V1), "test://ecc", "1.0.0", {"id": "7"},
    ]
    workspace.apply({"ecc": None})
    found = receipt(workspace, "ecc")
    assert [found[name] for name in ("state", "digest", "restart_pending", "job")] == ["absent", None, True, {"id": "7"}]


def test_what_is_too_large_to_be_read_can_be_removed_and_nothing_else(workspace: Workspace) -> None:
    workspace.apply({"ecc": V1})
    with open_for_reading(str(workspace.config)) as directories:
        small = plugin_store.Limits(max_bytes=1)
        with pytest.raises(WorkspaceError, match=re.escape(f"{workspace.plugins}/ecc holds more than 1 bytes")):
            plugin_store.observe_live(directories, "ecc", (OWNER[0], OWNER[1]), small, any_size=False)
        found = plugin_store.observe_live(directories, "ecc", (OWNER[0], OWNER[1]), small, any_size=True)
        assert found is not None and found.tree is None
        assert plugin_store.observe_live(directories, "never", (OWNER[0], OWNER[1]), small, any_size=False) is None
        assert directory_files.is_directory(directories.plugins_fd, "ecc")
    assert plugin_store.observe_live(WorkspaceDirectories("/nowhere"), "ecc", (OWNER[0], OWNER[1]), small, any_size=True) is None
    with open_for_reading(str(workspace.config)) as directories:
        of_another = plugin_store.observe_live(directories, "ecc", (OWNER[0] + 1, OWNER[1]), plugin_store.Limits(), any_size=True)
        assert of_another is not None and of_another.tree is not None and "plugin.yaml" in of_another.tree.wrong_owner


@pytest.mark.parametrize("any_size", [True, False])
def test_what_cannot_be_read_is_named(installed: Workspace, monkeypatch: pytest.MonkeyPatch, any_size: bool) -> None:
    def broken(parent_fd: int, name: str) -> int:
        raise OSError(5, "Input/output error")

    with open_for_reading(str(installed.config)) as directories:
        monkeypatch.setattr(safe_files, "open_subdirectory", broken)
        with pytest.raises(WorkspaceError) as caught:
            plugin_store.observe_live(directories, "ecc", (OWNER[0], OWNER[1]), plugin_store.Limits(), any_size=any_size)
    assert str(caught.value) == f"cannot read {installed.plugins}/ecc: Input/output error"


# What is recorded of the version that goes ----------------------------------------------------------------------------


def recorded(workspace: Workspace, name: str) -> typing.Any:
    return json.loads((workspace.state / "receipts" / f"{name}.previous").read_bytes())


def test_a_plugin_that_somebody_copied_there_is_kept_when_it_is_removed(workspace: Workspace) -> None:
    """Without a receipt, too, it is a version that is replaced."""
    workspace.apply({})
    write_tree(workspace.plugins / "ecc", V1)
    workspace.apply({"ecc": None})
    assert (recorded(workspace, "ecc")["digest"], recorded(workspace, "ecc")["receipt"]) == (digest_of(V1), None)
    workspace.roll_back("ecc")
    assert workspace.inspect({"ecc": V1})["plugins"]["ecc"]["digest"] == digest_of(V1)


def test_the_receipt_of_a_removal_is_not_taken_for_that_of_what_somebody_copied_there_since(installed: Workspace) -> None:
    installed.apply({"ecc": None})
    write_tree(installed.plugins / "ecc", V1)
    installed.apply({"ecc": V2})
    assert (recorded(installed, "ecc")["digest"], recorded(installed, "ecc")["receipt"]) == (digest_of(V1), None)


def test_a_version_that_somebody_deleted_has_no_receipt_to_come_back_with(installed: Workspace) -> None:
    os.rename(installed.plugins / "ecc", installed.directory / "away")
    installed.apply({"ecc": V2})
    assert (recorded(installed, "ecc")["digest"], recorded(installed, "ecc")["receipt"]) == (None, None)


def test_a_rollback_keeps_aside_only_what_the_runtime_places_something_of(installed: Workspace) -> None:
    kept = contents(installed.state / "installed" / "ecc")
    assert "rules/one.md" in kept and "plugin.yaml" not in kept
    installed.apply({"ecc": V2})
    installed.roll_back("ecc")
    assert contents(installed.state / "installed" / "ecc") == kept
