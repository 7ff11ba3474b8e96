# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that tests start without the tests' environment or site-packages, and that their coverage is to see all the same."""
from __future__ import annotations

import importlib.util
import os

_ACTIVE = "COVERAGE_PROCESS_CONFIG"  # coverage sets it for the processes that the tests start
_START = """
import importlib.util, runpy, sys
spec = importlib.util.spec_from_file_location("coverage", {origin!r}, submodule_search_locations={locations!r})
coverage = sys.modules["coverage"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(coverage)
coverage.process_startup()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment() -> dict[str, str]:
    """What a program finds coverage by: nothing, unless this run is measured."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def arguments(program: str) -> list[str]:
    """What follows ``python -I -S``: the program, or what starts coverage without the site-packages and then runs it."""
    found = importlib.util.find_spec("coverage") if _ACTIVE in os.environ else None
    if found is None:
        return [program]
    return ["-c", _START.format(origin=found.origin, locations=list(found.submodule_search_locations or [])), program]
