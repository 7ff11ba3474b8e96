# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a plugin tree is, how its content becomes one digest, and how two trees differ.

A tree is described by *entries*: a dict from relative POSIX path to a plain dict ::

    {"type": "file" | "directory" | "link" | "other", "mode": int, "size": int (bytes), "sha256": str | None, "target": str}

The root directory itself is the entry ``""``. ``mode`` holds the permission bits; ``sha256`` is set for files only, ``target`` for links only.
Names that are not UTF-8 are carried as surrogate escapes, as Python's file functions return them.

Two sides are compared. What *should* be there is described with normalised modes (see :func:`normalise`), because owners, umasks and modes of
a checkout are accidents. What *is* there is described with its actual modes, so that a changed mode is drift.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import stat
import struct
from typing import Any, Callable, Dict, Iterable, NamedTuple, Tuple

from . import safe_files
from .errors import TooLargeError, WorkspaceError
from .printable import printable

Entry = Dict[str, Any]
Entries = Dict[str, Entry]
Drift = Dict[str, str]
Owner = Tuple[int, int]
Ignore = Callable[[str, str], bool]

DIGEST_PREFIX = "sha256:"
DIGEST = re.compile(DIGEST_PREFIX + "[0-9a-f]{64}")
_FORMAT = b"molecule_ai.workspace plugin tree 1\n"
_TOO_LARGE = b"molecule_ai.workspace too large 1\n"
_CHUNK = 1024 * 1024
# All paths of a tree together may be this long on average; one that the kernel accepts may have a hundred times that.
_NAME_BYTES_PER_ENTRY = 256
# A run replaces a plugin once, so who finds it replaced that often while reading it is not up against a run.
_ATTEMPTS = 10
_TYPE_BYTES = {"file": b"f", "directory": b"d", "link": b"l", "other": b"o"}
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Limits(NamedTuple):
    """What a tree may hold at most; a tree exactly at a limit passes. The root directory does not count as an entry."""

    max_bytes: int = 100 * 1024 * 1024
    max_entries: int = 10000
    max_depth: int = 64

    def is_too_deep(self, path: str, is_directory: bool) -> bool:
        """Whether ``path`` leads through more than ``max_depth`` directories below the root, itself included if it is one."""
        return path.count("/") + is_directory > self.max_depth


DEFAULT_LIMITS = Limits()


class ScanResult(NamedTuple):
    """A described tree, and the paths in it that do not belong to the wanted owner (their entries also carry ``uid`` and ``gid``)."""

    entries: Entries
    wrong_owner: list[str]


class Observed(NamedTuple):
    """What lies at a name. ``tree`` is None where it is larger than the limits; then ``digest`` stands for the directory, not for what is in it."""

    digest: str
    tree: ScanResult | None


def is_never_shipped(path: str, kind: str = "file") -> bool:
    """Whether a source's ``path`` stays at home: version control data and Python's compiled files."""
    parts = path.split("/")
    return ".git" in parts or "__pycache__" in parts or (kind == "file" and path.endswith(".pyc"))


def is_runtime_made(path: str, kind: str) -> bool:
    """Whether a live tree's ``path`` is a by-product of the runtime that imports the plugin's adapters.

    It is no drift: otherwise every workspace that was started once would differ. Links and devices of that name do count.
    """
    name = posixpath.basename(path)
    return (kind == "directory" and name == "__pycache__") or (kind == "file" and name.endswith(".pyc"))


def normalised_mode(mode: int, kind: str = "file") -> int:
    """The mode that an installed file or directory gets: of the source's mode only the owner's execute bit counts."""
    return 0o755 if kind == "directory" or mode & stat.S_IXUSR else 0o644


def normalise(entries: Entries) -> Entries:
    """A copy of ``entries`` with the modes that an installation of them gets."""
    return {path: dict(entry, mode=normalised_mode(entry["mode"], entry["type"])) for path, entry in entries.items()}


def entry(kind: str, mode: int, size: int = 0, sha256: str | None = None, target: str = "") -> Entry:
    """One entry of a tree."""
    return {"type": kind, "mode": mode, "size": size, "sha256": sha256, "target": target}


