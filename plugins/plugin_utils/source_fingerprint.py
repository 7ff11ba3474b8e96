# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a file or directory on the controller is still what it was, told from what the kernel says of it without reading its content.

A play may render a source for each host, or change it between two tasks, so that it is another one although its path is the same. A write changes the
time of the last status change (``st_ctime``), which no program can set, and a replacement changes the inode.
"""
from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Iterator

from ..module_utils.plugin_tree import is_never_shipped


def of_file(path: Path) -> str:
    """Return the fingerprint of what ``path`` leads to; one that cannot be looked at has one too, because whoever reads it says why."""
    try:
        return _of_status(os.stat(path))
    except OSError as error:
        return f"error {error.errno}"


def of_tree(root: Path, max_entries: int) -> str:
    """Return the fingerprint of the directory ``root`` and all below it that may be shipped, links not followed.

    After more than ``max_entries`` entries it ends: such a tree is refused anyway.
    """
    lines = [of_file(root)]
    for path, fingerprint in _entries(root, ""):
        lines.append(f"{path}\0{fingerprint}")
        if len(lines) > max_entries + 1:
            break
    return hashlib.sha256("\0\0".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def _entries(directory: Path | str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield path below the root and fingerprint of all below ``directory``, which is the root's ``prefix``."""
    try:
        with os.scandir(directory) as found:
            for entry in found:
                path = prefix + entry.name
                is_directory = entry.is_dir(follow_symlinks=False)
                if is_never_shipped(path, "directory" if is_directory else "file"):
                    continue
                yield path, _of_status(entry.stat(follow_symlinks=False))
                if is_directory:
                    yield from _entries(entry.path, path + "/")
    except OSError as error:
        yield prefix, f"error {error.errno}"


def _of_status(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
