# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The files that the runtime's standard adapter copies out of a plugin: hooks, commands and skills; found again and removed.

A copy is removed when its bytes equal the plugin's file. The adapter overwrites hooks and commands at every start, and copies a skill
only as a whole and only where none of that name is, so a skill's directory belongs to exactly one plugin.
"""
from __future__ import annotations

import os
import re
from typing import Callable, Iterable, List, Mapping, Optional, Sequence

from . import directory_files as files
from .directory_files import LeaveAlone
from .placement_report import CHANGED, Report

EXTRA = "not from this plugin"
_MAX_DEPTH = 40
_MAX_EXTRA_NAMES = 20
_MAX_SCRIPT_BYTES = 8 * 1024 * 1024
_CACHE = "__pycache__"
_CACHED_SOURCE = re.compile(r"(.+?)\.[a-z0-9_]+-[0-9a-z]+(?:\.opt-[0-9a-z]+)?\.pyc")


class Directories:
    """Opens directories and closes all of them at the end (``with``)."""

    def __init__(self) -> None:
        self._opened: List[int] = []

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_unused: object) -> None:
        for directory_fd in self._opened:
            os.close(directory_fd)

    def open(self, parent_fd: int, name: str, label: str) -> Optional[int]:
        """Open ``name`` in ``parent_fd`` as :func:`directory_files.open_directory` does."""
        directory_fd = files.open_directory(parent_fd, name, label)
        if directory_fd is not None:
            self._opened.append(directory_fd)
        return directory_fd

    def open_below(self, parent_fd: int, path: Sequence[str], label: str) -> Optional[int]:
        """Open the directory at ``path`` below ``parent_fd``; None when there is none, or something that is no directory."""
        directory_fd: Optional[int] = parent_fd
        try:
            for name in path:
                directory_fd = self.open(directory_fd, name, label) if directory_fd is not None else None
        except LeaveAlone:
            return None
        return directory_fd


def remove_copies(
    claude_fd: int, plugin_fd: int, source: str, selects: Callable[[str], bool], other_plugin_fds: Mapping[str, int], report: Report
) -> None:
    """Remove from ``.claude/<source>`` the copies of the plugin's ``<source>/*`` whose names ``selects`` accepts."""
    label = f".claude/{source}"
    with Directories() as directories:
        try:
            plugin_source_fd = directories.open(plugin_fd, source, f"the plugin's directory {source}")
            target_fd = None if plugin_source_fd is None else directories.open(claude_fd, source, label)
            if plugin_source_fd is None or target_fd is None:
                return
            own = [name for name in files.list_directory(plugin_source_fd, source) if selects(name) and files.is_file(plugin_source_fd, name)]
        except LeaveAlone as reason:
            report.keep(label, f"not looked at: {source} {reason}")
            return
        gone = set()
        for name in own:
            if _remove_copy(plugin_source_fd, target_fd, name, f"{label}/{name}", [source], other_plugin_fds, report, _equal_script):
                gone.add(name)
        _remove_cache(target_fd, label, own, gone, report, report_rest=False)
    remove_container(claude_fd, source, label, report)


def remove_skills(config_fd: int, plugin_fd: int, other_plugin_fds: Mapping[str, int], report: Report) -> None:
    """Remove the plugin's skills from ``skills/``, file by file, then the emptied directories."""
    with Directories() as directories:
        try:
            plugin_skills_fd = directories.open(plugin_fd, "skills", "the plugin's directory skills")
            skills_fd = None if plugin_skills_fd is None else directories.open(config_fd, "skills", "skills")
            if plugin_skills_fd is None or skills_fd is None:
                return
            skills = files.list_directory(plugin_skills_fd, "skills")
        except LeaveAlone as reason:
            report.keep("skills", f"not looked at: skills {reason}")
            return
        for skill in skills:
            if files.is_directory(plugin_skills_fd, skill):
                _remove_skill(plugin_skills_fd, skills_fd, skill, other_plugin_fds, report)
    remove_container(config_fd, "skills", "skills", report)


def remove_container(parent_fd: int, name: str, label: str, report: Report) -> None:
    """Remove an emptied directory that the adapter makes for all plugins; the runtime starts as root and makes it again when a plugin needs it."""
    if not report.dry_run:
        files.remove_directory_if_empty(parent_fd, name, label)


