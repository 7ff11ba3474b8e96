# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: the server that stands in for AWX, and the role run against it."""
from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from awx_server import AWX, awx_server
from setup_run import Setup, run_setup


@pytest.fixture
def awx() -> Iterator[tuple[str, AWX]]:
    with awx_server() as made:
        yield made


@pytest.fixture
def setup(awx: tuple[str, AWX], tmp_path: pathlib.Path) -> Setup:
    """Run the playbook with variables, and any arguments of ``ansible-playbook``."""
    return functools.partial(run_setup, awx[0], tmp_path / "home")
