# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a source directory must look like on a workspace, described independently of the product."""
from __future__ import annotations

import hashlib
import pathlib

from lab.api import Item

AGENT = 1000


def expected_items(source: pathlib.Path) -> dict[str, Item]:
    """The items of an installed plugin: the source's bytes, 0755 for directories and executables, 0644 for the rest, owner 1000:1000."""
    items = {"": Item("directory", 0o755, AGENT, AGENT, "")}
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source).as_posix()
        if path.is_dir():
            items[relative] = Item("directory", 0o755, AGENT, AGENT, "")
        else:
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            items[relative] = Item("file", mode, AGENT, AGENT, hashlib.sha256(path.read_bytes()).hexdigest())
    return items


def wanted(sources: pathlib.Path, *names: str) -> list[dict[str, str]]:
    """The list ``workspace_plugins`` for plugins that lie in ``sources`` under their own names."""
    return [{"name": name, "source": str(sources / name)} for name in names]
