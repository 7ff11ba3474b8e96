# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A config dir with plugins in it, for the tests of the removal of placements."""
from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import typing

from ansible_collections.molecule_ai.workspace.plugins.module_utils import placements
from ansible_collections.molecule_ai.workspace.tests.unit.plugins.module_utils.adapter_simulation import Adapter

CLAUDE_DIRECTORY = "/runtime/configs/.claude"
Files = typing.Mapping[str, typing.Union[str, bytes]]
Snapshot = typing.Dict[str, typing.Tuple[str, int, typing.Union[bytes, str]]]


class Workspace:
    """``config`` is the config dir; ``staging`` and the plugins lie beside it, on the same file system."""

    def __init__(self, root: pathlib.Path) -> None:
        self.config = root / "configs"
        self.staging = root / "staging"
        self.plugins = root / "plugins"
        for directory in (self.config, self.staging, self.plugins):
            directory.mkdir()

    def plugin(self, name: str, files: Files) -> pathlib.Path:
        """Write a plugin (a trailing slash makes an empty directory) and return its directory."""
        root = self.plugins / name
        root.mkdir()
        for path, content in files.items():
            target = root / path
            if path.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return root

    def load(self, *names: str, joining: str = "platform", deduplicate: bool = True) -> None:
        """Let the runtime start with these plugins."""
        adapter = Adapter(self.config, CLAUDE_DIRECTORY, joining, deduplicate)
        for name in names:
            adapter.load(self.plugins / name)

    def remove(
        self,
        name: str,
        *,
        others: typing.Sequence[str] = (),
        dry_run: bool = False,
        foreseeable: bool = True,
        claude_directories: typing.Sequence[str] = (CLAUDE_DIRECTORY, "/configs/.claude"),
    ) -> typing.Dict[str, typing.Any]:
        """Remove a plugin's placements; check that a dry run before changes nothing and, if it is ``foreseeable``, says the same."""
        if not dry_run:
            before = self.snapshot()
            predicted = self.remove(name, others=others, dry_run=True, claude_directories=claude_directories)
            assert self.snapshot() == before
        with contextlib.ExitStack() as stack:
            opened = {}
            for directory in [self.config, self.staging, *(self.plugins / plugin for plugin in [name, *others])]:
                opened[directory.name] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, opened[directory.name])
            result = placements.find_and_remove(
                opened["configs"],
                opened[name],
                name,
                claude_directories,
                None if dry_run else opened["staging"],
                other_plugin_fds={plugin: opened[plugin] for plugin in others},
                dry_run=dry_run,
            )
        if not dry_run:
            assert result == predicted or not foreseeable
            assert list(self.staging.iterdir()) == []
        return result

    def snapshot(self) -> Snapshot:
        """Everything in the config dir: relative path -> type, mode, content."""
        return snapshot(self.config)


def snapshot(root: pathlib.Path) -> Snapshot:
    """Everything below ``root``: relative path -> type, mode, content (a link's target)."""
    found: Snapshot = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        name = str(path.relative_to(root))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", 0, os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("directory", mode, "")
        elif stat.S_ISREG(status.st_mode):
            found[name] = ("file", mode, path.read_bytes())
        else:
            found[name] = ("special", mode, "")
    return found


def reasons(result: typing.Mapping[str, typing.Any]) -> typing.Dict[str, str]:
    """The kept entries as path -> reason."""
    return {entry["path"]: entry["reason"] for entry in result["kept"]}
