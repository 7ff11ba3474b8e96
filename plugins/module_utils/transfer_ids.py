# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The ids of transfers: the name of the process that sends one, as far as it has a name, and a random part."""
from __future__ import annotations

import os
import re

from .errors import InvalidInputError

_TRANSFER_ID = re.compile(r"(?:([0-9a-f]{16}-[0-9]{1,10}-[0-9]{1,20})-)?[0-9a-f]{32}")


def make(sender: str) -> str:
    """A new id for a transfer of the process that is named ``sender`` (see ``plugin_utils.processes``); empty for one that cannot be named."""
    return f"{sender}-{os.urandom(16).hex()}" if sender else os.urandom(16).hex()


def sender_of(transfer: str) -> str:
    """The name of the process that sends the transfer; empty where ``transfer`` does not say."""
    match = _TRANSFER_ID.fullmatch(transfer)
    return match[1] or "" if match else ""


def validate(value: object) -> str:
    """Return ``value`` if it may name a transfer; raise :class:`InvalidInputError` otherwise."""
    if not isinstance(value, str) or not _TRANSFER_ID.fullmatch(value):
        raise InvalidInputError(f"transfer or shipment {value!r} must be 32 hexadecimal digits, with or without the name of who sends it before them")
    return value
