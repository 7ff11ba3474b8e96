# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the workspace half that are not what they should be."""
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.workspace_answer import parse_application, parse_inspection, parse_texts

ENTRY = {"type": "file", "mode": 0o644, "size": 1, "sha256": "0" * 64, "target": ""}
OBSERVED: dict[str, Any] = {
    "exists": True, "digest": "sha256:" + "0" * 64, "wrong_owner": [], "entries": {"a": ENTRY}, "receipt": {"digest": "sha256:1"}, "has_remains": False,
    "previous": {"digest": "sha256:2", "entries": {"a": ENTRY}, "source": None, "plugin_version": "1", "rolled_back": False, "problem": None},
    "placements": {"removed": ["skills/a"], "kept": [{"path": "b", "reason": "changed"}]},
}
INSPECTION: dict[str, Any] = {
    "plugins": {"ecc": OBSERVED, "other": OBSERVED, "../x": OBSERVED},
    "unmanaged": ["other", "../x", "No plugin"], "other_files": ["No plugin"], "restart_pending": [], "interrupted": [], "transfers": [],
}
APPLICATION: dict[str, Any] = {
    "plugins": {"ecc": {"changed": True, "digest": "sha256:1", "previous_digest": None, "removed_placements": [], "kept": []}},
    "restart_pending": ["ecc"], "recovered": [], "recovered_placements": {"other": {"removed": ["a"], "kept": []}},
}


def test_a_good_inspection() -> None:
    inspection = parse_inspection(INSPECTION, ["ecc"])
    assert inspection.plugins["ecc"].placements.kept == ({"path": "b", "reason": "changed"},)
    assert inspection.plugins["ecc"].entries == {"a": ENTRY}
    assert inspection.unmanaged == ("other", "../x", "No plugin")


def test_only_what_is_unmanaged_and_described_is_another() -> None:
    assert list(parse_inspection(INSPECTION, ["ecc"]).others) == ["../x", "other"]
    elsewhere = dict(INSPECTION, plugins={**INSPECTION["plugins"], "remains": OBSERVED, "../remains": OBSERVED})
    assert list(parse_inspection(elsewhere, ["ecc"]).others) == ["../x", "other", "remains"]


def test_a_good_application() -> None:
    application = parse_application(APPLICATION, ["ecc"])
    assert (application.plugins["ecc"].changed, application.restart_pending) == (True, ("ecc",))


def test_texts() -> None:
    answer = {"files": [{"plugin": "ecc", "path": "a", "text": "x"}, {"plugin": "ecc", "path": "b", "previous": True, "text": None}]}
    assert parse_texts(answer) == {("ecc", "a", False): "x", ("ecc", "b", True): None}


def _changed(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    *parents, last = path.split("/")
    inner: Any = changed
    for parent in parents:
        inner = inner[parent]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("plugins", KeyError), ("plugins", []), ("plugins/ecc", KeyError), ("plugins/ecc", "yes"), ("plugins/ecc/exists", 1), ("plugins/ecc/digest", 5),
        ("plugins/ecc/digest", None), ("plugins/ecc/wrong_owner", "x"), ("plugins/ecc/wrong_owner", [1]), ("plugins/ecc/entries", []),
        ("plugins/ecc/entries", {1: ENTRY}), ("plugins/ecc/entries/a", None), ("plugins/ecc/entries/a/type", "socket"), ("plugins/ecc/entries/a/mode", "0644"),
        ("plugins/ecc/entries/a/mode", True), ("plugins/ecc/entries/a/size", None), ("plugins/ecc/entries/a/sha256", None),
        ("plugins/ecc/entries/a/target", KeyError), ("plugins/ecc/receipt", "x"), ("plugins/ecc/placements", []), ("plugins/ecc/placements/removed", {}),
        ("plugins/ecc/placements/kept", ["a"]), ("plugins/ecc/placements/kept", [{"path": "a"}]), ("unmanaged", None), ("unmanaged", [None]),
        ("plugins/ecc/has_remains", None), ("plugins/ecc/previous", []), ("plugins/ecc/previous/digest", None), ("plugins/ecc/previous/entries", None),
        ("plugins/ecc/previous/rolled_back", KeyError), ("plugins/ecc/previous/problem", 1), ("plugins/ecc/previous/source", {}),
        ("restart_pending", {"ecc": "1"}), ("interrupted", "no"), ("interrupted", KeyError),
        ("other_files", None), ("other_files", [1]), ("transfers", None), ("transfers", [1]),
    ],
)
def test_an_inspection_that_lies_about_its_types(path: str, value: object) -> None:
    with pytest.raises(WorkspaceError, match="an answer that cannot be trusted") as caught:
        parse_inspection(_changed(INSPECTION, path, value), ["ecc"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [None, [], "ok", 5, {1: 2}, {}])
def test_what_is_no_answer_at_all(answer: object) -> None:
    for parse in (parse_inspection, parse_application):
        with pytest.raises(WorkspaceError, match="an answer that cannot be trusted"):
            parse(answer, ["ecc"])
    with pytest.raises(WorkspaceError, match="an answer that cannot be trusted"):
        parse_texts(answer)


@pytest.mark.parametrize(("path", "value"), [("plugins/ecc", KeyError), ("plugins/ecc/changed", None), ("plugins/ecc/digest", 1), ("recovered", [1])])
def test_an_application_that_lies_about_its_types(path: str, value: object) -> None:
    with pytest.raises(WorkspaceError, match="an answer that cannot be trusted"):
        parse_application(_changed(APPLICATION, path, value), ["ecc"])
