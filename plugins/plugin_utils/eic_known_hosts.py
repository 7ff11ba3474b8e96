# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The known_hosts file of the eic connection: what is refused when it changes has to be remembered first.

ssh accepts a new key that it cannot write down as well, with a warning that nobody sees, and then each login is the first one. So the file is looked at
before a login, and the key is looked for in it afterwards.
"""
from __future__ import annotations

import base64
import os
import stat
import subprocess
import typing as t

from ..module_utils.errors import InvalidInputError
from .eic_preparation_errors import invalid

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_REMEMBER = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC

GLOBAL_FILES = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
"""What ssh reads beside the user's file, and never writes to (``GlobalKnownHostsFile`` in ssh_config(5))."""

_STRINGS = {"ssh-ed25519": 2, "ssh-rsa": 3, "ecdsa-sha2-nistp256": 3, "ecdsa-sha2-nistp384": 3, "ecdsa-sha2-nistp521": 3}


def prepare(path: str, *, remember: bool, follow: bool = False) -> None:
    """See to it that ssh can compare keys with the file ``path`` and, with ``remember``, add to it; then it is made if it is missing.

    What is written through a link may end up anywhere, and a device forgets it. A link is right only with ``follow``, where nothing will be written: each
    file of a mounted ConfigMap or Secret of Kubernetes is one. Raises :class:`InvalidInputError`.
    """
    try:
        os.close(_opened(path, _REMEMBER if remember else _READ, follow))
    except FileNotFoundError as error:
        if remember:
            raise _unusable(path, str(error.strerror), remember) from error
    except OSError as error:
        raise _unusable(path, str(error.strerror), remember) from error


def has(path: str, instance_id: str) -> bool:
    """Whether ssh finds a key for ``instance_id`` in the file ``path``. Raises :class:`InvalidInputError` when it cannot be read."""
    try:
        with open(_opened(path, _READ), encoding="utf-8", errors="replace") as file:
            if any(line.split(" ", 1)[0] == instance_id and _has_key(line) for line in file):
                return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, str(error.strerror), remember=False) from error
    # patterns, certificate authorities, and lines with hashed names, which ssh writes by itself if it is configured to
    return _ssh_finds(path, instance_id)


def is_known_globally(instance_id: str) -> bool:
    """Whether ssh knows ``instance_id`` from one of :data:`GLOBAL_FILES`, by a key or an authority. Then it adds nothing to the user's file."""
    return any(_ssh_finds(path, instance_id) for path in GLOBAL_FILES)


def is_key(kind: str, data: str) -> bool:
    """Whether ``data`` (base64) is a whole public key of the type ``kind``: strings behind their lengths, the first one the type (RFC 4253, section 6.6).

    All of them must be there: base64 that was cut off may well be decoded.
    """
    try:
        blob = base64.b64decode(data, validate=True)
    except ValueError:
        return False
    strings, position = [], 0
    while position < len(blob):
        begin = position + 4
        position = begin + int.from_bytes(blob[position:begin], "big")
        strings.append(blob[begin:position])
    return position == len(blob) and strings[:1] == [kind.encode()] and len(strings) == _STRINGS.get(kind, max(2, len(strings)))


def add(path: str, instance_id: str, keys: t.Iterable[str]) -> None:
    """Append ``keys`` (``type base64``) of ``instance_id`` to the file ``path``. Raises :class:`InvalidInputError` when they cannot be kept there."""
    lines = "".join(f"{instance_id} {key}\n" for key in keys).encode()
    try:
        descriptor = _opened(path, _REMEMBER)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                # a full disk may have cut the last line off, and what is added to it would be lost with it
                lines = b"\n" + lines
            # one write: workers for other instances append at the same time
            written = os.write(descriptor, lines)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unusable(path, str(error.strerror), remember=True) from error
    if written < len(lines):
        raise _unusable(path, "it took a part of them only", remember=True)


def _ssh_finds(path: str, instance_id: str) -> bool:
    command = ["ssh-keygen", "-F", instance_id, "-f", path]
    try:
        found = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False)  # noqa: S603 - a list of arguments, no shell
    except (OSError, subprocess.SubprocessError):
        return False
    # its status says that the names match, even in lines that ssh passes over when it compares keys
    return any(_has_key(line) for line in found.stdout.decode(errors="replace").splitlines())


def _has_key(line: str) -> bool:
    """Whether a line, whose names match, lets ssh trust a key: one that was cut off does not, and a revoked key is the opposite of a known one."""
    fields = line.split()
    if fields[:1] == ["@cert-authority"]:
        del fields[0]
    return len(fields) > 2 and not fields[0].startswith(("#", "@")) and is_key(fields[1], fields[2])


def _opened(path: str, flags: int, follow: bool = False) -> int:
    # a link is told by itself: its error as one that must not be followed would read "Too many levels of symbolic links"
    if not follow and os.path.islink(path):
        raise _unusable(path, "it is a link, not a regular file", bool(flags & os.O_CREAT))
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unusable(path, "it is not a regular file", bool(flags & os.O_CREAT))
    return descriptor


def _unusable(path: str, why: str, remember: bool) -> InvalidInputError:
    return invalid("KnownHostsUnusable", path=path, reason=why, purpose="remembered" if remember else "looked up")
