# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the collection and the samples of the unit tests importable."""
from __future__ import annotations

import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[1]


def add() -> None:
    """Let what follows import them."""
    for directory in (TESTS.parent / ".cache" / "collections", TESTS / "unit" / "plugins" / "module_utils", TESTS / "reliability"):
        if str(directory) not in sys.path:
            sys.path.insert(0, str(directory))
