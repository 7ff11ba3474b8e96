# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords in texts that come from elsewhere."""
from __future__ import annotations

import re

_TO_LAST_AT = re.compile(r"(?<=://).*@", re.DOTALL)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def mask_to_last_at(text: str) -> str:
    """Return the one URL ``text`` without all that may be meant as a password: one with a ``/`` or ``#`` in it makes the URL another one than it looks."""
    return _TO_LAST_AT.sub("***@", text)


def mask_url_credentials(text: str) -> str:
    """Return ``text`` with the user names and passwords of all URLs in it replaced, as those of a proxy that an error message repeats."""
    return _USER_INFO.sub("***@", text)
