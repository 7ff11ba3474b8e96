# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that the runtime loads though no plugin can have their names go with ``exclusive``, whatever they are called and wherever links lead."""
from __future__ import annotations

import os
import pathlib

import pytest
from adapter_simulation import Adapter
from ansible_collections.molecule_ai.workspace.plugins.module_utils import safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from plugin_samples import V1, Workspace, write_tree

NAMES = [".hidden", "Upper", "a b", "-rf", "a\nb", b"\xff".decode("utf-8", "surrogateescape"), "x" * 255, "..."]


@pytest.fixture(name="workspace")
def fixture_workspace(tmp_path: pathlib.Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.apply({"ecc": V1})
    workspace.confirm_restart()
    return workspace


def strays(workspace: Workspace) -> dict[str, dict]:
    seen = workspace.inspect({"ecc": V1}, exclusive=True)["plugins"]
    return {name: found for name, found in seen.items() if name != "ecc"}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_goes_and_a_restart_is_owed(workspace: Workspace, name: str) -> None:
    write_tree(workspace.plugins / name, {"rules/mine.md": b"# Mine\n"})
    (workspace.plugins / "README").write_text("stays")
    (shown,) = strays(workspace)
    result = workspace.handle("apply", plugins=[], strays=[shown])
    assert result["plugins"][shown]["changed"] is True and len(result["restart_pending"]) == 1
    assert sorted(os.listdir(workspace.plugins)) == ["README", "ecc"] and workspace.staging() == []
    workspace.confirm_restart()
    assert workspace.inspect({"ecc": V1})["restart_pending"] == [] and strays(workspace) == {}


def test_what_the_runtime_made_of_it_goes_too(workspace: Workspace) -> None:
    write_tree(workspace.plugins / ".hidden", {"rules/mine.md": b"# Mine\n", "skills/s/SKILL.md": b"s\n"})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    predicted = strays(workspace)[".hidden"]["placements"]
    done = workspace.handle("apply", plugins=[], strays=[".hidden"])["plugins"][".hidden"]
    assert done["removed_placements"] == predicted["removed"] and "CLAUDE.md: rule mine.md" in predicted["removed"]
    assert "Mine" not in (workspace.config / "CLAUDE.md").read_text() and not (workspace.config / "skills" / "s").exists()


def test_a_link_goes_and_what_it_leads_to_stays(workspace: Workspace, tmp_path: pathlib.Path) -> None:
    write_tree(tmp_path / "outside", V1)
    (workspace.plugins / ".link").symlink_to(tmp_path / "outside")
    assert list(strays(workspace)) == [".link"]
    workspace.handle("apply", plugins=[], strays=[".link"])
    assert os.listdir(workspace.plugins) == ["ecc"] and (tmp_path / "outside" / "plugin.yaml").exists()


@pytest.mark.parametrize("name", ["ecc", "../ecc", "..", ".", "", "ecc/rules", "/etc"])
def test_nothing_else_can_be_chosen(workspace: Workspace, name: str) -> None:
    assert workspace.handle("apply", plugins=[], strays=[name])["plugins"] == {}
    assert os.listdir(workspace.plugins) == ["ecc"]


def test_a_death_on_the_way_is_cleared_and_the_restart_stays_owed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(workspace.plugins / ".hidden", V1)
    real = safe_files.remove_tree

    def dies_at_the_renamed_one(fd: int, name: str) -> None:
        if name.startswith(".unnamed"):
            raise KeyboardInterrupt
        real(fd, name)

    with monkeypatch.context() as patch:
        patch.setattr(safe_files, "remove_tree", dies_at_the_renamed_one)
        with pytest.raises(KeyboardInterrupt):
            workspace.handle("apply", plugins=[], strays=[".hidden"])
    assert os.listdir(workspace.plugins) == ["ecc"]
    workspace.apply({})
    assert workspace.staging() == [] and len(workspace.inspect({"ecc": V1})["restart_pending"]) == 1


@pytest.mark.parametrize("value", ["x", [1], {"a": 1}])
def test_the_list_is_checked(workspace: Workspace, value: object) -> None:
    with pytest.raises(InvalidInputError, match="strays must be a list"):
        workspace.handle("apply", plugins=[], strays=value)
