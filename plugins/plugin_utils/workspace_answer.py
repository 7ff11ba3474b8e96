# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workspace half answers, read with suspicion: the workspace may be old, broken or not ours any more.

Each ``parse_…`` function turns plain data into typed data or raises :class:`WorkspaceError`; nothing else of an answer is ever used.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, TypeVar

from ..module_utils.errors import WorkspaceError
from ..module_utils.names import is_plugin_name
from ..module_utils.plugin_tree import Entries

_T = TypeVar("_T")
# More than any workspace half of ours describes at once.
_MAX_ITEMS = 250_000
_ENTRY_TYPES = ("file", "directory", "link", "other")


@dataclass(frozen=True)
class Placements:
    """What the runtime made of a plugin: ``removed`` (or to be removed), and what is left alone, with the reason."""

    removed: tuple[str, ...] = ()
    kept: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Previous:
    """What rolling a plugin back restores: ``digest`` and ``entries`` are None when the plugin was not there.

    ``rolled_back``: the plugin is that already; ``problem``: why it cannot be restored.
    """

    digest: str | None
    entries: Entries | None
    source: str | None
    version: str | None
    rolled_back: bool
    problem: str | None


@dataclass(frozen=True)
class Observed:
    """One plugin as it is on the workspace. ``entries`` only when it differs from what was asked about.

    ``has_remains``: its directory is gone, but what the runtime made of it is not; ``previous`` only when that was asked about.
    """

    exists: bool
    digest: str | None
    wrong_owner: tuple[str, ...]
    entries: Entries | None
    receipt: Mapping[str, Any] | None
    receipt_problem: str | None
    placements: Placements
    has_remains: bool = False
    previous: Previous | None = None


@dataclass(frozen=True)
class Inspection:
    """The answer to ``inspect``. ``others`` are the plugins that were not asked for by name, when all were to be described.

    ``unmanaged`` names what lies beside the plugins that were asked for, ``other_files`` what of that can be no plugin, because it is no directory.
    ``interrupted`` names the plugins whose change an earlier run has not finished, or another one is making right now. ``transfers`` are the ids of what
    was sent there and not used yet.
    """

    plugins: Mapping[str, Observed]
    others: Mapping[str, Observed]
    unmanaged: tuple[str, ...]
    restart_pending: tuple[str, ...]
    interrupted: tuple[str, ...]
    other_files: tuple[str, ...] = ()
    transfers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Applied:
    """What ``apply`` did with one plugin."""

    changed: bool
    digest: str | None
    placements: Placements


@dataclass(frozen=True)
class Application:
    """The answer to ``apply``. ``recovered_placements``: by plugin, what became of the old placements where an earlier run's change was finished."""

    plugins: Mapping[str, Applied]
    restart_pending: tuple[str, ...]
    recovered: tuple[str, ...]
    recovered_placements: Mapping[str, Placements]


def parse_inspection(answer: object, names: list[str]) -> Inspection:
    """Return the answer to an ``inspect`` request about ``names``."""
    data = _mapping(answer, "inspect")
    plugins = _mapping(data.get("plugins"), "plugins")
    unmanaged = _texts(data.get("unmanaged"), "unmanaged")
    # Whatever is not a plugin's name is sent back as one of the workspace's own listing to choose from, never as part of a path.
    others = [name for name in plugins if name not in names and (name in unmanaged or is_plugin_name(name))]
    return Inspection(
        plugins={name: _observed(plugins.get(name), f"plugins.{name}") for name in names},
        others={name: _observed(plugins[name], f"plugins.{name}") for name in sorted(others)},
        unmanaged=unmanaged,
        restart_pending=_texts(data.get("restart_pending"), "restart_pending"),
        interrupted=_texts(data.get("interrupted"), "interrupted"),
        other_files=_texts(data.get("other_files"), "other_files"),
        transfers=_texts(data.get("transfers"), "transfers"),
    )


def parse_application(answer: object, names: list[str]) -> Application:
    """Return the answer to an ``apply`` request about ``names``."""
    data = _mapping(answer, "apply")
    plugins = _mapping(data.get("plugins"), "plugins")
    return Application(
        plugins={name: _applied(plugins.get(name), f"plugins.{name}") for name in names},
        restart_pending=_texts(data.get("restart_pending"), "restart_pending"),
        recovered=_texts(data.get("recovered"), "recovered"),
        recovered_placements={
            name: _placements(value, f"recovered_placements.{name}", "removed")
            for name, value in _mapping(data.get("recovered_placements"), "recovered_placements").items()
        },
    )


def parse_size(answer: object) -> int:
    """Return the answer to a ``receive`` request: how many bytes of the transfer are on the workspace."""
    return _typed(_mapping(answer, "receive").get("size"), int, "size")


