# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One commit of a git repository, as a plain directory, with the controller's ``git``.

The files are read out of the object store and not checked out, so no attribute, filter or hook of the repository or of the user
changes a byte: the tree is exactly the commit's. Submodules are not fetched.
"""
from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Sequence, cast
from urllib.parse import urlsplit, urlunsplit

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.plugin_tree import is_never_shipped
from ..module_utils.printable import printable
from .masking import mask_to_last_at, mask_url_credentials
from .signatures import Signers, reason_of, refusal, signer_of
from .source_archive import write_file

_SCHEMES = ("https", "ssh", "file")
FULL_COMMIT = re.compile(r"[0-9a-fA-F]{40}")
_HOST = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9.:\[\]_-]*")
# The characters and sequences that git itself forbids in ref names (git check-ref-format).
_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|\.$|/$|^[-/.]|^@$")
_TREE_ENTRY = re.compile(rb"(?P<mode>[0-7]+) (?P<type>[a-z]+) (?P<object>[0-9a-f]+) +(?P<size>[0-9]+|-)\t(?P<path>.+)", re.DOTALL)
_SHORTEST_SECRET = 4
# What comes of an unescaped / or # in "user:password@host".
_PASSWORD_IN_PATH = re.compile(r":.*@|#.*@")
_FETCH_OPTIONS = ("--quiet", "--no-tags", "--no-recurse-submodules")
# Not below refs/heads, where git refuses the object of an annotated tag.
_WANTED = "refs/wanted"
# Variables that would point git at another repository than ours; a run started from a git hook has them.
_REPOSITORY_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_COMMON_DIR", "GIT_PREFIX"
)


@dataclass(frozen=True)
class GitReference:
    """A repository and what is wanted of it. ``url`` has no credentials, ``credentials`` is ``user:password`` as it stood in the URL."""

    url: str
    ref: str
    allow_unpinned: bool
    credentials: str
    shown: str


@dataclass(frozen=True)
class GitCheckout:
    """A commit's files, the commit's full id, who signed it (``None``: nobody was asked for), and what was left out."""

    root: Path
    revision: str
    signed_by: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _TreeFile:
    path: str
    object_id: str
    size: int
    executable: bool


def parse(text: str, allow_unpinned: bool) -> GitReference:
    """Return the reference that ``git+<url>#<ref>`` names; raise :class:`InvalidInputError` if it is none or not pinned."""
    address, mark, ref = text[len("git+"):].partition("#")
    shown = "git+" + without_credentials(address) + mark + ref
    masked = mask_to_last_at(shown)
    try:
        parts = urlsplit(address)
        port_is_valid = parts.port != 0
    except ValueError:
        raise InvalidInputError(f"source {masked!r} is not a URL: write git+https://<host>/<path>#<ref>, and in a password %2F for / and %23 for #") from None
    if parts.scheme not in _SCHEMES:
        raise InvalidInputError(f"source {masked!r} is not allowed: use one of {', '.join(f'git+{scheme}://' for scheme in _SCHEMES)}")
    is_file = parts.scheme == "file"
    host_is_valid = not parts.netloc if is_file else bool(port_is_valid and _HOST.fullmatch(parts.netloc.rpartition("@")[2]))
    if not host_is_valid or not parts.path.strip("/") or parts.query:
        raise InvalidInputError(f"source {masked!r} is not a repository: write git+https://<host>/<path>#<ref> or git+file:///<path>#<ref>")
    if not is_file and _PASSWORD_IN_PATH.search(parts.path + mark + ref):
        raise InvalidInputError(f"source {masked!r} seems to have a part of a password in its path: write there %2F for /, %23 for # and %40 for @")
    user = parts.username or ""
    if parts.scheme == "ssh" and parts.password is not None:
        raise InvalidInputError(f"source {shown!r} has a password, which ssh does not take from a URL: use an ssh key or an agent")
    if user.startswith("-"):
        raise InvalidInputError(f"source {shown!r} has a user name that starts with '-': give the real one")
    credentials = ""
    if parts.scheme == "https" and "@" in parts.netloc:
        credentials = f"{user}:{parts.password or ''}"
        address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    _validate_ref(ref, bool(mark), allow_unpinned, shown)
    if FULL_COMMIT.fullmatch(ref):
        # git and the servers write commit ids in lower case only.
        ref = ref.lower()
    return GitReference(address, ref, allow_unpinned, credentials, shown)


