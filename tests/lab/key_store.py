# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH public keys that SendSSHPublicKey delivered: one file per instance and OS user.

Lines are ``<unix expiry seconds> <public key line>``.  The instance's AuthorizedKeysCommand reads the file through a bind mount
of the instance's directory and judges the expiry by the instance's own clock; several keys may be valid at a time. Beside them lie
what makes that command misbehave: ``.clock-offset`` and ``.delay``, in seconds.
"""
from __future__ import annotations

import os
import pathlib
import time


class KeyStore:
    """Writes key files atomically; only the control plane's one process writes."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def add(self, instance_id: str, os_user: str, public_key: str, lifetime: float) -> None:
        """Accept ``public_key`` (one line) for ``lifetime`` seconds; keys that expired are dropped at the same time."""
        directory = self._directory / instance_id
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        path = directory / os_user
        now = time.time()
        lines = [line for line in self._lines(path) if float(line.split(" ", 1)[0]) > now]
        lines.append(f"{now + lifetime:.3f} {public_key}")
        # No user name begins with a dot, so the command never reads a half-written file.
        temporary = directory / f".{os_user}.new"
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        temporary.chmod(0o644)
        os.replace(temporary, path)

    def disturb(self, instance_id: str, clock_offset: float, delay: float) -> None:
        """Set the instance's clock wrong, or make its AuthorizedKeysCommand slow, by that many seconds (0: as it should be)."""
        for name, seconds in ((".clock-offset", clock_offset), (".delay", delay)):
            path = self._directory / instance_id / name
            if seconds:
                path.write_text(f"{seconds}\n", encoding="utf-8")
            else:
                path.unlink(missing_ok=True)

    def unexpired(self, instance_id: str, os_user: str) -> list[str]:
        """The public key lines that are valid now."""
        now = time.time()
        lines = (line.split(" ", 1) for line in self._lines(self._directory / instance_id / os_user))
        return [key for expiry, key in lines if float(expiry) > now]

    @staticmethod
    def _lines(path: pathlib.Path) -> list[str]:
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
