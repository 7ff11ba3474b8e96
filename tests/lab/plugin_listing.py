# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the platform's API says about the plugins of a workspace: read from the workspace's disk through the engine."""
from __future__ import annotations

import io
import posixpath
import tarfile
from typing import Any

import aiohttp
import yaml

from .docker_proxy import engine_session
from .live_world import LiveWorld

Record = dict[str, Any]


class PluginListing:
    """Looks into containers; the engine client is made when it is first needed."""

    def __init__(self, world: LiveWorld) -> None:
        self._world = world
        self._session: aiohttp.ClientSession | None = None
        self._base_url = ""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def of(self, workspace: Record) -> list[Record]:
        """The plugins of a workspace by name; ``[]`` also when it cannot be looked at, as the platform does it."""
        container, directory = self._place(workspace)
        if container is None:
            return []
        if self._session is None:
            self._session, self._base_url = engine_session(self._world.docker_host)
        try:
            async with self._session.get(f"{self._base_url}/containers/{container}/archive", params={"path": f"{directory}/plugins"}) as response:
                if response.status != 200:
                    return []
                archive = await response.read()
        except aiohttp.ClientError:
            return []
        return plugins_in(archive, workspace["runtime"])

    def _place(self, workspace: Record) -> tuple[str | None, str]:
        instance = self._world.instance(workspace.get("instance_id") or "")
        if instance is not None:
            return instance.get("host_container"), instance.get("config_dir") or "/configs"
        return workspace.get("container"), "/configs"


def plugins_in(archive: bytes, runtime: str) -> list[Record]:
    """The plugin records of a tar of a ``plugins`` directory."""
    found: dict[str, Record] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            parts = posixpath.normpath(member.name).split("/")
            if len(parts) == 2 and member.isdir():
                found.setdefault(parts[1], {})
            elif len(parts) == 3 and parts[2] == "plugin.yaml" and member.isfile():
                stream = tar.extractfile(member)
                found[parts[1]] = _manifest(stream.read() if stream else b"")
    return [_describe(name, manifest, runtime) for name, manifest in sorted(found.items())]


def _manifest(text: bytes) -> Record:
    try:
        manifest = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}  # the platform ignores a manifest that it cannot read
    return manifest if isinstance(manifest, dict) else {}


def _describe(name: str, manifest: Record, runtime: str) -> Record:
    runtimes = [str(each) for each in manifest.get("runtimes") or []]
    record: Record = {key: str(manifest.get(key) or "") for key in ("version", "description", "author")}
    return {
        "name": name, **record, "tags": manifest.get("tags") or None, "skills": manifest.get("skills") or None, "runtimes": runtimes or None,
        "supported_on_runtime": not runtimes or runtime.replace("-", "_") in {each.replace("-", "_") for each in runtimes},
    }
