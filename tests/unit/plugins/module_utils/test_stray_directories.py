# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that the runtime loads though no plugin can have their names go with ``exclusive``, whatever they are called and wherever links lead."""
from __future__ import annotations

import json
import os
import pathlib

import pytest
from adapter_simulation import Adapter
from ansible_collections.molecule_ai.workspace.plugins.module_utils import request_fields, safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import ConflictError, InvalidInputError
from plugin_samples import V1, Workspace, contents, digest_of, write_tree

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


def chosen(workspace: Workspace) -> list[dict[str, str]]:
    """All of them, as the controller asks for their removal."""
    return [{"name": name, "observed_digest": found["digest"]} for name, found in strays(workspace).items()]


def kept(workspace: Workspace) -> list[str]:
    return sorted(os.listdir(workspace.state / "modified"))


@pytest.mark.parametrize("name", NAMES)
def test_any_name_goes_and_a_restart_is_owed(workspace: Workspace, name: str) -> None:
    write_tree(workspace.plugins / name, {"rules/mine.md": b"# Mine\n"})
    (workspace.plugins / "README").write_text("stays")
    (shown,) = strays(workspace)
    result = workspace.handle("apply", plugins=[], strays=chosen(workspace))
    assert result["plugins"][shown]["changed"] is True and len(result["restart_pending"]) == 1
    assert sorted(os.listdir(workspace.plugins)) == ["README", "ecc"] and workspace.staging() == []
    (directory,) = (workspace.state / "modified").iterdir()
    assert directory.name.startswith(".unnamed-") and (directory / "rules" / "mine.md").read_bytes() == b"# Mine\n"
    workspace.confirm_restart()
    assert workspace.inspect({"ecc": V1})["restart_pending"] == [] and strays(workspace) == {}


def test_what_the_runtime_made_of_it_goes_too(workspace: Workspace) -> None:
    write_tree(workspace.plugins / ".hidden", {"rules/mine.md": b"# Mine\n", "skills/s/SKILL.md": b"s\n"})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    predicted = strays(workspace)[".hidden"]["placements"]
    done = workspace.handle("apply", plugins=[], strays=chosen(workspace))["plugins"][".hidden"]
    assert done["removed_placements"] == predicted["removed"] and "CLAUDE.md: rule mine.md" in predicted["removed"]
    assert "Mine" not in (workspace.config / "CLAUDE.md").read_text() and not (workspace.config / "skills" / "s").exists()


def test_a_link_goes_and_what_it_leads_to_stays(workspace: Workspace, tmp_path: pathlib.Path) -> None:
    write_tree(tmp_path / "outside", V1)
    (workspace.plugins / ".link").symlink_to(tmp_path / "outside")
    assert list(strays(workspace)) == [".link"]
    workspace.handle("apply", plugins=[], strays=chosen(workspace))
    assert os.listdir(workspace.plugins) == ["ecc"] and (tmp_path / "outside" / "plugin.yaml").exists()


@pytest.mark.parametrize("name", ["../ecc", "..", ".", "", "ecc/rules", "/etc", ".gone"])
def test_nothing_else_can_be_chosen(workspace: Workspace, name: str) -> None:
    done = workspace.handle("apply", plugins=[], strays=[{"name": name, "observed_digest": digest_of(V1)}])["plugins"]
    assert done == {name: {"changed": False, "previous_digest": None, "digest": None, "removed_placements": [], "kept": []}}
    assert os.listdir(workspace.plugins) == ["ecc"] and kept(workspace) == []


def test_what_somebody_writes_into_it_meanwhile_is_not_taken_away(workspace: Workspace) -> None:
    write_tree(workspace.plugins / "My Plugin", {"a.md": b"a\n"})
    seen = chosen(workspace)
    (workspace.plugins / "My Plugin" / "work.md").write_text("hours of work")
    before = contents(workspace.plugins)
    with pytest.raises(ConflictError, match=r"plugins/My Plugin was changed by somebody else since it was inspected: nothing was changed"):
        workspace.apply_request({"ecc": None}, {"ecc": digest_of(V1)}, strays=seen)
    assert contents(workspace.plugins) == before


def test_one_that_vanished_meanwhile_changes_nothing(workspace: Workspace) -> None:
    (workspace.plugins / ".cache").mkdir()
    seen = chosen(workspace)
    (workspace.plugins / ".cache").rmdir()
    result = workspace.apply_request({"ecc": None}, {"ecc": digest_of(V1)}, strays=seen)
    assert [(name, done["changed"]) for name, done in result["plugins"].items()] == [("ecc", True), (".cache", False)]
    assert result["restart_pending"] == ["ecc"]


def test_the_latest_are_kept_and_all_of_this_run(workspace: Workspace) -> None:
    for number in range(25):
        (workspace.plugins / f".{number:02}").mkdir()
    workspace.handle("apply", plugins=[], strays=chosen(workspace))
    assert len(kept(workspace)) == 25
    write_tree(workspace.plugins / ".00", {"a.md": b"new\n"})
    workspace.handle("apply", plugins=[], strays=chosen(workspace))
    assert len(kept(workspace)) == 20 and (workspace.state / "modified" / kept(workspace)[0]).exists()
    (newest,) = [name for name in kept(workspace) if name.endswith("-.00")]
    assert (workspace.state / "modified" / newest / "a.md").read_bytes() == b"new\n" and workspace.staging() == []


def test_its_size_neither_matters_nor_is_it_answered_with_all_its_files(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(workspace.plugins / ".cache", {f"{number}": b"x" for number in range(300)})
    assert len(json.dumps(strays(workspace))) < 1000
    monkeypatch.setattr(request_fields, "_LIVE_FACTOR", 0.001)
    seen = chosen(workspace)
    (workspace.plugins / ".cache" / "new").write_bytes(b"x")
    with pytest.raises(ConflictError):
        workspace.handle("apply", plugins=[], strays=seen)
    workspace.handle("apply", plugins=[], strays=chosen(workspace))
    assert os.listdir(workspace.plugins) == ["ecc"] and len(list((workspace.state / "modified" / kept(workspace)[0]).iterdir())) == 301


def test_a_death_on_the_way_is_cleared_and_the_restart_stays_owed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(workspace.plugins / ".hidden", V1)
    real = safe_files.remove_tree

    def dies_at_the_renamed_one(fd: int, name: str) -> None:
        if name.startswith(".unnamed"):
            raise KeyboardInterrupt
        real(fd, name)

    workspace.handle("apply", plugins=[], strays=chosen(workspace))
    write_tree(workspace.plugins / ".hidden", V1)
    seen = chosen(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(safe_files, "remove_tree", dies_at_the_renamed_one)
        with pytest.raises(KeyboardInterrupt):
            workspace.handle("apply", plugins=[], strays=seen)
    workspace.handle("apply", plugins=[], strays=chosen(workspace))
    assert os.listdir(workspace.plugins) == ["ecc"]
    workspace.apply({})
    assert workspace.staging() == [] and len(workspace.inspect({"ecc": V1})["restart_pending"]) == 1


@pytest.mark.parametrize(
    "value",
    ["x", [1], {"a": 1}, [{"name": 1, "observed_digest": digest_of(V1)}], [{"name": "ecc", "observed_digest": digest_of(V1)}], [{"name": "."}],
     [{"name": ".", "observed_digest": "x"}]],
)
def test_the_list_is_checked(workspace: Workspace, value: object) -> None:
    with pytest.raises(InvalidInputError, match="strays|digest"):
        workspace.handle("apply", plugins=[], strays=value)
