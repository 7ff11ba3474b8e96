# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The known_hosts file of the eic connection: what is refused when it changes has to be remembered first.

ssh accepts a new key that it cannot write down as well, with a warning that nobody sees, and then each login is the first one. So the file is looked at
before a login, and the key is looked for in it afterwards.
"""
from __future__ import annotations

import os
import stat
import subprocess
import typing as t

from ..module_utils.errors import InvalidInputError
from .eic_preparation_errors import invalid

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_REMEMBER = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC


def prepare(path: str, *, remember: bool) -> None:
    """See to it that ssh can compare keys with the file ``path`` and, with ``remember``, add to it; then it is made if it is missing.

    A link may lead anywhere, and a device forgets what is written to it. Raises :class:`InvalidInputError`.
    """
    try:
        os.close(_opened(path, _REMEMBER if remember else _READ))
    except FileNotFoundError as error:
        if remember:
            raise _unusable(path, str(error.strerror), remember) from error
    except OSError as error:
        raise _unusable(path, str(error.strerror), remember) from error


def has(path: str, instance_id: str) -> bool:
    """Whether ssh finds a key for ``instance_id`` in the file ``path``. Raises :class:`InvalidInputError` when it cannot be read."""
    try:
        with open(_opened(path, _READ), encoding="utf-8", errors="replace") as file:
            if any(line.split(" ", 1)[0] == instance_id for line in file):
                return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, str(error.strerror), remember=False) from error
    # patterns, certificate authorities, and lines with hashed names, which ssh writes by itself if it is configured to
    command = ["ssh-keygen", "-F", instance_id, "-f", path]
    try:
        found = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=False)  # noqa: S603 - a list of arguments, no shell
    except (OSError, subprocess.SubprocessError):
        return False
    return found.returncode == 0


def add(path: str, instance_id: str, keys: t.Iterable[str]) -> None:
    """Append ``keys`` (``type base64``) of ``instance_id`` to the file ``path``. Raises :class:`InvalidInputError` when they cannot be kept there."""
    lines = "".join(f"{instance_id} {key}\n" for key in keys).encode()
    try:
        descriptor = _opened(path, _REMEMBER)
        try:
            # one write: workers for other instances append at the same time
            written = os.write(descriptor, lines)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unusable(path, str(error.strerror), remember=True) from error
    if written < len(lines):
        raise _unusable(path, "it took a part of them only", remember=True)


def _opened(path: str, flags: int) -> int:
    # a link is told by itself: its error as one that must not be followed would read "Too many levels of symbolic links"
    if os.path.islink(path):
        raise _unusable(path, "it is a link, not a regular file", bool(flags & os.O_CREAT))
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unusable(path, "it is not a regular file", bool(flags & os.O_CREAT))
    return descriptor


def _unusable(path: str, why: str, remember: bool) -> InvalidInputError:
    return invalid("KnownHostsUnusable", path=path, reason=why, purpose="remembered" if remember else "looked up")
