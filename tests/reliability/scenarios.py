# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tried: changes of plugins on a workspace whose runtime has placed what the plugins bring, and on which people have written, too."""
from __future__ import annotations

import os
import pathlib
import shutil
import typing

import import_paths

import_paths.add()

from adapter_simulation import Adapter
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request
from plugin_samples import digest_of, shipment

OWNER = [1000, 1000]
Trees = typing.Dict[str, typing.Any]
# What a plugin is wanted to be that is to be rolled back.
PREVIOUS: Trees = {"the previous version": None}

_SETTINGS = b'{"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "${CLAUDE_DIR}/hooks/%s"}]}]}}\n'
OLD: Trees = {
    "plugin.yaml": b"name: ecc\nversion: 1.0.0\n",
    "rules/one.md": b"# One\n\nThe old rule.\n",
    "skills/helper/SKILL.md": b"---\nid: helper\n---\nThe old skill.\n",
    "hooks/check.sh": (b"#!/bin/sh\necho old\n", 0o755),
    "settings-fragment.json": _SETTINGS % b"check.sh",
}
NEW: Trees = {
    "plugin.yaml": b"name: ecc\nversion: 2.0.0\n",
    "rules/one.md": b"# One\n\nThe new rule.\n",
    "skills/helper/SKILL.md": b"---\nid: helper\n---\nThe new skill.\n",
    "hooks/guard.sh": (b"#!/bin/sh\necho new\n", 0o755),
    "settings-fragment.json": _SETTINGS % b"guard.sh",
}
OTHER: Trees = {"plugin.yaml": b"name: other\nversion: 1.0.0\n", "rules/other.md": b"Another rule.\n"}
MORE: Trees = {"plugin.yaml": b"name: more\nversion: 1.0.0\n", "commands/more.md": b"More.\n"}


class Scenario(typing.NamedTuple):
    """``before``: what is installed and was started by the runtime; ``wanted``: name -> tree, None for a plugin that shall be absent.

    ``tampered``: files of live plugins that somebody changed since, path below ``plugins`` -> content. ``replaced``: what was installed and
    started before that, and is the previous version now.
    """

    before: dict[str, Trees]
    wanted: dict[str, Trees | None]
    tampered: dict[str, bytes] = {}
    replaced: dict[str, Trees] = {}


SCENARIOS: dict[str, Scenario] = {
    "install": Scenario({}, {"ecc": NEW}),
    "upgrade": Scenario({"ecc": OLD}, {"ecc": NEW}),
    "repair": Scenario({"ecc": OLD}, {"ecc": OLD}, {"ecc/rules/one.md": b"tampered\n", "ecc/hooks/check.sh": b"tampered\n"}),
    "uninstall": Scenario({"ecc": OLD}, {"ecc": None}),
    "rollback": Scenario({"ecc": NEW}, {"ecc": PREVIOUS}, replaced={"ecc": OLD}),
    "several": Scenario({"ecc": OLD, "other": OTHER}, {"ecc": NEW, "other": None, "more": MORE}),
}


