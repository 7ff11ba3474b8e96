# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys from an instance's console: what cloud-init prints there at the first boot, between the two "SSH HOST KEY KEYS" lines.

Only root of the instance writes to its console, and ``ec2:GetConsoleOutput`` is signed by AWS, so these keys need no trust on first use. EC2 keeps the
output of the latest boot alone, so keys are remembered: a line per key in a known_hosts file that has no other source.
"""
from __future__ import annotations

import re
import typing as t

from . import eic_known_hosts

_BEGIN, _END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
# a line may have a kernel's or logger's prefix
_KEY = re.compile(r"\b(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/]+={0,2})(?=\s|$)")


def parse(output: str) -> list[str]:
    """The host keys (``type base64``) of the last whole block in a console's output; none when there is no block.

    What is not a key of the type that it claims is left out.
    """
    end = output.rfind(_END)
    begin = output.rfind(_BEGIN, 0, end) if end >= 0 else -1
    if begin < 0:
        return []
    found = (_KEY.search(line) for line in output[begin + len(_BEGIN):end].splitlines())
    return [f"{match[1]} {match[2]}" for match in found if match and eic_known_hosts.is_key(match[1], match[2])]


def ensure(path: str, instance_id: str, console_output: t.Callable[[], str]) -> bool:
    """Let the known_hosts file ``path`` have lines for ``instance_id``; ``console_output`` is called only when it has none.

    Returns False when the console shows no keys. Raises :class:`InvalidInputError` when the file cannot be used, and what ``console_output`` raises.
    """
    if eic_known_hosts.has(path, instance_id):
        return True
    keys = parse(console_output())
    if keys:
        eic_known_hosts.add(path, instance_id, keys)
    return bool(keys)
