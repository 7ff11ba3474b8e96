# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where plugins come from: each kind of source ends as a directory on the controller that can be scanned.

=================================  ==========================================================
``plugins/ecc``, ``/srv/ecc``      a directory; relative ones are searched like the files of a task
``ecc-1.0.tar.gz``, ``….tgz``      an archive, with or without one top-level directory
``local://ecc``, ``ecc``           a directory of that name in the registry directory
``github://owner/repository#ref``  a git repository on GitHub (or on another server with the same paths)
``git+https://…#ref``              a git repository; also ``git+ssh://`` and ``git+file:///``
=================================  ==========================================================

What a source yields is not trusted yet: links, special files, names, sizes and hashes are checked on the tree that came out of it.
"""
from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ..module_utils.errors import InvalidInputError
from ..module_utils.names import PLUGIN_NAME, validate_plugin_name
from . import git_source, signatures, source_archive, source_fingerprint
from .masking import mask_to_last_at
from .signatures import Signers

_GITHUB = re.compile(r"github://(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})/(?P<repository>[A-Za-z0-9_.-]{1,100})")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SSH_SHORTHAND = re.compile(r"[^/@:]+@[^/@:]+:")
_MAX_LENGTH = 2000
_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")


@dataclass(frozen=True)
class SourceSettings:
    """What the task says about all its sources.

    ``find`` maps a relative or absolute path of a task to an existing absolute one (it raises :class:`InvalidInputError`),
    ``timeout`` is in seconds and for everything that one source does on the network, ``max_bytes`` is the cap for one plugin. ``signers``: one of them
    must have signed it; ``None``: nobody needs to.
    """

    find: Callable[[str], str]
    registry: str | None
    github_url: str
    timeout: int
    max_bytes: int
    max_entries: int
    signers: Signers | None = None


@dataclass(frozen=True)
class SourceTree:
    """A plugin's files: the directory, the git commit that it is (if it is one), who signed it (if known yet), and what a user should know about it."""

    root: Path
    revision: str | None = None
    signed_by: str | None = None
    warnings: tuple[str, ...] = ()


class Source(ABC):
    """One source of one plugin. ``shown`` is what may be printed and recorded: it holds no credentials."""

    NAME: str
    shown: str
    signers: Signers | None = None

    @abstractmethod
    def cache_fields(self, max_entries: int) -> dict[str, object]:
        """Return what decides the content: two sources with equal fields are fetched once per run. ``max_entries``: what a plugin may have at most."""

    @abstractmethod
    def prepare(self, workspace: Path) -> SourceTree:
        """Bring the plugin's files here, if necessary into the empty directory ``workspace``; raise ``WorkspaceError``.

        What is signed as a whole (an archive, a commit) is verified before it is looked into.
        """

    def signed_by(self, tree: SourceTree, digest: str, directory: Path) -> str | None:
        """Return who signed what :meth:`prepare` returned, ``None`` if nobody needs to; ``directory`` is for temporary files. Raises ``WorkspaceError``."""
        return tree.signed_by


class DirectorySource(Source):
    """A directory on the controller, used where it lies."""

    NAME = "directory"

    def __init__(self, path: str, shown: str, signers: Signers | None = None) -> None:
        if not Path(path).is_dir():
            raise InvalidInputError(f"source {shown!r} is not a directory: {path} is something else; give a directory or a {_ARCHIVE_SUFFIXES[0]} archive")
        self._path = path
        self.shown = shown
        self.signers = signers

    def cache_fields(self, max_entries: int) -> dict[str, object]:
        return {"path": self._path, "content": source_fingerprint.of_tree(Path(self._path), max_entries), "signature": _signature_of(self._path, self.signers)}

    def prepare(self, workspace: Path) -> SourceTree:
        return SourceTree(Path(self._path))

    def signed_by(self, tree: SourceTree, digest: str, directory: Path) -> str | None:
        """A directory has no bytes to sign, so its signature is over the digest of what would be installed."""
        if self.signers is None:
            return None
        return signatures.verify_digest(self.signers, digest, Path(self._path), self.shown, directory)


class ArchiveSource(Source):
    """A gzip-compressed tar archive on the controller."""

    NAME = "archive"

    def __init__(self, path: str, shown: str, settings: SourceSettings) -> None:
        if not Path(path).is_file():
            raise InvalidInputError(f"source {shown!r} is not an archive: {path} is not a regular file")
        self._path = path
        self._settings = settings
        self.shown = shown
        self.signers = settings.signers

    def cache_fields(self, max_entries: int) -> dict[str, object]:
        return {"path": self._path, "content": source_fingerprint.of_file(Path(self._path)), "signature": _signature_of(self._path, self.signers)}

    def prepare(self, workspace: Path) -> SourceTree:
        archive, max_bytes = Path(self._path), self._settings.max_bytes
        copy, signed_by = None, None
        if self.signers is not None:
            copy = workspace / "verified-archive"
            signed_by = signatures.verify_archive(self.signers, archive, copy, max_bytes)
        root = source_archive.unpack(archive, workspace, max_bytes, self._settings.max_entries, copy)
        return SourceTree(root, signed_by=signed_by)


