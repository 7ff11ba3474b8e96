# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who connects to what: the run's ephemeral key, the identity of a shared connection, and paths as ssh's options want them."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import typing as t

from ..module_utils.errors import InvalidInputError

_KEY_DIRECTORY = "eic-key"
_KEY_NAME = "id_ed25519"
# the socket's path must fit into sockaddr_un (104 bytes where it is shortest), with the 17 characters that ssh appends while it binds
_LONGEST_CONTROL_PATH = 104 - 1 - 17


class KeygenError(Exception):
    """The run's key pair cannot be made."""


def private_key_path(directory: str) -> str:
    """Where :func:`ensure_key` puts the private key below the run's private directory."""
    return os.path.join(directory, _KEY_DIRECTORY, _KEY_NAME)


def ensure_key(directory: str) -> str:
    """Make the run's key pair below ``directory`` unless it is there, and return the public key's line (80 characters, the least that AWS takes).

    Workers race for it: the whole pair appears by one rename, and who comes second takes the first one's. Raises :class:`KeygenError`.
    """
    private = private_key_path(directory)
    if not os.path.exists(private):
        temporary = tempfile.mkdtemp(prefix=f"{_KEY_DIRECTORY}-", dir=directory)
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


def control_path(directory: str, identity: t.Sequence[object]) -> str:
    """The ControlPath of a shared connection: a hash over everything that makes two connections different ones.

    core hashes host, port and user only, and then two instances with one private address share a socket. Raises :class:`InvalidInputError`.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    path = os.path.join(directory, f"eic-{digest[:20]}")
    if len(os.fsencode(path)) > _LONGEST_CONTROL_PATH:
        raise InvalidInputError(f"the ControlPath directory {directory!r} is too long for a socket; set ansible_control_path_dir to a shorter path")
    return path


def quoted_path(path: str) -> str:
    """``path`` as a value of ssh's options: quoted, and with its percent signs kept from being expanded.

    Raises :class:`InvalidInputError` for characters that ssh's own quoting cannot carry.
    """
    if any(character in path for character in '"\\') or "${" in path or not path.isprintable():
        raise InvalidInputError(f"{path!r} cannot be used in ssh options: use a path without quotes, backslashes, '${{' and control characters")
    return '"' + path.replace("%", "%%") + '"'
