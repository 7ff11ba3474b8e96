# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugin trees, bundles, shipments and workspaces for the tests of the workspace half, made without its code."""
from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pathlib
import tarfile
import typing

from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request, plugin_tree
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError

OWNER = [os.getuid(), os.getgid()]

V1 = {
    "plugin.yaml": b"name: ecc\nversion: 1.0.0\n",
    "rules/one.md": b"# One\n",
    "skills/helper/SKILL.md": b"---\nid: helper\n---\n",
    "skills/helper/run.sh": (b"#!/bin/sh\n", 0o755),
    "empty": None,
}
V2 = {
    "plugin.yaml": b"name: ecc\nversion: 2.0.0\n",
    "rules/two.md": b"# Two\n",
    "skills/helper/SKILL.md": b"---\nid: helper\n---\nbetter\n",
}
# What the runtime places something of: some of it, and all kinds.
CHANGING = {"plugin.yaml": b"name: ecc\n", "rules/one.md": b"# One\n\ntext\n", "skills/helper/SKILL.md": b"helper\n", "hooks/check.sh": (b"#!/bin/sh\n", 0o755)}
COMPLETE = dict(
    CHANGING,
    **{
        "GUIDE.md": b"# Guide\n",
        "commands/go.md": b"go\n",
        "settings-fragment.json": json.dumps(
            {
                "model": "a",
                "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "${CLAUDE_DIR}/hooks/check.sh"}]}]},
            }
        ).encode(),
    },
)

Files = typing.Mapping[str, typing.Any]


def members(files: Files) -> list[tuple[tarfile.TarInfo, bytes | None]]:
    """The tar members of a tree: path -> bytes, (bytes, mode), or None for a directory. Directories above are added."""
    found: dict[str, tuple[tarfile.TarInfo, bytes | None]] = {}

    def directory(path: str) -> None:
        if path and path not in found:
            directory(os.path.dirname(path))
            member = tarfile.TarInfo(path)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            found[path] = (member, None)

    for path, value in files.items():
        if value is None:
            directory(path)
            continue
        directory(os.path.dirname(path))
        content, mode = value if isinstance(value, tuple) else (value, 0o644)
        member = tarfile.TarInfo(path)
        member.mode, member.size = mode, len(content)
        found[path] = (member, content)
    return list(found.values())


def pack(items: typing.Iterable[tuple[tarfile.TarInfo, bytes | None]], **options: typing.Any) -> bytes:
    """A tar.gz of these members, whatever they are."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", **options) as tar:
        for member, content in items:
            tar.addfile(member, io.BytesIO(content) if content is not None else None)
    return gzip.compress(packed.getvalue())


def write_tree(root: pathlib.Path, files: Files) -> pathlib.Path:
    """Create the tree on disk with exact modes."""
    root.mkdir(parents=True)
    for member, content in members(files):
        path = root / member.name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        path.chmod(member.mode)
    root.chmod(0o755)
    return root


def contents(root: pathlib.Path) -> dict[str, typing.Any]:
    """What is on disk, as an independent observer sees it: path -> (mode, uid, gid, bytes | None | link target)."""
    found: dict[str, typing.Any] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        status = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, what)
    return found


def digest_of(files: Files) -> str:
    """The digest of a tree; the serialisation itself is pinned in the tests of plugin_tree."""
    entries = {"": plugin_tree.entry("directory", 0o755)}
    for member, content in members(files):
        if content is None:
            entries[member.name] = plugin_tree.entry("directory", 0o755)
        else:
            mode = plugin_tree.normalised_mode(member.mode)
            entries[member.name] = plugin_tree.entry("file", mode, len(content), hashlib.sha256(content).hexdigest())
    return plugin_tree.tree_digest(entries)


def shipment(path: pathlib.Path, *trees: Files, extra: typing.Mapping[str, bytes] | None = None) -> str:
    """A tar of the bundles of these trees, and of other members."""
    bundles = {digest_of(files)[len("sha256:"):] + ".tar.gz": pack(members(files)) for files in trees}
    bundles.update(extra or {})
    with tarfile.open(path, mode="w") as tar:
        for name, content in bundles.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


class Workspace:
    """A config dir, and requests about it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.config = directory / "configs"
        self.config.mkdir()
        self.plugins = self.config / "plugins"
        self.state = self.config / ".molecule_ai"
        self._shipments = 0

    def handle(self, operation: str, **fields: typing.Any) -> dict[str, typing.Any]:
        """Send a request."""
        request = {"version": 1, "operation": operation, "config_dir": str(self.config), "owner": OWNER, "lock_timeout": 1, **fields}
        return plugin_request.handle(request)

    def inspect(self, wanted: typing.Mapping[str, Files | None], **fields: typing.Any) -> dict[str, typing.Any]:
        """Inspect plugins: name -> tree, or None for a plugin that is to be absent."""
        return self.handle("inspect", plugins=[self._element(name, files) for name, files in wanted.items()], **fields)

    def apply(self, wanted: typing.Mapping[str, Files | None], **fields: typing.Any) -> dict[str, typing.Any]:
        """Inspect and apply, as the controller does."""
        seen = self.inspect(wanted)["plugins"]
        return self.apply_request(wanted, {name: found["digest"] for name, found in seen.items()}, **fields)

    def apply_request(
        self, wanted: typing.Mapping[str, Files | None], observed: typing.Mapping[str, str | None], **fields: typing.Any
    ) -> dict[str, typing.Any]:
        """Apply under preconditions of the caller's choice."""
        plugins = []
        for name, files in wanted.items():
            element = self._element(name, files)
            element.update(observed_digest=observed.get(name), source="test://" + name, plugin_version="1.0.0")
            plugins.append(element)
        trees = [files for files in wanted.values() if files is not None]
        self._shipments += 1
        sent = shipment(self.directory / f"shipment-{self._shipments}.tar", *trees) if trees else None
        return self.handle("apply", **{"plugins": plugins, "shipment": sent, "job": {"id": "7"}, **fields})

    def roll_back(self, *names: str, **fields: typing.Any) -> dict[str, typing.Any]:
        """Inspect and apply, as the controller does for plugins that are to be as they were; those that are so already are left out."""
        seen = self.inspect_previous(*names)
        for name in names:
            if seen[name]["previous"]["problem"]:
                raise WorkspaceError(seen[name]["previous"]["problem"])
        plugins = [
            {"name": name, "state": "rolled_back", "digest": seen[name]["previous"]["digest"], "observed_digest": seen[name]["digest"]}
            for name in names
            if not seen[name]["previous"]["rolled_back"]
        ]
        return self.handle("apply", **{"plugins": plugins, "shipment": None, "job": {"id": "8"}, **fields})

    def inspect_previous(self, *names: str) -> dict[str, typing.Any]:
        """What inspect says of plugins that are to be rolled back."""
        found: dict[str, typing.Any] = self.handle("inspect", plugins=[{"name": name, "state": "rolled_back"} for name in names])["plugins"]
        return found

    def confirm_restart(self) -> None:
        """Note that the runtime has been restarted."""
        self.handle("confirm_restart", install_ids=self.handle("pending_restarts")["restart_pending"])

    def _element(self, name: str, files: Files | None) -> dict[str, typing.Any]:
        return {"name": name, "state": "absent"} if files is None else {"name": name, "state": "present", "digest": digest_of(files)}

    def staging(self) -> list[str]:
        """What lies in staging."""
        return sorted(os.listdir(self.state / "staging")) if (self.state / "staging").exists() else []