def scan(
    directory_fd: int,
    *,
    owner: Owner | None = None,
    limits: Limits = DEFAULT_LIMITS,
    ignore: Ignore | None = is_runtime_made,
    label: str = "the plugin tree",
) -> ScanResult:
    """Describe the tree below an open directory, without following any link and without changing anything.

    ``ignore`` is asked with each relative path and its type. ``label`` names the tree in errors. What vanishes while it is being read counts
    as not there. Raises :class:`WorkspaceError` when something cannot be read, :class:`TooLargeError` when a limit is exceeded.
    """
    return _Scanner(owner, limits, ignore, label).scan(directory_fd)


def observe(
    parent_fd: int,
    name: str,
    *,
    owner: Owner | None = None,
    limits: Limits = DEFAULT_LIMITS,
    ignore: Ignore | None = is_runtime_made,
    label: str = "the plugin tree",
) -> ScanResult | None:
    """Describe whatever lies at ``name`` in an open directory; None when there is nothing.

    What is no directory is a tree whose root entry is a file, a link or something else, so it differs from every plugin tree. A tree that another one
    replaces meanwhile is read again: of the old one, parts may be gone already. Raises :class:`WorkspaceError` as :func:`scan` does.
    """
    for _attempt in range(_ATTEMPTS):
        with contextlib.suppress(_Replaced):
            return _observe_once(parent_fd, name, _Scanner(owner, limits, ignore, label), label)
    raise WorkspaceError(f"{label} is replaced again and again while it is being read: run again when whatever does that has ended")


def observe_any_size(parent_fd: int, name: str, *, owner: Owner | None, limits: Limits, label: str) -> Observed | None:
    """Describe whatever lies at ``name`` as :func:`observe`, for somebody who wants it gone: no size makes it stay."""
    try:
        tree = observe(parent_fd, name, owner=owner, limits=limits, label=label)
        return Observed(tree_digest(tree.entries), tree) if tree is not None else None
    except TooLargeError:
        try:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        # Nobody reads it to its end, so this tells only whether it is still that directory with those names in it.
        identity = f"{status.st_dev} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
        return Observed(DIGEST_PREFIX + hashlib.sha256(_TOO_LARGE + identity.encode()).hexdigest(), None)


