# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Text that somebody untrusted chose, names of files above all, for sentences, results and logs."""
from __future__ import annotations

import re

# Control characters, line and paragraph separators, what turns the writing direction, and bytes that are no UTF-8 (Python carries them as surrogates).
# A fixed set and not str.isprintable(): that depends on the Python version, and controller and workspace must agree on each name.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, limit: int = 0) -> str:
    r"""Return ``text`` in one line and without tricks: what is not printable becomes ``\xNN`` or the like; at most ``limit`` characters (0: all)."""
    escaped = _UNPRINTABLE.sub(_escaped, text)
    return escaped[:limit - 1] + "…" if 0 < limit < len(escaped) else escaped


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode("ascii")