def parse_texts(answer: object) -> dict[tuple[str, str, bool], str | None]:
    """Return the answer to a ``read`` request: the text by plugin, path and whether it is the previous version's; ``None`` where there is none to show."""
    texts: dict[tuple[str, str, bool], str | None] = {}
    files: list[object] = _typed(_mapping(answer, "read").get("files"), list, "files")
    for file in files:
        item = _mapping(file, "files")
        plugin, path = _typed(item.get("plugin"), str, "files.plugin"), _typed(item.get("path"), str, "files.path")
        key = (plugin, path, _typed(item.get("previous", False), bool, "files.previous"))
        texts[key] = _optional(item.get("text"), str, "files.text")
    return texts


def _observed(value: object, where: str) -> Observed:
    data = _mapping(value, where)
    exists = _typed(data.get("exists"), bool, f"{where}.exists")
    digest = _optional(data.get("digest"), str, f"{where}.digest")
    if exists and digest is None:
        raise _unexpected(f"{where}.digest", "is missing, although the plugin exists")
    entries = data.get("entries")
    return Observed(
        exists=exists,
        digest=digest if exists else None,
        wrong_owner=_texts(data.get("wrong_owner"), f"{where}.wrong_owner"),
        entries=None if entries is None else _entries(entries, f"{where}.entries"),
        receipt=_optional(data.get("receipt"), dict, f"{where}.receipt"),
        receipt_problem=_optional(data.get("receipt_problem"), str, f"{where}.receipt_problem"),
        placements=_placements(data.get("placements"), f"{where}.placements", "removed"),
        has_remains=_typed(data.get("has_remains"), bool, f"{where}.has_remains"),
        previous=_previous(data.get("previous"), f"{where}.previous"),
    )


def _previous(value: object, where: str) -> Previous | None:
    if value is None:
        return None
    data = _mapping(value, where)
    digest, entries = _optional(data.get("digest"), str, f"{where}.digest"), data.get("entries")
    if (digest is None) != (entries is None):
        raise _unexpected(f"{where}.entries", "does not fit its digest")
    return Previous(
        digest=digest,
        entries=None if entries is None else _entries(entries, f"{where}.entries"),
        source=_optional(data.get("source"), str, f"{where}.source"),
        version=_optional(data.get("plugin_version"), str, f"{where}.plugin_version"),
        rolled_back=_typed(data.get("rolled_back"), bool, f"{where}.rolled_back"),
        problem=_optional(data.get("problem"), str, f"{where}.problem"),
    )


def _applied(value: object, where: str) -> Applied:
    data = _mapping(value, where)
    return Applied(
        changed=_typed(data.get("changed"), bool, f"{where}.changed"),
        digest=_optional(data.get("digest"), str, f"{where}.digest"),
        placements=_placements(data, where, "removed_placements"),
    )


def _placements(value: object, where: str, removed_key: str) -> Placements:
    if value is None:
        return Placements()
    data = _mapping(value, where)
    kept: list[object] = _typed(data.get("kept"), list, f"{where}.kept")
    return Placements(_texts(data.get(removed_key), f"{where}.{removed_key}"), tuple(_kept(item, f"{where}.kept") for item in kept))


def _kept(value: object, where: str) -> dict[str, str]:
    data = _mapping(value, where)
    return {field: _typed(data.get(field), str, f"{where}.{field}") for field in ("path", "reason")}


def _entries(value: object, where: str) -> Entries:
    """Check each entry, because comparing and describing trees relies on the fields."""
    entries: Entries = {}
    for path, item in _mapping(value, where).items():
        data = _mapping(item, where)
        if data.get("type") not in _ENTRY_TYPES:
            raise _unexpected(f"{where}.type", "is no type of a file")
        for field, kind in (("mode", int), ("size", int), ("target", str)):
            _typed(data.get(field), kind, f"{where}.{field}")
        sha256 = _optional(data.get("sha256"), str, f"{where}.sha256")
        if data["type"] == "file" and sha256 is None:
            raise _unexpected(f"{where}.sha256", "is missing")
        entries[path] = dict(data)
    return entries


def _mapping(value: object, where: str) -> dict[str, Any]:
    data: dict[str, Any] = _typed(value, dict, where)
    if not all(isinstance(key, str) for key in data):
        raise _unexpected(where, "has keys that are no texts")
    return data


def _texts(value: object, where: str) -> tuple[str, ...]:
    items: list[object] = _typed(value, list, where)
    return tuple(_typed(item, str, where) for item in items)


def _optional(value: object, kind: type[_T], where: str) -> _T | None:
    return None if value is None else _typed(value, kind, where)


def _typed(value: object, kind: type[_T], where: str) -> _T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _unexpected(where, "is missing" if value is None else f"is {type(value).__name__}, not {kind.__name__}")
    if isinstance(value, (list, dict)) and len(value) > _MAX_ITEMS:
        raise _unexpected(where, f"has more than {_MAX_ITEMS} items")
    return value


def _unexpected(where: str, problem: str) -> WorkspaceError:
    return WorkspaceError(f"the workspace gave an answer that cannot be trusted ({where} {problem}): check what answers under this host's connection")
