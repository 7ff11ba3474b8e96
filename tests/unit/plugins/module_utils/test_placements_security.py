# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing placements as root in a config dir whose owner is not trusted: links, special files, races, and files that cannot be rewritten."""
from __future__ import annotations

import errno
import json
import os
import pathlib
import stat
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import placement_report, placements, safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.tests.unit.plugins.module_utils.placement_workspace import Workspace, reasons, snapshot

PLUGIN = {
    "rules/one.md": "One.\n",
    "hooks/guard.sh": "#!/bin/sh\n",
    "commands/go.md": "Go.\n",
    "skills/helper/SKILL.md": "help\n",
    "skills/helper/deep/file.txt": "x\n",
    "settings-fragment.json": json.dumps({"env": {"X": "1"}}),
}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def workspace(tmp_path: pathlib.Path) -> Workspace:
    made = Workspace(tmp_path)
    made.plugin("small", PLUGIN)
    made.load("small")
    return made


@pytest.fixture
def outside(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory that looks like a config dir with the placements in it, outside of the config dir."""
    directory = tmp_path / "outside"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("path", ["skills", "skills/helper", "skills/helper/deep", ".claude", ".claude/hooks", ".claude/commands"])
def test_a_linked_directory_is_never_followed(workspace: Workspace, outside: pathlib.Path, path: str) -> None:
    (workspace.config / path).rename(outside / "moved")
    (workspace.config / path).symlink_to(outside / "moved")
    before = snapshot(outside)
    result = workspace.remove("small")
    assert snapshot(outside) == before
    assert "symbolic link" in reasons(result)[path]
    assert (workspace.config / path).is_symlink()


@pytest.mark.parametrize("path", ["skills/helper/SKILL.md", ".claude/hooks/guard.sh", ".claude/commands/go.md", ".claude/settings.json", "CLAUDE.md"])
def test_a_linked_file_is_never_followed(workspace: Workspace, outside: pathlib.Path, path: str) -> None:
    (workspace.config / path).rename(outside / "moved")
    (workspace.config / path).symlink_to(outside / "moved")
    before = snapshot(outside)
    result = workspace.remove("small")
    assert snapshot(outside) == before
    assert "symbolic link" in reasons(result)[path]


@pytest.mark.parametrize("path", ["skills/helper/SKILL.md", ".claude/hooks/guard.sh", ".claude/settings.json", "CLAUDE.md"])
def test_a_pipe_in_a_files_place_does_not_make_us_wait(workspace: Workspace, path: str) -> None:
    (workspace.config / path).unlink()
    os.mkfifo(workspace.config / path)
    assert "special file" in reasons(workspace.remove("small"))[path]


def test_a_file_in_a_directorys_place(workspace: Workspace) -> None:
    for path in ("SKILL.md", "deep/file.txt"):
        (workspace.config / "skills/helper" / path).unlink()
    (workspace.config / "skills/helper/deep").rmdir()
    (workspace.config / "skills/helper").rmdir()
    (workspace.config / "skills/helper").write_text("a file\n")
    assert reasons(workspace.remove("small")) == {"skills/helper": "is a regular file, not a directory"}


@pytest.mark.parametrize("directory", ["rules", "hooks", "skills", "skills/helper", "rules/one.md"])
def test_links_in_the_old_plugin_are_not_followed_either(workspace: Workspace, outside: pathlib.Path, directory: str) -> None:
    """The live tree belongs to the agent until the moment it is exchanged."""
    (workspace.plugins / "small" / directory).rename(outside / "moved")
    (workspace.plugins / "small" / directory).symlink_to(outside / "moved")
    before = snapshot(outside)
    workspace.remove("small")
    assert snapshot(outside) == before


@needs_root
def test_owner_and_permissions_of_rewritten_files_stay(workspace: Workspace) -> None:
    memory, settings = workspace.config / "CLAUDE.md", workspace.config / ".claude/settings.json"
    memory.write_text("mine\n" + memory.read_text())
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "mine": 1}))
    for file in (memory, settings):
        os.chown(file, 1000, 1001)
        file.chmod(0o4640)
    workspace.remove("small")
    for file in (memory, settings):
        status = file.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1001, 0o640)


def test_a_hard_link_elsewhere_keeps_its_content(workspace: Workspace, outside: pathlib.Path) -> None:
    (workspace.config / "CLAUDE.md").write_text("mine\n" + (workspace.config / "CLAUDE.md").read_text())
    os.link(workspace.config / "CLAUDE.md", outside / "same")
    before = snapshot(outside)
    workspace.remove("small")
    assert snapshot(outside) == before
    assert (workspace.config / "CLAUDE.md").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("CLAUDE.md", b"x\0y", "binary"),
        ("CLAUDE.md", b"x" * (placements.MAX_TEXT_BYTES + 1), "larger than"),
        (".claude/settings.json", b'{"env": {"X": "1"}', "not JSON"),
        (".claude/settings.json", b'{"env": {"X": "1"}, "env": {}}', "twice"),
        (".claude/settings.json", b'{"env": {"X": "1"}, "n": 1e999}', "too large"),
        (".claude/settings.json", b'{"env": {"X": "1"}, "n": NaN}', "NaN"),
        (".claude/settings.json", b"[]", "object"),
        (".claude/settings.json", b"\xff", "UTF-8"),
        (".claude/settings.json", b"[" * 100000, "not JSON"),
        (".claude/settings.json", b'{"env": ' * 900 + b"1" + b"}" * 900, ""),
    ],
)
def test_a_file_that_cannot_be_rewritten_is_left_alone_and_the_rest_goes(workspace: Workspace, path: str, content: bytes, reason: str) -> None:
    (workspace.config / path).write_bytes(content)
    result = workspace.remove("small")
    assert reason in reasons(result)[path if reason else reasons(result).popitem()[0]]
    assert (workspace.config / path).read_bytes() == content
    assert ".claude/hooks/guard.sh" in result["removed"]


def test_a_broken_file_that_holds_nothing_of_the_plugin_is_not_reported(workspace: Workspace) -> None:
    workspace.plugin("skill-only", {"skills/other/SKILL.md": "x\n"})
    (workspace.config / "CLAUDE.md").write_bytes(b"\0")
    (workspace.config / ".claude/settings.json").write_bytes(b"{")
    assert workspace.remove("skill-only") == {"removed": [], "kept": []}


def _writing_before_each_rename(monkeypatch: pytest.MonkeyPatch, write: typing.Callable[[], None], times: int) -> None:
    """Call ``write`` between reading and replacing, as an agent that writes at the wrong moment does."""
    left = [times]
    real = safe_files.create_file

    def create(parent_fd: int, name: str) -> int:
        if left[0]:
            left[0] -= 1
            write()
        return real(parent_fd, name)

    monkeypatch.setattr(safe_files, "create_file", create)


def test_text_that_is_written_at_the_same_time_is_not_lost(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = workspace.config / "CLAUDE.md"
    memory.write_text("mine\n" + memory.read_text())

    def write() -> None:
        with memory.open("a") as file:
            file.write("written meanwhile\n")

    _writing_before_each_rename(monkeypatch, write, 2)
    assert "CLAUDE.md: rule one.md" in workspace.remove("small")["removed"]
    assert memory.read_text() == "mine\n" + "written meanwhile\n" * 2


def test_a_file_that_changes_all_the_time_is_reported(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    workspace.plugin("small", {"rules/one.md": "One.\n"})
    memory = workspace.config / "CLAUDE.md"
    memory.write_text("mine\n")
    workspace.load("small")

    def write() -> None:
        with memory.open("a") as file:
            file.write("again\n")

    _writing_before_each_rename(monkeypatch, write, 100)
    result = workspace.remove("small", foreseeable=False)
    assert result == {"removed": [], "kept": [{"path": "CLAUDE.md", "reason": "changes while we work; run again"}]}
    assert memory.read_text() == "mine\n# Plugin: small / rule: one.md\n\nOne.\n" + "again\n" * 3


def test_a_replaced_link_is_not_written_through(workspace: Workspace, outside: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent puts a link in the file's place between our reading and our writing."""
    target = outside / "passwd"
    target.write_text("root\n")
    memory = workspace.config / "CLAUDE.md"
    memory.write_text("mine\n" + memory.read_text())

    def swap() -> None:
        memory.unlink(missing_ok=True)
        memory.symlink_to(target)

    _writing_before_each_rename(monkeypatch, swap, 1)
    (workspace.config / ".claude/settings.json").unlink()
    assert "symbolic link" in reasons(workspace.remove("small", foreseeable=False))["CLAUDE.md"]
    assert target.read_text() == "root\n"
    assert memory.is_symlink()


def test_a_file_that_is_a_mount_point_is_reported(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = workspace.config / "CLAUDE.md"
    memory.write_text("mine\n" + memory.read_text())

    def busy(*_arguments: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(safe_files, "rename", busy)
    assert "cannot be replaced" in reasons(workspace.remove("small", foreseeable=False))["CLAUDE.md"]
    assert memory.read_text().startswith("mine\n")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_what_cannot_be_read_is_an_error_and_not_absent(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = safe_files.list_names

    def list_names(directory_fd: int, limit: int) -> typing.List[str]:
        names = real(directory_fd, limit)
        if "SKILL.md" in names:
            raise OSError(number, os.strerror(number))
        return names

    monkeypatch.setattr(safe_files, "list_names", list_names)
    with pytest.raises(WorkspaceError, match="cannot be read"):
        workspace.remove("small", dry_run=True)


def test_a_full_disk_is_an_error_that_says_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.config / "CLAUDE.md").write_text("mine\n" + (workspace.config / "CLAUDE.md").read_text())

    def full(_file_fd: int, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safe_files, "write_all", full)
    with pytest.raises(WorkspaceError, match="No space left"):
        workspace.remove("small")
    monkeypatch.undo()
    assert list(workspace.staging.iterdir()) == []
    assert workspace.remove("small")["kept"] == []


def test_deeply_nested_trees_do_not_exhaust_us(tmp_path: pathlib.Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.plugin("deep", {"skills/s/" + "d/" * 60 + "file": "x\n"})
    workspace.load("deep")
    (kept,) = workspace.remove("deep")["kept"]
    assert kept["reason"] == "nested too deeply to be compared"


def test_the_staging_directory_is_needed_to_change_anything(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="staging_fd"):
        placements.find_and_remove(-1, -1, "small", [], None)


def test_report_texts_are_short_and_in_one_line() -> None:
    report = placement_report.Report(dry_run=True)
    report.remove("x" * 10000)
    report.keep("a\nb\x1b[2J\u2028c\u202e", "y" * 10000)
    assert (len(report.removed[0]), len(report.kept[0]["reason"])) == (500, 500)
    assert report.kept[0]["path"] == "a\\nb\\x1b[2J\\u2028c\\u202e"
