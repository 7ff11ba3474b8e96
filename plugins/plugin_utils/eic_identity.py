# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who connects to what: the run's ephemeral key, the identity of a shared connection, and paths as ssh's options want them."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import typing as t

from . import run_directories
from .eic_preparation_errors import invalid

CONTROL_PREFIX = "eic-"
"""What the names of our sockets begin with, and of the files beside them."""

_KEY_NAME = "id_ed25519"
# the socket's path must fit into sockaddr_un (104 bytes where it is shortest), with the 17 characters that ssh appends while it binds
_LONGEST_CONTROL_PATH = 104 - 1 - 17


class KeygenError(Exception):
    """The run's key pair cannot be made."""


class KeyFileError(Exception):
    """The user's own key file cannot be used; the first argument says why."""


def private_key_path(directory: str) -> str:
    """Where :func:`ensure_key` puts the private key below the run's private directory."""
    return os.path.join(directory, run_directories.KEY, _KEY_NAME)


def ensure_key(directory: str) -> str:
    """Make the run's key pair below ``directory`` unless it is there, and return the public key's line (80 characters, the least that AWS takes).

    Workers race for it: the whole pair appears by one rename, and who comes second takes the first one's. Raises :class:`KeygenError`.
    """
    private = private_key_path(directory)
    if not os.path.exists(private):
        temporary = tempfile.mkdtemp(prefix=f"{run_directories.KEY}-", dir=directory)
        try:
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", os.path.join(temporary, _KEY_NAME)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)  # noqa: S603 - a list of arguments, no shell
            os.rename(temporary, os.path.dirname(private))
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if not os.path.exists(private):
                raise KeygenError from error
    with open(f"{private}.pub", encoding="ascii") as file:
        return file.read().strip()


def public_key_of(path: str) -> str:
    """The public key's line of the user's own key: ``path`` itself when it is a public key, the file beside it, or what ssh-keygen derives.

    Raises :class:`KeyFileError`.
    """
    path = os.path.expanduser(path)
    for candidate in (path, f"{path}.pub"):
        with contextlib.suppress(OSError, UnicodeDecodeError), open(candidate, encoding="utf-8") as file:
            words = file.readline(8192).split()
            if len(words) >= 2 and re.fullmatch(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+", words[0]):
                return f"{words[0]} {words[1]}"
    if not os.path.exists(path):
        raise KeyFileError(f"{path} does not exist")
    try:
        # an empty passphrase, so that it cannot ask for one
        command = ["ssh-keygen", "-y", "-P", "", "-f", path]
        done = subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)  # noqa: S603 - a list of arguments, no shell
        return " ".join(done.stdout.decode("ascii").split()[:2])
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} is no private key without a passphrase, and {path}.pub is missing") from error


def default_control_directory(home: str) -> str:
    """The directory of sockets below ANSIBLE_HOME, or below the user's own one where the path would be too long for a socket."""
    directory = os.path.join(home, "cp")
    return directory if len(os.fsencode(_control_path(os.path.expanduser(directory), ""))) <= _LONGEST_CONTROL_PATH else "~/.ansible/cp"


def control_path(directory: str, identity: t.Sequence[object]) -> str:
    """The ControlPath of a shared connection: a hash over everything that makes two connections different ones.

    core hashes host, port and user only, and then two instances with one private address share a socket. Raises :class:`InvalidInputError`.
    """
    path = _control_path(directory, json.dumps(identity, sort_keys=True, default=str))
    if len(os.fsencode(path)) > _LONGEST_CONTROL_PATH:
        raise invalid("SocketPathTooLong", value=directory)
    return path


def _control_path(directory: str, identity: str) -> str:
    return os.path.join(directory, f"{CONTROL_PREFIX}{hashlib.sha256(identity.encode()).hexdigest()[:20]}")


def quoted_path(path: str) -> str:
    """``path`` as a value of ssh's options: quoted, and with its percent signs kept from being expanded.

    Raises :class:`InvalidInputError` for characters that ssh's own quoting cannot carry.
    """
    if any(character in path for character in '"\\') or "${" in path or not path.isprintable():
        raise invalid("PathNotQuotable", value=path)
    return '"' + path.replace("%", "%%") + '"'