def _observe_once(parent_fd: int, name: str, scanner: _Scanner, label: str) -> ScanResult | None:
    """Describe it as :func:`observe`; raises :class:`_Replaced` when it is not there any more at the end."""
    try:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            return scanner.describe_root(parent_fd, name, status)
        directory_fd = safe_files.open_subdirectory(parent_fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkspaceError(f"cannot read {label}: {error.strerror}") from error
    try:
        # A tree with a mount in it can be moved but not be thrown away, and what is mounted is nobody's plugin.
        scanner.mount = safe_files.mount_id(parent_fd)
        scanner.require_same_mount(directory_fd, "")
        found = scanner.scan(directory_fd)
    except WorkspaceError as error:
        if _is_at(parent_fd, name, directory_fd):
            raise
        raise _Replaced from error
    else:
        if _is_at(parent_fd, name, directory_fd):
            return found
        raise _Replaced
    finally:
        os.close(directory_fd)


def _is_at(parent_fd: int, name: str, directory_fd: int) -> bool:
    """Whether the open directory is still the one of that name. While it is open, no other one gets its inode."""
    try:
        return os.path.samestat(os.fstat(directory_fd), os.stat(name, dir_fd=parent_fd, follow_symlinks=False))
    except OSError:
        return False


def tree_digest(entries: Entries) -> str:
    """``sha256:<hex>`` over names, types, modes and bytes.

    Every field has a fixed or a stated length, so no two different trees have the same serialisation.
    """
    digest = hashlib.sha256(_FORMAT + struct.pack(">Q", len(entries)))
    for path in sorted_paths(entries):
        item = entries[path]
        name = _as_bytes(path)
        digest.update(_TYPE_BYTES[item["type"]] + struct.pack(">Q", len(name)) + name + struct.pack(">I", item["mode"]))
        if item["type"] == "file":
            digest.update(struct.pack(">Q", item["size"]) + bytes.fromhex(item["sha256"]))
        elif item["type"] == "link":
            target = _as_bytes(item["target"])
            digest.update(struct.pack(">Q", len(target)) + target)
    return DIGEST_PREFIX + digest.hexdigest()


def bundle_name(digest: str) -> str:
    """The name, in a shipment, of the bundle that holds the tree of this digest."""
    return digest[len(DIGEST_PREFIX):] + ".tar.gz"


def compare(expected: Entries, observed: Entries, wrong_owner: Iterable[str] = (), owner: Owner | None = None) -> list[Drift]:
    """How ``observed`` differs from ``expected``, sorted by path: ``{"kind", "path", "expected", "observed"}``.

    ``kind`` is ``missing``, ``extra``, ``modified`` (another type, content or link target), ``mode`` or ``owner``. One path may differ in
    several ways and is then listed once per kind. ``owner`` only words the expectation.
    """
    wrong = frozenset(wrong_owner)
    drift: list[Drift] = []

    def add(kind: str, path: str, should: str, is_now: str) -> None:
        drift.append({"kind": kind, "path": path, "expected": should, "observed": is_now})

    for path in sorted_paths(set(expected) | set(observed)):
        should, is_now = expected.get(path), observed.get(path)
        if should is None and is_now is not None:
            add("extra", path, "absent", _describe(is_now))
        elif should is not None and is_now is None:
            add("missing", path, _describe(should), "absent")
        elif should is not None and is_now is not None:
            if any(should[field] != is_now[field] for field in ("type", "size", "sha256", "target")):
                add("modified", path, _describe(should), _describe(is_now))
            if should["mode"] != is_now["mode"] and should["type"] == is_now["type"]:
                add("mode", path, f"{should['mode']:04o}", f"{is_now['mode']:04o}")
            if path in wrong:
                wanted = f"{owner[0]}:{owner[1]}" if owner else "the plugin's owner"
                add("owner", path, wanted, f"{is_now.get('uid', '?')}:{is_now.get('gid', '?')}")
    return drift


def sorted_paths(paths: Iterable[str]) -> list[str]:
    """``paths`` in the order of their bytes, the same on every system."""
    return sorted(paths, key=_as_bytes)


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _describe(item: Entry) -> str:
    if item["type"] == "file":
        return f"file of {item['size']} bytes, sha256 {(item['sha256'] or '')[:16]}"
    if item["type"] == "link":
        return f"link to {printable(item['target'])}"
    return "directory" if item["type"] == "directory" else "special file"


class _Replaced(Exception):
    """The tree that was read is not the plugin's any more."""


class _Scanner:
    """One walk over one tree."""

    def __init__(self, owner: Owner | None, limits: Limits, ignore: Ignore | None, label: str) -> None:
        self._owner = owner
        self._limits = limits
        self._ignore = ignore
        self._label = label
        self._bytes = 0
        self._name_bytes = 0
        self.mount = ""
        self._entries: Entries = {}
        self._wrong_owner: list[str] = []

    def scan(self, directory_fd: int) -> ScanResult:
        status = os.fstat(directory_fd)
        self._add("", entry("directory", stat.S_IMODE(status.st_mode)), status)
        self._scan_directory(directory_fd, "")
        return ScanResult(self._entries, self._wrong_owner)

    def describe_root(self, parent_fd: int, name: str, status: os.stat_result) -> ScanResult:
        kind, mode = _kind(status.st_mode), stat.S_IMODE(status.st_mode)
        if kind == "file":
            self._scan_file(parent_fd, name, "")
        elif kind == "link":
            self._add("", entry("link", mode, target=os.readlink(name, dir_fd=parent_fd)), status)
        else:
            self._add("", entry("other", mode), status)
        return ScanResult(self._entries, self._wrong_owner)

    def _scan_directory(self, directory_fd: int, parent: str) -> None:
        try:
            # One more than allowed is found to be one too many below, unless it is ignored: nobody may make us list millions.
            names = safe_files.list_names(directory_fd, self._limits.max_entries * 2 + 1)
        except OSError as error:
            raise self._unreadable(parent, error) from error
        if len(names) > self._limits.max_entries * 2:
            raise self._too_many()
        for name in sorted(names):
            path = posixpath.join(parent, name)
            try:
                self._scan_entry(directory_fd, name, path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._unreadable(path, error) from error

    def _scan_entry(self, directory_fd: int, name: str, path: str) -> None:
        status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        kind = _kind(status.st_mode)
        if self._ignore is not None and self._ignore(path, kind):
            return
        # The root's own entry is in the dict too, so "more than" leaves room for exactly max_entries below it.
        self._name_bytes += len(path)
        if len(self._entries) > self._limits.max_entries:
            raise self._too_many()
        if self._name_bytes > self._limits.max_entries * _NAME_BYTES_PER_ENTRY:
            raise TooLargeError(f"{self._label} holds too many long paths (counted up to {printable(path, 200)}): remove what does not belong there")
        mode = stat.S_IMODE(status.st_mode)
        if kind == "directory":
            if self._limits.is_too_deep(path, True):
                raise TooLargeError(f"{self._where(path)} is nested deeper than {self._limits.max_depth} directories: remove what does not belong there")
            self._scan_subdirectory(directory_fd, name, path)
        elif kind == "file":
            self._scan_file(directory_fd, name, path)
        elif kind == "link":
            self._add(path, entry("link", mode, target=os.readlink(name, dir_fd=directory_fd)), status)
        else:
            self._add(path, entry("other", mode), status)

    def _scan_subdirectory(self, parent_fd: int, name: str, path: str) -> None:
        directory_fd = safe_files.open_subdirectory(parent_fd, name)
        try:
            self.require_same_mount(directory_fd, path)
            status = os.fstat(directory_fd)
            self._add(path, entry("directory", stat.S_IMODE(status.st_mode)), status)
            self._scan_directory(directory_fd, path)
        finally:
            os.close(directory_fd)

    def _scan_file(self, parent_fd: int, name: str, path: str) -> None:
        file_fd = os.open(name, _OPEN_FILE, dir_fd=parent_fd)
        try:
            status = os.fstat(file_fd)
            if not stat.S_ISREG(status.st_mode):
                raise WorkspaceError(f"{self._where(path)} changed its type while it was being read: run again")
            digest = hashlib.sha256()
            size = 0
            # Only bytes that were really read count: the size that a file claims may be stale or, for a growing file, too small.
            while True:
                chunk = os.read(file_fd, _CHUNK)
                if not chunk:
                    break
                size += len(chunk)
                if self._bytes + size > self._limits.max_bytes:
                    raise TooLargeError(
                        f"{self._label} holds more than {self._limits.max_bytes} bytes (counted up to {printable(path)}): remove what does not belong there"
                    )
                digest.update(chunk)
            self._bytes += size
            self._add(path, entry("file", stat.S_IMODE(status.st_mode), size, digest.hexdigest()), status)
        finally:
            os.close(file_fd)

    def _add(self, path: str, item: Entry, status: os.stat_result) -> None:
        if self._owner is not None and (status.st_uid, status.st_gid) != tuple(self._owner):
            item["uid"], item["gid"] = status.st_uid, status.st_gid
            self._wrong_owner.append(path)
        self._entries[path] = item

    def require_same_mount(self, directory_fd: int, path: str) -> None:
        """Raise :class:`WorkspaceError` for a directory that something else is mounted on, if ``mount`` is set."""
        if self.mount and safe_files.mount_id(directory_fd) != self.mount:
            raise WorkspaceError(f"{self._where(path)} is a mount point, so the plugin cannot be replaced: unmount it and run again")

    def _too_many(self) -> TooLargeError:
        return TooLargeError(f"{self._label} holds more than {self._limits.max_entries} files and directories: remove what does not belong there")

    def _where(self, path: str) -> str:
        return posixpath.join(self._label, printable(path)) if path else self._label

    def _unreadable(self, path: str, error: OSError) -> WorkspaceError:
        return WorkspaceError(f"cannot read {self._where(path)}: {error.strerror}")


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"
