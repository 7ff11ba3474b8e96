# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has signed a source: SSH signatures, verified by OpenSSH's ``ssh-keygen -Y`` (for tags and commits by git, which runs the same program).

Whose signatures count is said by an allowed signers file, as described in ssh-keygen(1), "ALLOWED SIGNERS": principals, options like ``valid-before`` and
``namespaces``, and a public key per line.
"""
from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.printable import printable

# ``ssh-keygen -Y sign -n file`` is what people sign files with; for the digest of a tree we have a namespace of our own.
FILE_NAMESPACE = "file"
DIGEST_NAMESPACE = "plugin-digest@moleculesai.app"
SIGNATURE_SUFFIX = ".sig"
_PROGRAM = "ssh-keygen"
_GOOD = re.compile(r'Good "(?P<namespace>[^"]+)" signature for (?P<principal>.+) with (?P<type>\S+) key (?P<key>SHA256:\S+)')
_MAX_BYTES = 1024 * 1024
_TIMEOUT = 60


@dataclass(frozen=True)
class Signers:
    """Whose signatures count, as the contents of an allowed signers file, and the revoked keys (a KRL, or public keys one per line)."""

    allowed: bytes
    revoked: bytes | None

    @property
    def fingerprint(self) -> str:
        """What differs when anything about the signers does."""
        return hashlib.sha256(b"%d:%s%s" % (len(self.allowed), self.allowed, self.revoked or b"")).hexdigest()

    def files_in(self, directory: Path) -> SignerFiles:
        """Write them for the programs that verify; what the user's files become meanwhile plays no role."""
        allowed, revoked = directory / "allowed-signers", directory / "revoked-keys"
        allowed.write_bytes(self.allowed)
        if self.revoked is not None:
            revoked.write_bytes(self.revoked)
        return SignerFiles(allowed, revoked if self.revoked is not None else None)


@dataclass(frozen=True)
class SignerFiles:
    """The files of :class:`Signers`."""

    allowed: Path
    revoked: Path | None


def read_signers(allowed: str, revoked: str | None) -> Signers:
    """Read both files; raise :class:`InvalidInputError` for one that cannot be read, and for allowed signers without any key."""
    content = _read(Path(allowed), "allowed_signers")
    if not any(line.strip() and not line.lstrip().startswith(b"#") for line in content.splitlines()):
        raise InvalidInputError(f"allowed_signers {allowed} names no key: write '<who> <public key>' in a line, as in ssh-keygen(1), ALLOWED SIGNERS")
    return Signers(content, _read(Path(revoked), "revoked_signers") if revoked else None)


def verify_archive(signers: Signers, archive: Path, copy: Path, max_bytes: int) -> str:
    """Copy ``archive`` of a plugin of at most ``max_bytes`` to ``copy``, verify its signature over the copy's bytes, and return who made it.

    The signature is the file beside it that ``ssh-keygen -Y sign -n file`` makes. Raises :class:`InvalidInputError` without a good one.
    """
    shown = f"archive {archive}"
    try:
        with archive.open("rb") as source, copy.open("xb") as destination:
            # What no plugin can need: gzip and tar may add to the files, but never as much again.
            left = 2 * max_bytes + _MAX_BYTES
            while block := source.read(min(left + 1, 1 << 20)):
                left -= len(block)
                if left < 0:
                    raise InvalidInputError(f"{shown} is larger than a plugin may be: raise max_bytes if that is meant")
                destination.write(block)
    except OSError as error:
        raise InvalidInputError(f"{shown} cannot be read: {error.strerror}") from error
    with copy.open("rb") as content:
        return _verify(signers, beside(archive), content, FILE_NAMESPACE, shown, copy.parent)


def verify_digest(signers: Signers, digest: str, tree: Path, shown: str, directory: Path) -> str:
    """Verify the signature beside ``tree`` over its ``digest`` and a line feed, and return who made it; raise :class:`InvalidInputError` without a good one."""
    line = directory / "digest"
    line.write_text(digest + "\n", encoding="ascii")
    with line.open("rb") as content:
        return _verify(signers, beside(tree), content, DIGEST_NAMESPACE, f"{shown} (its digest is {digest})", directory)


def beside(path: Path) -> Path:
    """Return where the signature of a file or directory lies."""
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def signer_of(output: str, namespace: str) -> str | None:
    """Return who signed, from what ``ssh-keygen -Y verify`` says of a good signature in ``namespace``."""
    for line in output.splitlines():
        match = _GOOD.fullmatch(line.strip())
        if match and match["namespace"] == namespace:
            return printable(f"{match['principal']} ({match['type']} {match['key']})")
    return None


def refusal(shown: str, reason: str) -> InvalidInputError:
    """Return the error for a source without a good signature."""
    return InvalidInputError(f"{shown} has no good signature of an allowed signer: {reason}; nothing of it is installed")


def reason_of(output: str, directory: Path, signers: Signers) -> str:
    """Return what ssh-keygen or git said in one line, without our own paths; ssh-keygen does not say so when a key is revoked."""
    lines = [line.strip().rstrip(".") for line in output.replace(f"{directory}/", "").splitlines() if line.strip()]
    words = printable(", ".join(lines), 300) or "it is not made with a key of theirs"
    return words + " (its key may be a revoked one)" * (signers.revoked is not None)


def _verify(signers: Signers, signature: Path, content: IO[bytes], namespace: str, shown: str, directory: Path) -> str:
    """Verify a detached signature over ``content`` with the help of files in the private ``directory``, and return who made it."""
    try:
        signature_bytes = _read(signature, "signature")
    except InvalidInputError as error:
        raise refusal(shown, f"it is expected in {signature}, and {error}") from error
    copy = directory / "signature"
    copy.write_bytes(signature_bytes)
    files = signers.files_in(directory)
    found, output = _run(["-Y", "find-principals", "-s", str(copy), "-f", str(files.allowed)], None)
    reason = output
    for principal in output.splitlines() if found else []:
        content.seek(0)
        command = ["-Y", "verify", "-f", str(files.allowed), "-I", principal, "-n", namespace, "-s", str(copy)]
        good, reason = _run(command + (["-r", str(files.revoked)] if files.revoked else []), content)
        signer = signer_of(reason, namespace) if good else None
        if signer is not None:
            return signer
    raise refusal(shown, reason_of(reason, directory, signers))


def _run(arguments: list[str], stdin: IO[bytes] | None) -> tuple[bool, str]:
    """Return whether ssh-keygen succeeded, and all that it printed."""
    try:
        done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            [_PROGRAM, *arguments], stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"}, timeout=_TIMEOUT, check=False,
        )
    except FileNotFoundError:
        raise WorkspaceError("signatures are verified with ssh-keygen, which is not installed on the controller: install OpenSSH's client") from None
    except subprocess.TimeoutExpired:
        raise WorkspaceError(f"ssh-keygen did not verify a signature within {_TIMEOUT} seconds: run again when the controller is less busy") from None
    return done.returncode == 0, done.stdout.decode("utf-8", "replace")


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"{what} {path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise InvalidInputError(f"{what} {path} is larger than {_MAX_BYTES} bytes")
    return content
