# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Receipts: what was recorded about an install or a removal, one file per plugin.

A receipt is a claim, never a fact: what is installed is read from the files. It answers what the files cannot: where a version came from, which
job brought it, and whether the runtime still has to be restarted for it (``restart_pending``).
"""
from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Dict, Mapping, NamedTuple

from . import directory_files, safe_files
from .errors import WorkspaceError
from .names import is_integer, is_plugin_name
from .plugin_tree import DIGEST

Receipt = Dict[str, Any]

VERSION = 1
INSTALL_ID = re.compile(r"[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SUFFIX = ".json"
# Two texts of the longest that a request may hold take 12 bytes for each character outside of the basic plane, and a job 4096 bytes.
MAX_BYTES = 128 * 1024
_KEYS = frozenset(("version", "name", "state", "digest", "source", "plugin_version", "installed_at", "job", "restart_pending", "install_id"))


class Found(NamedTuple):
    """A receipt, or the reason why there is a file but no receipt; both None: there is none."""

    receipt: Receipt | None
    problem: str | None


def make(
    name: str, state: str, digest: str | None, source: str | None, plugin_version: str | None, job: Mapping[str, Any]
) -> Receipt:
    """A receipt for what is being done now; the runtime has not been restarted for it yet."""
    return {
        "version": VERSION,
        "name": name,
        "state": state,
        "digest": digest,
        "source": source,
        "plugin_version": plugin_version,
        "installed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "job": dict(job),
        "restart_pending": True,
        "install_id": os.urandom(16).hex(),
    }


def file_name(plugin_name: str) -> str:
    """The name of a plugin's receipt in the directory of receipts."""
    return plugin_name + _SUFFIX


def encode(receipt: Receipt) -> bytes:
    """The bytes of a receipt's file."""
    return (json.dumps(receipt, sort_keys=True, indent=1) + "\n").encode("ascii")


def read(receipts_fd: int | None, plugin_name: str) -> Found:
    """The plugin's receipt. A broken one hides nothing: it is none, with a sentence that says so. ``receipts_fd`` None: no receipts at all."""
    if receipts_fd is None:
        return Found(None, None)
    label = f"receipt {file_name(plugin_name)}"
    try:
        opened = directory_files.read_file(receipts_fd, file_name(plugin_name), label, MAX_BYTES)
    except directory_files.LeaveAlone as reason:
        return Found(None, f"the {label} is ignored: it {reason}")
    except WorkspaceError as error:
        return Found(None, str(error))
    if opened is None:
        return Found(None, None)
    problem = "is not JSON"
    try:
        receipt = json.loads(opened.content.decode("utf-8"))
        problem = problem_of(receipt, plugin_name)
    except (ValueError, RecursionError):
        pass
    return Found(None, f"the {label} is ignored: it {problem}") if problem else Found(receipt, None)


def read_all(receipts_fd: int | None) -> dict[str, Found]:
    """All receipts, by plugin name."""
    found: dict[str, Found] = {}
    for entry in sorted(os.listdir(receipts_fd)) if receipts_fd is not None else []:
        name = entry[: -len(_SUFFIX)]
        if entry.endswith(_SUFFIX) and is_plugin_name(name):
            found[name] = read(receipts_fd, name)
    return found


def write(receipts_fd: int, receipt: Receipt) -> None:
    """Write a receipt in one step and for good."""
    safe_files.write_file(receipts_fd, file_name(receipt["name"]), encode(receipt))


def remove(receipts_fd: int, plugin_name: str) -> None:
    """Remove the plugin's receipt, if there is one."""
    safe_files.remove_tree(receipts_fd, file_name(plugin_name))
    os.fsync(receipts_fd)


def problem_of(receipt: object, plugin_name: str) -> str:
    """What is wrong with a decoded receipt; empty when nothing is."""
    if not isinstance(receipt, dict) or frozenset(receipt) != _KEYS:
        return "does not hold exactly the fields of a receipt"
    if not is_integer(receipt["version"]) or receipt["version"] != VERSION:
        return f"has the unknown version {receipt['version']!r}"
    digest_pattern = DIGEST if receipt["state"] == "present" else None
    checks = {
        "name": receipt["name"] == plugin_name,
        "state": receipt["state"] in ("present", "absent"),
        "digest": receipt["digest"] is None if digest_pattern is None else _matches(digest_pattern, receipt["digest"]),
        "source": receipt["source"] is None or isinstance(receipt["source"], str),
        "plugin_version": receipt["plugin_version"] is None or isinstance(receipt["plugin_version"], str),
        "installed_at": _matches(_TIME, receipt["installed_at"]),
        "job": isinstance(receipt["job"], dict),
        "restart_pending": isinstance(receipt["restart_pending"], bool),
        "install_id": _matches(INSTALL_ID, receipt["install_id"]),
    }
    wrong = [field for field, is_valid in checks.items() if not is_valid]
    return "has an invalid " + ", ".join(wrong) if wrong else ""


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
