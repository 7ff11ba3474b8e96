# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's world as the simulated services see it: ``world.json``, read again whenever it changes.

The engine side of the lab writes that file (instances are replaced while the services run); the services only read it.
"""
from __future__ import annotations

import json
import pathlib
from typing import Any

Record = dict[str, Any]


class LiveWorld:
    """Read access to ``world.json``; every property is as fresh as the file."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._world: Record = {}
        if not self._read_if_changed():
            raise FileNotFoundError(f"{path} does not exist or holds no JSON object")

    def _read_if_changed(self) -> bool:
        """Read the file if it changed; keep the last good content while it is missing or half written."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return False
            world = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if not isinstance(world, dict):
            return False
        self._world, self._stamp = world, stamp
        return True

    @property
    def content(self) -> Record:
        """The whole document."""
        self._read_if_changed()
        return self._world

    @property
    def region(self) -> str:
        return str(self.content.get("region", "us-east-2"))

    @property
    def docker_host(self) -> str:
        return str(self.content["docker_host"])

    @property
    def instances(self) -> list[Record]:
        return list(self.content.get("instances", []))

    @property
    def endpoints(self) -> list[Record]:
        return list(self.content.get("endpoints", []))

    @property
    def workspaces(self) -> list[Record]:
        return list(self.content.get("workspaces", []))

    def instance(self, instance_id: str) -> Record | None:
        """The instance of this id, whatever its state, or None."""
        return next((each for each in self.instances if each["instance_id"] == instance_id), None)

    def endpoint(self, endpoint_id: str) -> Record | None:
        """The EC2 Instance Connect Endpoint of this id, or None."""
        return next((each for each in self.endpoints if each["id"] == endpoint_id), None)

    def workspace(self, workspace_id: str) -> Record | None:
        """The platform's workspace of this id, or None."""
        return next((each for each in self.workspaces if each["id"] == workspace_id), None)