class Workspace:
    """A config dir at ``root/configs``, and requests about it; what is sent lies in ``sent``, elsewhere."""

    def __init__(self, root: pathlib.Path, sent: pathlib.Path) -> None:
        self.config = root / "configs"
        self._saved = root / "saved"
        self._sent = sent
        sent.mkdir(parents=True, exist_ok=True)

    def prepare(self, scenario: Scenario) -> None:
        """Bring it into the scenario's first state."""
        self.clear()
        self.config.mkdir()
        os.chown(self.config, *OWNER)
        (self.config / "CLAUDE.md").write_bytes(b"Be kind.\n")
        (self.config / ".claude").mkdir()
        (self.config / ".claude" / "settings.json").write_bytes(b'{"model": "opus"}\n')
        for trees in filter(None, (scenario.replaced, scenario.before)):
            self.apply(dict(trees))
            self.start_runtime()
            self.handle("confirm_restart", install_ids=self.handle("pending_restarts")["restart_pending"])
        with (self.config / "CLAUDE.md").open("ab") as file:
            file.write(b"\nA person wrote this.\n")
        for path, content in scenario.tampered.items():
            (self.config / "plugins" / path).write_bytes(content)

    def start_runtime(self) -> None:
        """Place what the runtime places of every live plugin."""
        Adapter(self.config, str(self.config / ".claude")).start()

    def save(self, label: str) -> None:
        """Remember the present state, exactly."""
        copy_tree(self.config, self._saved / label)

    def restore(self, label: str) -> None:
        """Go back to a state that was saved."""
        self.clear()
        copy_tree(self._saved / label, self.config)

    def forget(self, label: str) -> None:
        """Drop a saved state."""
        shutil.rmtree(self._saved / label, ignore_errors=True)

    def clear(self) -> None:
        """Remove the config dir."""
        if self.config.exists():
            shutil.rmtree(self.config)

    def handle(self, operation: str, **fields: typing.Any) -> dict[str, typing.Any]:
        """Send a request."""
        return plugin_request.handle(self.request(operation, **fields))

    def request(self, operation: str, **fields: typing.Any) -> dict[str, typing.Any]:
        """The request, as plain data."""
        return {"version": 1, "operation": operation, "config_dir": str(self.config), "owner": OWNER, "lock_timeout": 5, **fields}

    def inspect(self, wanted: dict[str, Trees | None]) -> dict[str, typing.Any]:
        """Inspect these plugins."""
        return self.handle("inspect", plugins=[_element(name, tree) for name, tree in wanted.items()])

    def apply(self, wanted: dict[str, Trees | None]) -> dict[str, typing.Any]:
        """Inspect and apply."""
        return plugin_request.handle(self.apply_request(wanted))

    def apply_request(self, wanted: dict[str, Trees | None]) -> dict[str, typing.Any]:
        """The request that the controller sends after it has inspected: only what differs is sent and asked for."""
        elements, trees = [], []
        seen = self.inspect(wanted)["plugins"] if wanted else {}
        for name, tree in wanted.items():
            element = {**_element(name, tree), "observed_digest": seen[name]["digest"]}
            if tree is PREVIOUS:
                if seen[name]["previous"]["rolled_back"]:
                    continue
                elements.append({**element, "digest": seen[name]["previous"]["digest"]})
            elif seen[name]["digest"] != element.get("digest") or seen[name]["wrong_owner"]:
                elements.append({**element, "source": f"test://{name}", "plugin_version": "1.0.0"})
                trees += [tree] if tree else []
        return self.request("apply", plugins=elements, shipment=self._shipment(trees) if trees else None, job={"id": "7"})

    def _shipment(self, trees: list[Trees]) -> str:
        path = self._sent / ("-".join(digest_of(tree)[-12:] for tree in trees) + ".tar")
        return str(path) if path.exists() else shipment(path, *trees)


def _element(name: str, tree: Trees | None) -> dict[str, typing.Any]:
    if tree is PREVIOUS:
        return {"name": name, "state": "rolled_back"}
    return {"name": name, "state": "absent"} if tree is None else {"name": name, "state": "present", "digest": digest_of(tree)}


def copy_tree(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy files, directories, owners and modes; ``target`` must not exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy_directory(str(source), str(target))


def _copy_directory(source: str, target: str) -> None:
    os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            below = os.path.join(target, entry.name)
            if entry.is_dir(follow_symlinks=False):
                _copy_directory(entry.path, below)
            else:
                with open(entry.path, "rb") as file, open(below, "wb") as copy:
                    copy.write(file.read())
                _copy_status(entry.path, below)
    _copy_status(source, target)


def _copy_status(source: str, target: str) -> None:
    status = os.stat(source)
    if status.st_uid or status.st_gid:
        os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
