# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch's memory on disk: whole, private, one watch at a time, and never silently forgotten."""
from __future__ import annotations

import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_watch import Patience, Sighting, Watch
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_watch_file import WatchFile


def test_there_and_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "below" / "state.json"
    file = WatchFile(str(path))
    assert file.load() is None
    watch = Watch(Patience())
    watch.observe([Sighting("a", "h", "eic", True, "i-1", True), Sighting("b", "g", "none")], True, 1.5)
    file.save(watch)
    watch.observe([Sighting("a", "h", "eic", True, "i-2", True)], True, 2.5)
    file.save(watch)
    assert path.stat().st_mode & 0o777 == 0o600 and [each.name for each in path.parent.iterdir() if each.suffix != ".lock"] == ["state.json"]
    loaded = file.load()
    assert loaded is not None and Watch(Patience(repeat=0), loaded).to_data() == watch.to_data()


def test_one_watch_at_a_time(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "state.json")
    first = WatchFile(path)
    with pytest.raises(WorkspaceError, match="another watch uses"):
        WatchFile(path)
    first.close()
    WatchFile(path).close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2, "workspaces": {}}', '{"version": 1}', '{"version": 1, "workspaces": {"a": 1}}'])
def test_damage_is_said(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(WorkspaceError, match="is damaged"):
        WatchFile(str(path)).load()


def test_what_is_no_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        WatchFile(str(tmp_path / "link")).load()
    (tmp_path / "directory").mkdir()
    with pytest.raises(WorkspaceError, match="is not a file of yours"):
        WatchFile(str(tmp_path / "directory")).load()
