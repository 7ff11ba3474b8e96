# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords in texts that come from elsewhere."""
from __future__ import annotations

import re

_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")


def mask_url_credentials(text: str) -> str:
    """Return ``text`` with the user names and passwords of all URLs in it replaced, as those of a proxy that an error message repeats."""
    return _USER_INFO.sub("***@", text)
