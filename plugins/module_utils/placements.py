# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the runtime's standard adapter made of a plugin at start, and how exactly that is taken away again.

At every start the adapter appends the plugin's rules and fragments to ``CLAUDE.md``, copies skills, hooks and commands, and merges
``settings-fragment.json`` into ``.claude/settings.json`` (the platform's ``plugins_registry/builtins.py``). Nothing on the platform ever
removes that: an upgrade keeps the old rules and skills, an uninstall leaves all of it active. We remove what equals what the old plugin
tree would have placed, and what the tree that we had installed would have: the live tree may have been changed after the runtime placed it.
What a person changed since, and what another live plugin places too, stays and is reported. An upgrade removes *all* of the old version,
also what the new one places again: the adapter skips what it finds.

What a plugin's own adapter or its ``setup.sh`` did is unknown to us and stays.
"""
from __future__ import annotations

import contextlib
import errno
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from . import directory_files as files
from . import placed_files, placed_settings, placed_text
from .directory_files import LeaveAlone
from .errors import WorkspaceError
from .placement_report import CHANGED, Report

MEMORY_FILE = "CLAUDE.md"
CLAUDE_DIRECTORY = ".claude"
SETTINGS_FILE = "settings.json"
FRAGMENT_FILE = "settings-fragment.json"
_SOURCE_DIRECTORIES = frozenset(["rules", "skills", "hooks", "commands"])
MAX_TEXT_BYTES = 8 * 1024 * 1024
_ATTEMPTS = 3

# Header line in ``CLAUDE.md`` -> (opened directory, file name) of its text.
_TextSources = Dict[str, Tuple[int, str]]

# Given the bytes of a file, the bytes to put there (None: remove the file), or the same bytes for "nothing to do", and what to report.
_Rewrite = Callable[[bytes], Tuple[Optional[bytes], List[str], List[Tuple[str, str]]]]


def is_source(path: str) -> bool:
    """Tell whether the adapter may place something of the file or directory at ``path`` in a plugin tree."""
    top, separator, _rest = path.partition("/")
    return top in _SOURCE_DIRECTORIES or (not separator and (path == FRAGMENT_FILE or placed_text.is_fragment(path)))


def find_and_remove(
    config_fd: int,
    old_plugin_fd: Optional[int],
    plugin_name: str,
    claude_directories: Sequence[str],
    staging_fd: Optional[int],
    *,
    installed_plugin_fd: Optional[int] = None,
    other_plugin_fds: Optional[Mapping[str, int]] = None,
    dry_run: bool = False,
) -> Dict[str, Any]:
    """Remove from the config dir what the adapter placed from the old plugin tree; leave and report what was changed since.

    * ``config_fd``: the config dir, opened as a directory; ``old_plugin_fd``: the old plugin tree, wherever it lies now, if there is one.
    * ``installed_plugin_fd``: that plugin as it was installed (what :func:`is_source` selects of it suffices), if that is known.
    * ``claude_directories``: what ``${CLAUDE_DIR}`` may have been replaced by, for example ``["/configs/.claude"]``.
    * ``staging_fd``: a directory of ours on the same file system as the config dir; may be None only with ``dry_run``.
    * ``other_plugin_fds``: name -> directory of every *other* live plugin; what one of them places identically is kept.
    * ``dry_run``: the same answer, nothing changed.

    Returns plain data: ``{"removed": [label], "kept": [{"path": label, "reason": sentence}]}``; labels are such as
    ``CLAUDE.md: rule guidelines.md``, ``skills/helper/SKILL.md``, ``.claude/hooks/x.sh``,
    ``.claude/settings.json: hooks.PreToolUse[Bash] ${CLAUDE_DIR}/hooks/x.sh``.

    ``CLAUDE.md`` is removed when nothing but white space remains of it (then the runtime had made it), ``settings.json`` when it is
    ``{}``, and emptied directories: the runtime starts as root and makes them again. Text of a person stays byte for byte; the line
    end that the adapter adds to a last line without one stays too, because nobody can tell it from the person's.

    Idempotent: after a crash, running it again removes the rest and reports nothing wrong, because each step looks only at what is
    there now. Settings go before the hooks that they name, so that a running agent never calls a hook that is gone.

    A file that is a link, huge or broken is left alone and reported, so that an uninstall can finish. Raises
    :class:`WorkspaceError` when something cannot be read or removed at all.
    """
    if staging_fd is None and not dry_run:
        raise ValueError("staging_fd is needed unless dry_run is set")
    writable_fd = -1 if staging_fd is None else staging_fd  # a dry run never gets to use it
    versions = [version for version in (installed_plugin_fd, old_plugin_fd) if version is not None]
    report = Report(dry_run)
    others = {name: other_fd for name, other_fd in (other_plugin_fds or {}).items() if name != plugin_name}
    try:
        _remove_from_claude_directory(config_fd, versions, claude_directories, writable_fd, others, report)
        parts = [Report(dry_run) for _version in versions]
        for version, part in zip(versions, parts):
            placed_files.remove_skills(config_fd, version, others, part)
        report.merge_versions(parts)
        _remove_texts(config_fd, versions, plugin_name, writable_fd, others, report)
    except OSError as error:
        raise WorkspaceError(
            f"what the runtime placed of plugin {plugin_name} could not be removed completely ({error.strerror}): "
            "mend that and run again, the next run finishes it"
        ) from error
    return report.as_data()


def _remove_from_claude_directory(
    config_fd: int, versions: Sequence[int], claude_directories: Sequence[str], staging_fd: int, others: Mapping[str, int], report: Report
) -> None:
    with placed_files.Directories() as directories:
        try:
            claude_fd = directories.open(config_fd, CLAUDE_DIRECTORY, CLAUDE_DIRECTORY)
        except LeaveAlone as reason:
            if any(files.exists(version, name) for version in versions for name in ("hooks", "commands", FRAGMENT_FILE)):
                report.keep(CLAUDE_DIRECTORY, str(reason))
            return
        if claude_fd is None:
            return
        _remove_settings(claude_fd, versions, claude_directories, staging_fd, others, report)
        parts = [Report(report.dry_run) for _version in versions]
        for version, part in zip(versions, parts):
            placed_files.remove_copies(claude_fd, version, "hooks", lambda _name: True, others, part)
            placed_files.remove_copies(claude_fd, version, "commands", placed_text.is_markdown, others, part)
        report.merge_versions(parts)
    placed_files.remove_container(config_fd, CLAUDE_DIRECTORY, CLAUDE_DIRECTORY, report)


def _remove_settings(
    claude_fd: int, versions: Sequence[int], claude_directories: Sequence[str], staging_fd: int, others: Mapping[str, int], report: Report
) -> None:
    fragments = [fragment for fragment in (_fragment(version, "the plugin's") for version in versions) if fragment is not None]
    if not fragments:
        return
    found = {name: _fragment(other_fd, f"plugin {name}'s") for name, other_fd in others.items()}
    other_fragments = {name: other for name, other in found.items() if other is not None}

    def rewrite(content: bytes) -> Tuple[Optional[bytes], List[str], List[Tuple[str, str]]]:
        try:
            settings, style = placed_settings.parse(content.decode("utf-8"))
            remaining = settings
            removed: List[str] = []
            kept: List[Tuple[str, str]] = []
            for fragment in fragments:
                removal = placed_settings.remove_fragment(remaining, fragment, claude_directories, other_fragments)
                remaining = removal.settings
                removed += removal.removed
                gone = set(removal.removed)
                kept = [entry for entry in kept if entry[0] not in gone] + removal.kept
            if remaining == settings:
                return content, removed, kept
            new_content = placed_settings.serialise(remaining, style) if remaining else None
        except UnicodeDecodeError as error:
            raise LeaveAlone("is not UTF-8 text") from error
        except RecursionError as error:
            raise LeaveAlone("is nested too deeply") from error
        except placed_settings.UnusableSettings as error:
            raise LeaveAlone(str(error)) from error
        return new_content, removed, kept

    _rewrite_file(claude_fd, SETTINGS_FILE, f"{CLAUDE_DIRECTORY}/{SETTINGS_FILE}", rewrite, staging_fd, report, expected=True)


def _fragment(plugin_fd: int, whose: str) -> Optional[Dict[str, Any]]:
    """Return a plugin's settings fragment; None when it has none that the adapter could have merged."""
    try:
        opened = files.read_file(plugin_fd, FRAGMENT_FILE, f"{whose} {FRAGMENT_FILE}", MAX_TEXT_BYTES)
        return None if opened is None else placed_settings.parse_fragment(opened.content.decode("utf-8"))
    except (LeaveAlone, UnicodeDecodeError):
        return None


def _remove_texts(
    config_fd: int, versions: Sequence[int], plugin_name: str, staging_fd: int, others: Mapping[str, int], report: Report
) -> None:
    with placed_files.Directories() as directories:
        other_sources: _TextSources = {}
        for name, other_fd in others.items():
            # Without them, nothing but a text of ours that another plugin quotes is at stake.
            with contextlib.suppress(LeaveAlone):
                other_sources.update(_text_sources(directories, other_fd, name))
        own_sources: List[_TextSources] = []
        for version in versions:
            try:
                own_sources.append(_text_sources(directories, version, plugin_name))
            except LeaveAlone as reason:
                report.keep(MEMORY_FILE, f"not looked through for all texts: {reason}")
        known_headers = frozenset(header for own in own_sources for header in own)

        def rewrite(content: bytes) -> Tuple[Optional[bytes], List[str], List[Tuple[str, str]]]:
            if b"\0" in content:
                raise LeaveAlone("is a binary file")
            text = content.decode("utf-8", "surrogateescape")
            # All versions in one pass: cut one after the other, one that is the beginning of another would take the header from the rest.
            text, removed, changed = placed_text.cut_blocks(text, plugin_name, _contents_of([*own_sources, other_sources]))
            entries = ["{} {}".format(*placed_text.split_header(header)) for header in removed]
            kept = [("", _why_kept(header, header in known_headers)) for header in changed]
            if removed and not text.strip():
                return None, entries, kept
            return text.encode("utf-8", "surrogateescape"), entries, kept

        _rewrite_file(config_fd, MEMORY_FILE, MEMORY_FILE, rewrite, staging_fd, report, expected=bool(known_headers))


def _contents_of(versions: Sequence[_TextSources]) -> Callable[[str], List[str]]:
    """Return the function that reads the files behind a header line, of those that the adapter could have read."""

    def contents_of(header: str) -> List[str]:
        contents = []
        for source in [sources[header] for sources in versions if header in sources]:
            with contextlib.suppress(LeaveAlone):
                opened = files.read_file(source[0], source[1], f"the plugin's file {source[1]}", MAX_TEXT_BYTES)
                if opened is not None:
                    contents.append(opened.content.decode("utf-8", "surrogateescape"))
        return contents

    return contents_of


def _why_kept(header: str, has_source: bool) -> str:
    if not has_source:
        return f"the text below '{header}' is not from this version of the plugin"
    return f"the text below '{header}' was {CHANGED} (the runtime adds a plugin's text only where its first header is missing)"


def _text_sources(directories: placed_files.Directories, plugin_fd: int, plugin_name: str) -> _TextSources:
    """Return the source of each rule and fragment of the plugin. Raises :class:`LeaveAlone` when there are too many to look at."""
    sources: _TextSources = {}
    try:
        rules_fd = directories.open(plugin_fd, "rules", "the plugin's directory rules")
    except LeaveAlone:
        rules_fd = None
    if rules_fd is not None:
        for name in _listed(rules_fd, f"the directory rules of plugin {plugin_name}"):
            if placed_text.is_markdown(name) and files.is_file(rules_fd, name):
                sources[placed_text.header(plugin_name, "rule", name)] = (rules_fd, name)
    for name in _listed(plugin_fd, f"the directory of plugin {plugin_name}"):
        if placed_text.is_fragment(name) and files.is_file(plugin_fd, name):
            sources[placed_text.header(plugin_name, "fragment", name)] = (plugin_fd, name)
    return sources


def _listed(directory_fd: int, label: str) -> List[str]:
    """List as :func:`directory_files.list_directory` does, with ``label`` in the reason for leaving it alone."""
    try:
        return files.list_directory(directory_fd, label)
    except LeaveAlone as reason:
        raise LeaveAlone(f"{label} {reason}") from reason


def _rewrite_file(
    parent_fd: int, name: str, label: str, rewrite: _Rewrite, staging_fd: int, report: Report, *, expected: bool
) -> None:
    """Replace a file of the config dir by what ``rewrite`` makes of it, unless somebody writes it at the same time.

    With ``expected`` a file that cannot be looked at is reported; without, the plugin has nothing to find in it.
    """
    for _attempt in range(_ATTEMPTS):
        try:
            opened = files.read_file(parent_fd, name, label, MAX_TEXT_BYTES)
            if opened is None:
                return
            content, removed, kept = rewrite(opened.content)
            done = report.dry_run or content == opened.content or _replace(parent_fd, name, label, content, opened, staging_fd)
        except LeaveAlone as reason:
            if expected:
                report.keep(label, f"{reason}; it was left as it is")
            return
        if done:
            for entry in removed:
                report.remove(f"{label}: {entry}")
            for entry, reason_text in kept:
                report.keep(f"{label}: {entry}" if entry else label, reason_text)
            return
    report.keep(label, "changes while we work; run again")


def _replace(
    parent_fd: int, name: str, label: str, content: Optional[bytes], opened: files.OpenedFile, staging_fd: int
) -> bool:
    """Put the new content in place, or remove the file for None; False when the file is no longer the one that was read."""
    if content is None:
        if not files.unchanged(parent_fd, name, opened.status):
            return False
        files.remove_file(parent_fd, name, label)
        return True
    try:
        return files.replace_file(parent_fd, name, content, opened.status, staging_fd)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EXDEV):  # a mount point of its own: nothing can be renamed over it
            raise LeaveAlone(f"cannot be replaced ({error.strerror})") from error
        raise
