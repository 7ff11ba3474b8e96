# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin's own description (``plugin.yaml``, ``manifest.json``), the platform's hashes over it, and whom it is for.

The platform knows several hashes that are easily mixed up. Those that a plugin carries of itself have one function each here, named after where they
stand; that of an install request, over the bytes of ``plugin.yaml`` alone, is the one in the tree's entries. None of them covers modes or empty
directories: what we compare by is our own digest over the tree.
"""
from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Collection

import yaml

from ..module_utils.errors import InvalidInputError
from ..module_utils.plugin_tree import DIGEST, Entries
from ..module_utils.request_fields import MAX_TEXT
from .git_source import FULL_COMMIT

PLUGIN_YAML = "plugin.yaml"
MANIFEST_JSON = "manifest.json"
_MAX_DESCRIPTION_BYTES = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """What ``plugin.yaml`` says, as far as an installation needs it. ``runtimes`` empty: made for every runtime."""

    name: str | None
    version: str | None
    runtimes: tuple[str, ...]
    content_sha256: str | None


def read_manifest(root: Path, shown: str) -> Manifest:
    """Read ``plugin.yaml`` of the plugin at ``root``; raise :class:`InvalidInputError` when it is missing or not what it must be.

    ``shown`` names the source in errors.
    """
    try:
        content = _read_description(root / PLUGIN_YAML, shown)
    except FileNotFoundError:
        raise InvalidInputError(f"{shown} is not a plugin: it has no {PLUGIN_YAML}") from None
    data = _parse_yaml(content, shown)
    if not isinstance(data, dict):
        raise InvalidInputError(f"{shown}: {PLUGIN_YAML} must be a mapping of names to values")
    runtimes = data.get("runtimes")
    if runtimes is None:
        runtimes = []
    if not isinstance(runtimes, list) or not all(isinstance(runtime, str) for runtime in runtimes):
        raise InvalidInputError(f"{shown}: 'runtimes' in {PLUGIN_YAML} must be a list of names, for example [claude_code]")
    content_sha256 = data.get("sha256")
    if content_sha256 is not None and not isinstance(content_sha256, str):
        raise InvalidInputError(f"{shown}: 'sha256' in {PLUGIN_YAML} must be a text of 64 hexadecimal digits in quotes")
    version = _optional_text(data.get("version"))
    if version is not None and len(version) > MAX_TEXT:
        raise InvalidInputError(f"{shown}: 'version' in {PLUGIN_YAML} has {len(version)} characters: use at most {MAX_TEXT}")
    return Manifest(_optional_text(data.get("name")), version, tuple(runtimes), content_sha256)


def verify_embedded_hashes(root: Path, entries: Entries, manifest: Manifest, shown: str) -> None:
    """Check the hashes that the plugin carries of itself, if it does; raise :class:`InvalidInputError` when one is wrong or unreadable."""
    expected = _manifest_json_hash(root, shown)
    if expected is not None:
        _require_equal(manifest_json_sha256(root, entries), expected, f"{shown}: the files do not match 'sha256' in {MANIFEST_JSON}")
    if manifest.content_sha256 is not None:
        _require_equal(plugin_yaml_content_sha256(entries), manifest.content_sha256, f"{shown}: the files do not match 'sha256' in {PLUGIN_YAML}")


def manifest_json_sha256(root: Path, entries: Entries) -> str:
    """The hash in the field ``sha256`` of ``manifest.json``: over path, NUL and bytes of every file but that one."""
    digest = hashlib.sha256()
    # No path contains NUL, so sorting by path and NUL is the same as sorting the whole entries.
    for path in sorted((path for path, entry in entries.items() if entry["type"] == "file"), key=lambda path: path.encode() + b"\0"):
        if path == MANIFEST_JSON:
            continue
        digest.update(path.encode() + b"\0")
        with (root / path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def plugin_yaml_content_sha256(entries: Entries) -> str:
    """The hash in the field ``sha256`` of ``plugin.yaml``: over a JSON list of every file's path and hash but that one's."""
    listing = sorted([path, entry["sha256"]] for path, entry in entries.items() if entry["type"] == "file" and path != PLUGIN_YAML)
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def validate_pins(digest: str | None, sha256: str | None, commit: str | None, name: str) -> None:
    """Raise :class:`InvalidInputError` if a hash that the user gave cannot be one."""
    if digest is not None and not DIGEST.fullmatch(digest):
        raise InvalidInputError(f"plugin {name}: digest {digest!r} is not one: it is 'sha256:' and 64 hexadecimal digits, as this module returns it")
    if sha256 is not None and not _SHA256.fullmatch(sha256.lower()):
        raise InvalidInputError(f"plugin {name}: sha256 {sha256!r} is not one: it is the 64 hexadecimal digits that 'sha256sum {PLUGIN_YAML}' prints")
    if commit is not None and not FULL_COMMIT.fullmatch(commit):
        raise InvalidInputError(f"plugin {name}: commit {commit!r} is not one: it is the 40 hexadecimal digits that 'git rev-parse <tag>^{{commit}}' prints")


def require_supported_runtime(name: str, runtimes: Collection[str], runtime: str | None) -> None:
    """Raise :class:`InvalidInputError` unless a plugin for ``runtimes`` (empty: all) runs on ``runtime`` (``None`` or empty: unknown)."""
    if not runtimes:
        return
    supported = ", ".join(sorted(runtimes))
    if not runtime or not runtime.strip():
        raise InvalidInputError(
            f"plugin {name} is made for {supported}, and this workspace's runtime is not known: set 'runtime', or any_runtime to install it anyway"
        )
    if _comparable(runtime) not in {_comparable(candidate) for candidate in runtimes}:
        raise InvalidInputError(f"plugin {name} is made for {supported}, not for this workspace's runtime {runtime}: set any_runtime to install it anyway")


def _comparable(runtime: str) -> str:
    return runtime.strip().lower().replace("_", "-")


def _manifest_json_hash(root: Path, shown: str) -> str | None:
    try:
        content = _read_description(root / MANIFEST_JSON, shown)
    except FileNotFoundError:
        return None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{shown}: {MANIFEST_JSON} is not JSON ({error})") from error
    if isinstance(data, dict) and "sha256" not in data:
        return None
    expected = data["sha256"] if isinstance(data, dict) else None
    if not isinstance(expected, str):
        raise InvalidInputError(f"{shown}: {MANIFEST_JSON} must be an object whose 'sha256', if there is one, is a text")
    return expected


def _require_equal(actual: str, expected: str, sentence: str) -> None:
    if actual != expected.strip().lower():
        raise InvalidInputError(f"{sentence}: they have {actual}, expected was {expected}; get the plugin again from its publisher")


def _read_description(path: Path, shown: str) -> bytes:
    """Read one small file; ``FileNotFoundError`` when there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_DESCRIPTION_BYTES + 1)
    except IsADirectoryError:
        raise InvalidInputError(f"{shown}: {path.name} is a directory, but must be a file") from None
    if len(content) > _MAX_DESCRIPTION_BYTES:
        raise InvalidInputError(f"{shown}: {path.name} is larger than {_MAX_DESCRIPTION_BYTES} bytes")
    return content


def _parse_yaml(content: bytes, shown: str) -> object:
    try:
        data: object = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInputError(f"{shown}: {PLUGIN_YAML} is not valid YAML{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{shown}: {PLUGIN_YAML} is not valid YAML: {' '.join(str(error).split())}") from error
    return data


def _optional_text(value: object) -> str | None:
    """YAML reads ``version: 1.0`` as a number; it means the text."""
    return None if value is None else str(value)