def without_credentials(url: str) -> str:
    """Return ``url`` as it may be shown: without what stands before the host (only ssh keeps its user name) and without a query."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = rest.partition("/")
    user_info, at_sign, host = authority.rpartition("@")
    user = user_info.partition(":")[0] + at_sign if scheme.endswith("ssh") else ""
    return scheme + separator + user + host + slash + path.partition("?")[0]


def checkout(
    reference: GitReference, workspace: Path, timeout: int, max_bytes: int, max_entries: int, signers: Signers | None = None
) -> GitCheckout:
    """Fetch the commit and write its files below ``workspace``; everything together takes at most ``timeout`` seconds on the network.

    With ``signers``, a tag must be signed itself by one of them, and where no tag is named, the commit.

    Raises :class:`InvalidInputError` when the ref is not a pin, does not exist, is not signed or its tree is not plain, :class:`WorkspaceError`
    when git or the server fails.
    """
    with _Repository(reference, workspace, timeout) as repository:
        commit = repository.fetch()
        signed_by = repository.signed_by(commit, signers) if signers is not None else None
        files, warnings = _plain_files(repository.tree(commit), reference, max_bytes, max_entries)
        root = workspace / "tree"
        root.mkdir()
        repository.write_files(files, root)
    return GitCheckout(root, commit, signed_by, tuple(warnings))


def _validate_ref(ref: str, given: bool, allow_unpinned: bool, shown: str) -> None:
    if not ref:
        if given or not allow_unpinned:
            raise InvalidInputError(f"source {shown!r} is not pinned: append '#' and a tag or the full commit SHA, or set allow_unpinned")
        return
    if _FORBIDDEN_IN_REF.search(ref):
        raise InvalidInputError(f"source {shown!r} has the ref {ref!r}, which git does not allow: append '#' and a tag or the full commit SHA")


class _Repository:
    """A bare repository that exists for the length of one fetch."""

    def __init__(self, reference: GitReference, workspace: Path, timeout: int) -> None:
        self._reference = reference
        self._directory = workspace / "repository.git"
        self._credential_file = workspace / "credentials"
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._is_tag = False

    def __enter__(self) -> _Repository:
        self._write_credentials()
        self._git(["init", "--bare", "--quiet", "--template=", "--", str(self._directory)], in_repository=False)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._credential_file.unlink(missing_ok=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def fetch(self) -> str:
        """Fetch what is wanted and return the commit's id, verified to be the one that was asked for."""
        ref = self._reference.ref
        if FULL_COMMIT.fullmatch(ref):
            return self._fetch_commit(ref)
        offered = self._offered([f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}", f"refs/heads/{ref}"] if ref else ["HEAD"])
        tag, branch = f"refs/tags/{ref}", f"refs/heads/{ref}"
        if ref and tag in offered:
            self._is_tag = True
            expected = offered.get(tag + "^{}", offered[tag])
            self._fetch(tag)
            commit = self._commit_of(_WANTED)
            if commit != expected:
                raise WorkspaceError(f"{self._reference.shown} names the commit {expected}, but the server sent {commit}: try again, and distrust the server")
            return expected
        unpinned = branch if ref else "HEAD"
        if unpinned not in offered:
            raise InvalidInputError(f"{self._reference.shown} does not exist: the repository has no such tag; give a tag or the full commit SHA of 40 digits")
        if not self._reference.allow_unpinned:
            raise InvalidInputError(
                f"{self._reference.shown} is a branch and no pin: give a tag or the full commit SHA (now {offered[branch]}), or set allow_unpinned"
            )
        self._fetch(unpinned)
        commit = self._commit_of(_WANTED)
        if commit is None:
            raise WorkspaceError(f"{self._reference.shown} is not a commit: give a tag or the full commit SHA")
        return commit

    def signed_by(self, commit: str, signers: Signers) -> str:
        """Return who signed what was fetched; raise :class:`InvalidInputError` unless it was one of ``signers``.

        A tag's signature counts only for the name that is in it: a server could offer an old signed tag under the name of a new one. Where a tag is named,
        a signed commit is not enough, because it does not say that it is that version.
        """
        if self._is_tag:
            if self._git(["cat-file", "-t", _WANTED]).strip() != b"tag":
                raise refusal(self._reference.shown, "it is a tag without a signature (make it with 'git tag -s', or name a signed commit by its full id)")
            name = self._git(["cat-file", "tag", _WANTED]).split(b"\n", 3)[2]
            if name != b"tag " + self._reference.ref.encode():
                raise refusal(self._reference.shown, f"the server sent the tag that is called {printable(name[4:].decode('utf-8', 'replace'))!r}")
        files = signers.files_in(self._directory)
        options = {
            "gpg.ssh.program": "ssh-keygen", "gpg.ssh.allowedSignersFile": str(files.allowed), "gpg.minTrustLevel": "fully",
            # Signatures of other kinds would be checked against the user's own keyrings.
            "gpg.program": "false", "gpg.openpgp.program": "false", "gpg.x509.program": "false",
        }
        if files.revoked is not None:
            options["gpg.ssh.revocationFile"] = str(files.revoked)
        configuration = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
        done = self._run([*configuration, *(["verify-tag", _WANTED] if self._is_tag else ["verify-commit", commit])])
        said = done.stderr.decode("utf-8", "replace")
        signer = signer_of(said, "git")
        if done.returncode != 0 or signer is None:
            raise refusal(self._reference.shown, reason_of(said, self._directory, signers) if said.strip() else "it is not signed")
        return signer

    def tree(self, commit: str) -> list[bytes]:
        """Return the commit's tree, one line of ``git ls-tree`` per file."""
        listing = self._git(["ls-tree", "-r", "-l", "-z", "--full-tree", commit])
        return [line for line in listing.split(b"\0") if line]

    def write_files(self, files: Sequence[_TreeFile], root: Path) -> None:
        """Write the files' bytes, as they are in the object store."""
        requests = self._directory / "wanted-objects"
        requests.write_text("".join(f"{file.object_id}\n" for file in files), encoding="ascii")
        command = self._command(["cat-file", "--batch"])
        with requests.open("rb") as wanted, subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            command, stdin=wanted, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(), start_new_session=True
        ) as process:
            stdout = cast(IO[bytes], process.stdout)
            for file in files:
                header = stdout.readline().split()
                destination = root / file.path
                destination.parent.mkdir(parents=True, exist_ok=True)
                try:
                    if header != [file.object_id.encode(), b"blob", str(file.size).encode()]:
                        raise EOFError("another answer")
                    write_file(destination, stdout, file.size, file.executable)
                except EOFError as error:
                    process.kill()
                    raise WorkspaceError(f"{self._reference.shown} was fetched incompletely: {file.path!r} is missing; try again") from error
                stdout.read(1)

    def _fetch_commit(self, commit: str) -> str:
        """Fetch a commit by its id: alone where the server allows it, otherwise with everything that it advertises."""
        try:
            self._fetch(commit)
        except WorkspaceError:
            self._git(["fetch", *_FETCH_OPTIONS, "--", self._reference.url, "+refs/heads/*:refs/remotes/all/*", "+refs/tags/*:refs/tags/*"])
        if self._commit_of(commit) != commit:
            raise InvalidInputError(f"{self._reference.shown} does not exist: the repository has no commit of that id on a branch or tag")
        return commit

    def _fetch(self, wanted: str) -> None:
        self._git(["fetch", *_FETCH_OPTIONS, "--depth=1", "--", self._reference.url, f"+{wanted}:{_WANTED}"])

    def _offered(self, patterns: list[str]) -> dict[str, str]:
        """Return which of the refs the server has, with their ids."""
        answer = self._git(["ls-remote", "--quiet", "--", self._reference.url, *patterns]).decode("utf-8", "replace")
        refs = {name: object_id for object_id, _tab, name in (line.partition("\t") for line in answer.splitlines())}
        return {name: refs[name] for name in patterns if name in refs}

    def _commit_of(self, name: str) -> str | None:
        try:
            return self._git(["rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}"]).decode("ascii").strip()
        except WorkspaceError:
            return None

    def _write_credentials(self) -> None:
        """Hand credentials to git in a private file that goes with the repository: never in a command line, which other users can read."""
        if not self._reference.credentials:
            return
        scheme, _separator, rest = self._reference.url.partition("://")
        descriptor = os.open(self._credential_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{scheme}://{self._reference.credentials}@{rest.partition('/')[0]}\n")

    def _command(self, arguments: Sequence[str], in_repository: bool = True) -> list[str]:
        command = ["git", "-c", "protocol.ext.allow=never", "-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]
        if self._credential_file.exists():
            # The empty helper drops the user's own ones, which would otherwise be given this password to keep.
            command += ["-c", "credential.helper=", "-c", f"credential.helper=store --file={shlex.quote(str(self._credential_file))}"]
        if in_repository:
            command.append(f"--git-dir={self._directory}")
        return [*command, *arguments]

    def _git(self, arguments: Sequence[str], in_repository: bool = True) -> bytes:
        """Return what git prints; raise ``WorkspaceError`` with its reason when it fails."""
        done = self._run(arguments, in_repository)
        if done.returncode != 0:
            raise WorkspaceError(f"{self._reference.shown} could not be fetched: {self._reason(done.stderr)}")
        return done.stdout

    def _run(self, arguments: Sequence[str], in_repository: bool = True) -> subprocess.CompletedProcess[bytes]:
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                self._command(arguments, in_repository),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
                # No controlling terminal: neither git nor ssh can stop the run with a question.
                start_new_session=True,
            )
        except FileNotFoundError:
            raise WorkspaceError(f"{self._reference.shown} needs git, which is not installed on the controller: install it, or use an archive") from None
        try:
            output, errors = process.communicate(timeout=max(0.1, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise WorkspaceError(
                f"{self._reference.shown} could not be fetched within {self._timeout} seconds: check the server, or raise source_timeout"
            ) from None
        finally:
            _end(process)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def _reason(self, errors: bytes) -> str:
        """Return the line in which git says what went wrong, without anything secret."""
        lines = [line.strip() for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERROR:"))] or lines or ["git gave no reason"]
        reason = next((line for line in told if line.startswith("fatal:")), told[0])
        if "Could not read from remote repository" in reason and told[0] != reason:
            reason = told[0]
        for secret in self._reference.credentials.split(":"):
            # git was not given them in the URL, so this is for servers that repeat them; short ones would garble every word.
            if len(secret) >= _SHORTEST_SECRET:
                reason = reason.replace(secret, "***")
        reason = mask_url_credentials(reason)
        return reason.partition(": ")[2] if reason.startswith("fatal: ") else reason


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _REPOSITORY_VARIABLES}
    environment.update(GIT_TERMINAL_PROMPT="0", GIT_ALLOW_PROTOCOL=":".join(_SCHEMES), GIT_NO_REPLACE_OBJECTS="1", LC_ALL="C")
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and what it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _plain_files(lines: Sequence[bytes], reference: GitReference, max_bytes: int, max_entries: int) -> tuple[list[_TreeFile], list[str]]:
    """Return the files of a commit, refusing what is no plain file; with a warning for each submodule."""
    files: list[_TreeFile] = []
    warnings: list[str] = []
    for line in lines:
        match = _TREE_ENTRY.fullmatch(line)
        if not match:
            raise WorkspaceError(f"{reference.shown} has a tree that git lists in an unknown way: update git on the controller")
        path = _validated_path(match["path"], reference)
        if is_never_shipped(path):
            continue
        if match["type"] == b"commit":
            warnings.append(f"{reference.shown}: the submodule {path!r} is left out; submodules are not fetched")
            continue
        if match["mode"] not in (b"100644", b"100755", b"100664"):
            raise InvalidInputError(f"{reference.shown} contains {path!r}, which is a symbolic link: only directories and regular files are allowed")
        files.append(_TreeFile(path, match["object"].decode("ascii"), int(match["size"]), match["mode"] == b"100755"))
    if len(files) > max_entries:
        raise InvalidInputError(f"{reference.shown} has more than {max_entries} entries")
    if sum(file.size for file in files) > max_bytes:
        raise InvalidInputError(f"{reference.shown} has more than {max_bytes} bytes of files: raise max_bytes if that is meant")
    return files, warnings


def _validated_path(raw: bytes, reference: GitReference) -> str:
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError(f"{reference.shown} contains the name {raw!r}, which is not UTF-8") from None
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidInputError(f"{reference.shown} contains {path!r}, which points outside of the tree")
    return path
