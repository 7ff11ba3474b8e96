# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a source to a verified plugin that can be sent: fetched, checked and packed once per run."""
from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Callable

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.plugin_tree import Entries, Limits, is_never_shipped, normalise, scan, tree_digest
from ..module_utils.printable import printable
from . import bundle, manifest, secret_scan
from .run_cache import RunCache, cache_key
from .secret_scan import SecretScan
from .sources import Source

# What people keep in a repository's root for the repository's sake; below the root such a name is the plugin's own content.
REPOSITORY_FILES = frozenset(
    [
        ".circleci", ".codecov.yml", ".editorconfig", ".gitattributes", ".github", ".gitignore", ".gitkeep", ".gitlab", ".gitlab-ci.yml", ".gitmodules",
        ".git-blame-ignore-revs", ".idea", ".mailmap", ".markdownlint.json", ".markdownlint.yaml", ".pre-commit-config.yaml", ".travis.yml", ".vscode",
        ".yamllint",
    ]
)
_DESCRIPTION = "description.json"
_ENTRIES = "entries.json"
_BUNDLE = "bundle.tar.gz"


@dataclass(frozen=True)
class PreparedPlugin:
    """A verified plugin on the controller: ``bundle`` holds the files, ``entries`` describes them with normalised modes.

    ``source`` is where it came from, as it may be shown. ``runtimes`` empty: made for every runtime. ``revision`` is the git commit it was read from, if any,
    ``signed_by`` the allowed signer whose signature was verified, if one had to be,
    ``secret_scan`` what seems to be a secret in it (``None``: nobody looked).
    """

    source: str
    directory: Path
    digest: str
    declared_name: str | None
    version: str | None
    runtimes: tuple[str, ...]
    plugin_yaml_sha256: str
    revision: str | None
    signed_by: str | None
    secret_scan: SecretScan | None
    warnings: tuple[str, ...]

    @property
    def bundle(self) -> Path:
        return self.directory / _BUNDLE

    @cached_property
    def entries(self) -> Entries:
        loaded: Entries = json.loads((self.directory / _ENTRIES).read_text(encoding="utf-8"))
        return loaded

    def warnings_for(self, name: str) -> list[str]:
        """Return what a user should know who installs this as the plugin ``name``."""
        if self.declared_name is None or self.declared_name == name:
            return []
        return [f"plugin {name} calls itself {self.declared_name!r} in plugin.yaml; its identity on the workspace is the directory name {name}"]

    def require_pins(self, name: str, digest: str | None, sha256: str | None, commit: str | None) -> None:
        """Raise :class:`InvalidInputError` unless the content is the one that the user's hashes name (``None``: not pinned by it)."""
        if commit is not None and self.revision is None:
            raise InvalidInputError(f"plugin {name} is pinned to the commit {commit}, but {self.source} is no git repository: pin it with 'digest' instead")
        if commit is not None and commit.lower() != self.revision:
            raise InvalidInputError(
                f"plugin {name}: {self.source} is the commit {self.revision}, but {commit} was asked for: its tag was moved, so find out by whom and why"
            )
        if digest is not None and digest != self.digest:
            raise InvalidInputError(f"plugin {name} has the digest {self.digest}, but {digest} was asked for: check where the source comes from")
        if sha256 is not None and sha256.lower() != self.plugin_yaml_sha256:
            raise InvalidInputError(
                f"plugin {name} has a plugin.yaml with the sha256 {self.plugin_yaml_sha256}, but {sha256} was asked for: check where the source comes from"
            )


def prepare(source: Source, include_repository_files: bool, limits: Limits, cache: RunCache, scan: bool = True) -> PreparedPlugin:
    """Return the plugin that ``source`` yields; in a run, equal sources are prepared once. A directory or archive that was changed since is another one.

    ``scan``: look for secrets as well.

    Everything about the files is verified here; what depends on the workspace (its runtime) or on the task (pins, allowlist) is not.
    Raises ``WorkspaceError``.
    """
    signers = source.signers.fingerprint if source.signers is not None else None
    fields = {"kind": source.NAME, **source.cache_fields(limits.max_entries), "repository_files": include_repository_files, "limits": list(limits)}
    fields.update(signers=signers, scan=scan)
    key = cache_key("plugin", fields)
    try:
        directory = cache.once(key, _maker(source, include_repository_files, limits, scan))
    except OSError as error:
        raise WorkspaceError(f"{source.shown} cannot be prepared on the controller: {error}") from error
    description = json.loads((directory / _DESCRIPTION).read_text(encoding="utf-8"))
    scanned = description["secret_scan"]
    return PreparedPlugin(
        source=source.shown,
        directory=directory,
        digest=description["digest"],
        declared_name=description["declared_name"],
        version=description["version"],
        runtimes=tuple(description["runtimes"]),
        plugin_yaml_sha256=description["plugin_yaml_sha256"],
        revision=description["revision"],
        signed_by=description["signed_by"],
        secret_scan=SecretScan(tuple(scanned["found"]), tuple(scanned["skipped"])) if scanned is not None else None,
        warnings=tuple(description["warnings"]),
    )


def describe_tree(root: Path, limits: Limits, shown: str) -> Entries:
    """Return the entries of a source's tree with normalised modes, repository files included.

    Raises :class:`InvalidInputError` for links, special files and names that are not printable UTF-8 text, with the path.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        entries = scan(descriptor, limits=limits, ignore=is_never_shipped, label=shown).entries
    finally:
        os.close(descriptor)
    for path, entry in entries.items():
        if printable(path) != path:
            raise InvalidInputError(f"{shown} contains the name '{printable(path)}', which is not printable UTF-8 text: rename it")
        if entry["type"] not in ("file", "directory"):
            kind = "a symbolic link" if entry["type"] == "link" else "a special file"
            raise InvalidInputError(f"{shown} contains {path!r}, which is {kind}: only directories and regular files are allowed")
    return normalise(entries)


def without_repository_files(entries: Entries) -> Entries:
    """Return ``entries`` without what belongs to the repository and not to the plugin."""
    return {path: entry for path, entry in entries.items() if path.split("/", 1)[0] not in REPOSITORY_FILES}


def _maker(source: Source, include_repository_files: bool, limits: Limits, scan: bool) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        workspace = directory / "source"
        workspace.mkdir()
        tree = source.prepare(workspace)
        entries = describe_tree(tree.root, limits, source.shown)
        declared = manifest.read_manifest(tree.root, source.shown)
        # The publisher's hashes are over the whole repository, whatever of it we ship.
        manifest.verify_embedded_hashes(tree.root, entries, declared, source.shown)
        shipped = entries if include_repository_files else without_repository_files(entries)
        digest = tree_digest(shipped)
        signed_by = source.signed_by(tree, digest, directory)
        bundle.write_bundle(tree.root, shipped, directory / _BUNDLE, source.shown)
        scanned = secret_scan.scan_bundle(directory / _BUNDLE) if scan else None
        description = {
            "digest": digest,
            "declared_name": declared.name,
            "version": declared.version,
            "runtimes": declared.runtimes,
            "plugin_yaml_sha256": entries[manifest.PLUGIN_YAML]["sha256"],
            "revision": tree.revision,
            "signed_by": signed_by,
            "secret_scan": dataclasses.asdict(scanned) if scanned is not None else None,
            "warnings": tree.warnings,
        }
        (directory / _ENTRIES).write_text(json.dumps(shipped), encoding="utf-8")
        (directory / _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
        shutil.rmtree(workspace)

    return make
