# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles (one packed plugin tree) and shipments (the bundles that one workspace needs), both deterministic.

A bundle is a tar.gz whose members are relative to the plugin's root, directories included, with normalised modes, no owner and no time.
A shipment is an uncompressed tar of bundles, named ``<hex of the tree's digest>.tar.gz``: what is compressed already is not compressed again.
"""
from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from pathlib import Path
from typing import BinaryIO, Mapping

from ..module_utils.errors import InvalidInputError
from ..module_utils.plugin_tree import Entries, Entry, bundle_name, sorted_paths
from ..module_utils.printable import printable

_COMPRESSION_LEVEL = 6


def write_bundle(root: Path, entries: Entries, destination: Path, shown: str) -> None:
    """Pack the tree at ``root``, which ``entries`` (with normalised modes) describe, into ``destination``.

    Every byte that is packed is compared with ``entries``: :class:`InvalidInputError` when a file changed since it was described.
    """
    with destination.open("xb") as raw, _compressed(raw) as compressed, tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted_paths(entries):
            entry = entries[path]
            if path and entry["type"] == "directory":
                tar.addfile(_member(path, entry))
            elif path:
                _add_file(tar, root, path, entry, shown)


def read_bundled_files(bundle: Path, paths: set[str]) -> dict[str, bytes]:
    """Return the bytes of several files of a bundle, reading it once."""
    found: dict[str, bytes] = {}
    with tarfile.open(bundle, mode="r|gz") as tar:
        for member in tar:
            if len(found) == len(paths):
                break
            if member.name in paths and (content := tar.extractfile(member)) is not None:
                found[member.name] = content.read()
    return found


def write_shipment(bundles: Mapping[str, Path], destination: Path) -> None:
    """Put bundles, by the digest of their tree, into one file."""
    with tarfile.open(destination, mode="x", format=tarfile.PAX_FORMAT) as tar:
        for digest in sorted(bundles):
            member = tarfile.TarInfo(bundle_name(digest))
            with bundles[digest].open("rb") as bundle:
                member.size = os.fstat(bundle.fileno()).st_size
                member.mode = 0o600
                tar.addfile(member, bundle)


def _compressed(raw: BinaryIO) -> gzip.GzipFile:
    """A gzip stream whose header names no file and no time."""
    return gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=_COMPRESSION_LEVEL, mtime=0)


def _member(path: str, entry: Entry) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type = tarfile.DIRTYPE if entry["type"] == "directory" else tarfile.REGTYPE
    member.mode = entry["mode"]
    member.size = entry["size"]
    return member


def _add_file(tar: tarfile.TarFile, root: Path, path: str, entry: Entry, shown: str) -> None:
    changed = InvalidInputError(f"{shown}: {printable(path)} changed while it was being packed: run again when nothing writes to the source")
    try:
        descriptor = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise changed from error
    with os.fdopen(descriptor, "rb") as file:
        reader = _HashingReader(file)
        try:
            tar.addfile(_member(path, entry), reader)
        except OSError as error:
            if error.errno is not None:
                raise
            raise changed from error
        if reader.digest.hexdigest() != entry["sha256"] or file.read(1):
            raise changed


class _HashingReader:
    """Passes bytes on and hashes them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data