def _remove_skill(plugin_skills_fd: int, skills_fd: int, skill: str, other_plugin_fds: Mapping[str, int], report: Report) -> None:
    label = f"skills/{skill}"
    with Directories() as directories:
        try:
            own_fd = directories.open(plugin_skills_fd, skill, label)
            placed_fd = directories.open(skills_fd, skill, label)
        except LeaveAlone as reason:
            report.keep(label, str(reason))
            return
        if own_fd is None or placed_fd is None:
            return
        for name in sorted(other_plugin_fds):
            other_fd = directories.open_below(other_plugin_fds[name], ["skills", skill], f"plugin {name}: {label}")
            if other_fd is None:
                continue
            if _equal_trees(other_fd, placed_fd, label, _MAX_DEPTH):
                report.keep(label, f"also placed by plugin {name}")
                return
            break  # plugins are loaded by name, and of two skills with one name the first one is copied
        # An untouched copy of ours goes whole, so that another plugin's skill of that name can take its place at the next start.
        claims = {} if _equal_trees(own_fd, placed_fd, label, _MAX_DEPTH) else other_plugin_fds
        _remove_tree(own_fd, placed_fd, ["skills", skill], claims, report)
    if not report.dry_run:
        files.remove_directory_if_empty(skills_fd, skill, label)


def _remove_tree(own_fd: int, placed_fd: int, path: List[str], other_plugin_fds: Mapping[str, int], report: Report) -> None:
    """Remove below ``placed_fd`` what equals the tree below ``own_fd``; ``path`` are the names that lead there."""
    if len(path) > _MAX_DEPTH:
        report.keep("/".join(path), "nested too deeply to be compared")
        return
    label = "/".join(path)
    try:
        own = files.list_directory(own_fd, f"the plugin's {label}")
    except LeaveAlone as reason:
        report.keep(label, f"not looked at: what the plugin has there {reason}")
        return
    try:
        placed = files.list_directory(placed_fd, label)
    except LeaveAlone as reason:
        report.keep(label, f"{reason}, of which only the plugin's are looked at")
        placed = own
    gone, extra = set(own), []
    for name in placed:
        if name == _CACHE:
            continue
        if name not in own:
            extra.append(name)
        elif files.is_directory(own_fd, name):
            _remove_subtree(own_fd, placed_fd, path, name, other_plugin_fds, report)
        elif not _remove_copy(own_fd, placed_fd, name, f"{label}/{name}", path, other_plugin_fds, report, _equal):
            gone.discard(name)
    for name in extra[:_MAX_EXTRA_NAMES]:
        report.keep(f"{label}/{name}", EXTRA)
    if len(extra) > _MAX_EXTRA_NAMES:
        report.keep(label, f"{len(extra) - _MAX_EXTRA_NAMES} more names here are {EXTRA}")
    _remove_cache(placed_fd, label, own, gone, report, report_rest=True)


def _remove_subtree(
    own_fd: int, placed_fd: int, path: List[str], name: str, other_plugin_fds: Mapping[str, int], report: Report
) -> None:
    label = "/".join(path + [name])
    with Directories() as directories:
        try:
            own_below_fd = directories.open(own_fd, name, f"the plugin's {label}")
            placed_below_fd = directories.open(placed_fd, name, label)
        except LeaveAlone as reason:
            report.keep(label, str(reason))
            return
        if own_below_fd is None or placed_below_fd is None:
            return
        _remove_tree(own_below_fd, placed_below_fd, path + [name], other_plugin_fds, report)
    if not report.dry_run:
        files.remove_directory_if_empty(placed_fd, name, label)


def _remove_copy(
    own_fd: int,
    placed_fd: int,
    name: str,
    label: str,
    path: Sequence[str],
    other_plugin_fds: Mapping[str, int],
    report: Report,
    equal: Callable[[int, int, str, str], bool],
) -> bool:
    """Remove one copied file if it equals the plugin's and no other live plugin has it at ``path`` too; tell whether it is gone."""
    try:
        if not files.exists(placed_fd, name):
            return True
        ours = equal(own_fd, placed_fd, name, label)
        owner = _owner(placed_fd, name, label, path, other_plugin_fds, equal)
    except LeaveAlone as reason:
        report.keep(label, str(reason))
        return False
    if owner is not None:
        report.keep(label, f"also placed by plugin {owner}")
        return False
    if not ours:
        report.keep(label, CHANGED)
        return False
    report.remove(label)
    if not report.dry_run:
        files.remove_file(placed_fd, name, label)
    return True


