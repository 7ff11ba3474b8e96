# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The options of ``workspace_restart``: one specification for its two halves, the action (which acts on them) and the module (which documents them)."""
from __future__ import annotations

from typing import Any

from .engine_arguments import ENGINE_ARGUMENT_SPEC
from .platform_arguments import PLATFORM_ARGUMENT_SPEC

ARGUMENT_SPEC: dict[str, dict[str, Any]] = dict(
    ENGINE_ARGUMENT_SPEC,
    **PLATFORM_ARGUMENT_SPEC,
    method={"type": "str", "choices": ["in_place", "platform", "none"], "default": "in_place"},
    force={"type": "bool", "default": False},
    confirm={"type": "dict"},
    workspace_id={"type": "str"},
    tier={"type": "str", "choices": ["docker", "eic", "external", "none"]},
    container={"type": "str"},
    unit={"type": "str"},
    config_dir={"type": "path"},
    wait_timeout={"type": "int"},
    settle={"type": "float", "default": 2.0},
    stop_timeout={"type": "int", "default": 10},
)

MUTUALLY_EXCLUSIVE: list[list[str]] = [["container", "unit"]]
