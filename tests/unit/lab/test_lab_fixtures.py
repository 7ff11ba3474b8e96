# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The synthetic plugins: their shapes, and that they are always the same."""
from __future__ import annotations

import os
import pathlib
import typing

import pytest
from ansible_collections.molecule_ai.workspace.tests.lab import fixtures


def _tree(root: pathlib.Path) -> typing.Dict[str, typing.Tuple[int, bytes]]:
    return {str(path.relative_to(root)): (path.stat().st_mode, b"" if path.is_dir() else path.read_bytes()) for path in root.rglob("*")}


def test_two_writings_are_equal_whatever_the_umask(tmp_path: pathlib.Path) -> None:
    trees = []
    for number, mask in enumerate([0o000, 0o077]):
        before = os.umask(mask)
        try:
            fixtures.write_plugins(tmp_path / str(number))
            fixtures.write_big(tmp_path / str(number), files=5, bytes_each=100)
        finally:
            os.umask(before)
        trees.append(_tree(tmp_path / str(number)))
    assert trees[0] == trees[1]


@pytest.mark.parametrize(
    ("name", "rules", "skills", "executables"),
    [
        ("careful-bash", 1, 1, ["hooks/guard-bash.sh", "hooks/log-bash.py"]),
        ("ecc", 3, 5, ["skills/debugging/scripts/bisect.sh", "skills/security-review/scripts/find_secrets.py"]),
        ("superpowers", 0, 5, ["skills/root-cause/scripts/timeline.sh"]),
        ("browser-automation", 1, 2, ["skills/browse/scripts/open-page.sh"]),
        ("upgrade-probe-v1", 2, 1, ["hooks/probe.sh"]),
        ("upgrade-probe-v2", 2, 1, ["hooks/probe.sh"]),
    ],
)
def test_shapes(tmp_path: pathlib.Path, name: str, rules: int, skills: int, executables: typing.List[str]) -> None:
    fixtures.write_plugins(tmp_path)
    root = tmp_path / name
    assert len(list(root.glob("rules/*.md"))) == rules
    assert len(list(root.glob("skills/*/SKILL.md"))) == skills
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK)) == executables


def test_a_big_plugin_has_the_size_that_was_asked_for(tmp_path: pathlib.Path) -> None:
    root = fixtures.write_big(tmp_path, name="heavy", files=12, bytes_each=1000)
    assert [path.stat().st_size for path in root.rglob("*.bin")] == [1000] * 12