def _owner(
    placed_fd: int, name: str, label: str, path: Sequence[str], other_plugin_fds: Mapping[str, int], equal: Callable[[int, int, str, str], bool]
) -> Optional[str]:
    """Return the first other plugin whose file at ``path`` equals the placed one."""
    for plugin in sorted(other_plugin_fds):
        with Directories() as directories:
            other_fd = directories.open_below(other_plugin_fds[plugin], path, f"plugin {plugin}: {label}")
            if other_fd is not None and files.is_file(other_fd, name) and equal(other_fd, placed_fd, name, label):
                return plugin
    return None


def _equal(own_fd: int, placed_fd: int, name: str, label: str) -> bool:
    """Compare the file ``name`` of two directories. Raises :class:`LeaveAlone` when one of them is no regular file."""
    own = files.open_file(own_fd, name, f"the plugin's {label}")
    if own is None:
        return False
    try:
        placed = files.open_file(placed_fd, name, label)
        if placed is None:
            return False
        try:
            return own[1].st_size == placed[1].st_size and files.equal_files(own[0], placed[0])
        except OSError as error:
            raise files.unreadable(label, error) from error
        finally:
            os.close(placed[0])
    finally:
        os.close(own[0])


def _equal_script(own_fd: int, placed_fd: int, name: str, label: str) -> bool:
    """Compare as :func:`_equal` does; some releases of the adapter write Unix line ends into ``.sh`` and ``.py`` files."""
    if _equal(own_fd, placed_fd, name, label):
        return True
    if not name.endswith((".sh", ".py")):
        return False
    own = files.read_file(own_fd, name, f"the plugin's {label}", _MAX_SCRIPT_BYTES)
    placed = files.read_file(placed_fd, name, label, _MAX_SCRIPT_BYTES)
    return own is not None and placed is not None and own.content.replace(b"\r\n", b"\n") == placed.content


def _equal_trees(expected_fd: int, placed_fd: int, label: str, depth: int) -> bool:
    """Tell whether two directories hold the same names and bytes; what Python caches while running does not count."""
    try:
        names, placed = ([name for name in files.list_directory(tree_fd, label) if name != _CACHE] for tree_fd in (expected_fd, placed_fd))
    except LeaveAlone:
        return False
    if depth <= 0 or names != placed:
        return False
    return all(_equal_entries(expected_fd, placed_fd, name, f"{label}/{name}", depth) for name in names)


def _equal_entries(expected_fd: int, placed_fd: int, name: str, label: str, depth: int) -> bool:
    with Directories() as directories:
        try:
            if not files.is_directory(expected_fd, name):
                return _equal(expected_fd, placed_fd, name, label)
            expected_below_fd = directories.open(expected_fd, name, label)
            placed_below_fd = directories.open(placed_fd, name, label)
        except LeaveAlone:
            return False
        if expected_below_fd is None or placed_below_fd is None:
            return False
        return _equal_trees(expected_below_fd, placed_below_fd, label, depth - 1)


def _remove_cache(placed_fd: int, label: str, own: Iterable[str], gone: Iterable[str], report: Report, *, report_rest: bool) -> None:
    """Remove what Python compiled of the plugin's sources that are ``gone``, then an emptied ``__pycache__``."""
    label = f"{label}/{_CACHE}"
    with Directories() as directories:
        try:
            cache_fd = directories.open(placed_fd, _CACHE, label)
            if cache_fd is None:
                return
            cached = files.list_directory(cache_fd, label)
        except LeaveAlone as reason:
            report.keep(label, str(reason))
            return
        sources = set(own) & set(gone)
        rest = 0
        for name in cached:
            source = _CACHED_SOURCE.fullmatch(name)
            if source and f"{source.group(1)}.py" in sources and files.is_file(cache_fd, name):
                report.remove(f"{label}/{name}")
                if not report.dry_run:
                    files.remove_file(cache_fd, name, label)
            elif not (source and files.exists(placed_fd, f"{source.group(1)}.py")):
                rest += 1
    if rest and report_rest:
        report.keep(label, EXTRA)
    if not report.dry_run and sources:
        files.remove_directory_if_empty(placed_fd, _CACHE, label)
