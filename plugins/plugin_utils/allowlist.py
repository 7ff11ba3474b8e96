# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plugins an organisation allows: a list in the task, a file, or the platform's answer.

As on the platform, a list is matched on the plugin's name, and one without entries allows everything. What cannot be read as a list allows nothing: it is
an error.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Mapping

import yaml

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.names import PLUGIN_NAME
from .platform_api import Platform, PlatformError, PlatformOptions
from .run_cache import RunCache, cache_key

_MAX_BYTES = 1024 * 1024
_ANSWER = "allowlist.json"


@dataclass(frozen=True)
class Allowlist:
    """The names that are allowed (``None``: all), and where that is said."""

    names: frozenset[str] | None
    shown: str

    def require(self, name: str) -> None:
        """Raise :class:`InvalidInputError` unless the plugin is allowed."""
        if self.names is not None and name not in self.names:
            raise InvalidInputError(f"plugin {name} is not on {self.shown}: ask the organisation's administrators to add it")


def from_names(names: Collection[str]) -> Allowlist:
    """Return what a task's list allows; raise :class:`InvalidInputError` for a name that no plugin can have."""
    return Allowlist(_validated(names, "the allowlist"), "the allowlist")


def from_file(path: Path) -> Allowlist:
    """Return what a YAML or JSON file allows; raise :class:`InvalidInputError` when it is no list."""
    shown = f"the allowlist {path}"
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InvalidInputError(f"{shown} is larger than {_MAX_BYTES} bytes: that is no list of names")
        data = yaml.safe_load(content)
    except OSError as error:
        raise InvalidInputError(f"{shown} cannot be read: {error.strerror}; nothing is installed without it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{shown} is neither YAML nor JSON: write a list of names") from error
    if isinstance(data, list) and all(isinstance(name, str) for name in data):
        return Allowlist(_validated(data, shown), shown)
    if isinstance(data, dict):
        names = _names_of_answer(data, shown)
        return Allowlist(None if names is None else _validated(names, shown), shown)
    raise InvalidInputError(f"{shown} is no list of names: write one name per line with '- ' before it, or [] to allow everything")


def from_platform(options: PlatformOptions, cache: RunCache) -> Allowlist:
    """Return what the organisation allows, asked once per run; raise ``WorkspaceError`` when the platform gives no list."""
    shown = f"the allowlist of organisation {options.org_id}"

    def ask(directory: Path) -> None:
        answer = Platform(options).plugin_allowlist()
        if answer.get("org_id", options.org_id) != options.org_id:
            raise PlatformError(f"the platform answered with the allowlist of another organisation than {options.org_id}: check platform_org_id")
        names = _names_of_answer(answer, shown)
        (directory / _ANSWER).write_text(json.dumps(None if names is None else sorted(names)), encoding="utf-8")

    key = cache_key("allowlist", {"url": options.url, "org_id": options.org_id, "token": options.token})
    try:
        directory = cache.once(key, ask)
    except OSError as error:
        raise WorkspaceError(f"{shown} cannot be kept on the controller: {error}") from error
    names = json.loads((directory / _ANSWER).read_text(encoding="utf-8"))
    return Allowlist(None if names is None else frozenset(names), shown)


def _names_of_answer(answer: Mapping[str, object], shown: str) -> list[str] | None:
    """Return the names in the platform's shape, ``None`` for all of them."""
    allow_all, plugins = answer.get("allow_all", False), answer.get("plugins")
    if allow_all is True:
        return None
    if allow_all is not False or not isinstance(plugins, list):
        raise InvalidInputError(f"{shown} is not one: it must have a list 'plugins', and 'allow_all', if it is there, must be true or false")
    names = []
    for plugin in plugins:
        name = plugin.get("plugin_name") if isinstance(plugin, dict) else plugin
        if not isinstance(name, str):
            raise InvalidInputError(f"{shown} has an entry without 'plugin_name': nothing is installed by a list that cannot be understood")
        names.append(name)
    return names or None


def _validated(names: Collection[str], shown: str) -> frozenset[str] | None:
    for name in names:
        if not PLUGIN_NAME.fullmatch(name):
            raise InvalidInputError(f"{shown} has the entry {name!r}, which is no name of a plugin: there are no patterns, write each name")
    return frozenset(names) or None
