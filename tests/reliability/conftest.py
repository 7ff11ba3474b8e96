# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reliability tests share."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import import_paths

import_paths.add()


@pytest.fixture(scope="session")
def reliability_seed() -> int:
    """Which sample is taken; another one with ``RELIABILITY_SEED``."""
    return int(os.environ.get("RELIABILITY_SEED", "1"))