class RegistrySource(DirectorySource):
    """A plugin by its name in the registry, a directory of plugins on the controller."""

    NAME = "registry"

    def __init__(self, name: str, settings: SourceSettings) -> None:
        shown = f"local://{validate_plugin_name(name)}"
        if not settings.registry:
            raise InvalidInputError(f"source {shown!r} is looked up in a registry: set 'registry' to its directory, or write './{name}' for a path")
        path = Path(settings.registry) / name
        if path.is_symlink():
            raise InvalidInputError(f"source {shown!r} is a symbolic link in the registry ({path}): links are not followed, put the directory itself there")
        if not path.is_dir():
            raise InvalidInputError(f"source {shown!r} is not in the registry: there is no directory {path}")
        super().__init__(str(path), shown, settings.signers)


class GitSource(Source):
    """A commit of a git repository."""

    NAME = "git"

    def __init__(self, text: str, settings: SourceSettings, allow_unpinned: bool) -> None:
        self._reference = git_source.parse(text, allow_unpinned)
        self._settings = settings
        self.signers = settings.signers
        self.shown = self._reference.shown

    def cache_fields(self, max_entries: int) -> dict[str, object]:
        return {"url": self._reference.url, "credentials": self._reference.credentials, "ref": self._reference.ref, "unpinned": self._reference.allow_unpinned}

    def prepare(self, workspace: Path) -> SourceTree:
        settings = self._settings
        checkout = git_source.checkout(self._reference, workspace, settings.timeout, settings.max_bytes, settings.max_entries, settings.signers)
        return SourceTree(checkout.root, checkout.revision, checkout.signed_by, checkout.warnings)


class GitHubSource(GitSource):
    """A commit of a repository on GitHub; ``github_url`` says which server that is."""

    NAME = "github"

    def __init__(self, text: str, settings: SourceSettings, allow_unpinned: bool) -> None:
        address, mark, ref = text.partition("#")
        match = _GITHUB.fullmatch(address)
        if not match or match["repository"] in (".", ".."):
            raise InvalidInputError(f"source {mask_to_last_at(text)!r} is not a GitHub repository: write github://<owner>/<repository>#<tag or commit>")
        super().__init__(f"git+{settings.github_url.rstrip('/')}/{match['owner']}/{match['repository']}{mark}{ref}", settings, allow_unpinned)
        self.shown = address + mark + ref


def parse_source(text: str, settings: SourceSettings, allow_unpinned: bool) -> Source:
    """Return the source that ``text`` names; raise :class:`InvalidInputError` when it names none.

    Nothing is fetched yet, but everything that can be refused without a network is refused here.
    """
    if not text or len(text) > _MAX_LENGTH or any(ord(character) < 32 or ord(character) == 127 for character in text):
        shown = mask_to_last_at(text)[:100]
        raise InvalidInputError(f"source {shown!r} is not allowed: it is empty, longer than {_MAX_LENGTH} characters or contains control characters")
    if text.startswith("github://"):
        return GitHubSource(text, settings, allow_unpinned)
    if text.startswith("git+"):
        return GitSource(text, settings, allow_unpinned)
    if text.startswith("local://"):
        return RegistrySource(text[len("local://"):], settings)
    if _SCHEME.match(text) or _SSH_SHORTHAND.match(text):
        raise InvalidInputError(
            f"source {mask_to_last_at(git_source.without_credentials(text))!r} is of no known kind: "
            f"use a directory, a {' or '.join(_ARCHIVE_SUFFIXES)} archive, "
            "local://<name>, github://<owner>/<repository>#<ref>, git+https://<url>#<ref>, git+ssh://<url>#<ref> or git+file:///<path>#<ref>"
        )
    if text.endswith(_ARCHIVE_SUFFIXES):
        return ArchiveSource(settings.find(text), text, settings)
    if PLUGIN_NAME.fullmatch(text):
        return RegistrySource(text, settings)
    return DirectorySource(settings.find(text), text, settings.signers)


def _signature_of(path: str, signers: Signers | None) -> str | None:
    """Return the fingerprint of the signature beside ``path``, where one is needed."""
    return source_fingerprint.of_file(signatures.beside(Path(path))) if signers is not None else None
