# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The options of ``molecule_plugin``: one specification for its two halves, the action (which acts on them) and the module (which documents them)."""
from __future__ import annotations

from typing import Any

from .platform_arguments import PLATFORM_ARGUMENT_SPEC

# What may be said of one plugin: at the top level for a single plugin, or per element of ``plugins``.
PLUGIN_ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "source": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent", "rolled_back"], "default": "present"},
    "allow_unpinned": {"type": "bool", "default": False},
    "allow_unsigned": {"type": "bool", "default": False},
    "digest": {"type": "str"},
    "sha256": {"type": "str"},
    "commit": {"type": "str"},
    "any_runtime": {"type": "bool", "default": False},
    "include_repository_files": {"type": "bool", "default": False},
}

_ELEMENT_ARGUMENT_SPEC: dict[str, dict[str, Any]] = dict(PLUGIN_ARGUMENT_SPEC, name={"type": "str", "required": True})

ARGUMENT_SPEC: dict[str, dict[str, Any]] = dict(
    PLUGIN_ARGUMENT_SPEC,
    **PLATFORM_ARGUMENT_SPEC,
    plugins={
        "type": "list",
        "elements": "dict",
        "options": _ELEMENT_ARGUMENT_SPEC,
        "required_if": [("state", "present", ("source",))],
    },
    registry={"type": "path"},
    config_dir={"type": "path"},
    runtime_config_dir={"type": "path"},
    runtime={"type": "str"},
    owner={"type": "int", "default": 1000},
    group={"type": "int", "default": 1000},
    exclusive={"type": "bool", "default": False},
    max_bytes={"type": "int", "default": 104857600},
    lock_timeout={"type": "int", "default": 60},
    allowed_signers={"type": "path"},
    revoked_signers={"type": "path"},
    allowlist={"type": "list", "elements": "str", "default": []},
    allowlist_file={"type": "path"},
    allowlist_from_platform={"type": "bool", "default": False},
    github_url={"type": "str", "default": "https://github.com"},
    source_timeout={"type": "int", "default": 120},
    secret_scan={"type": "str", "choices": ["warn", "fail", "none"], "default": "warn", "no_log": False},
    max_drift={"type": "int", "default": 100},
    placements={"type": "bool", "default": False},
)

# ``source`` without ``plugins`` is required when the plugin is to be present: the action checks that, because ``state`` has a default.
MUTUALLY_EXCLUSIVE: list[list[str]] = [["name", "plugins"], ["source", "plugins"], ["digest", "plugins"], ["sha256", "plugins"], ["commit", "plugins"]]
REQUIRED_ONE_OF: list[list[str]] = [["name", "plugins"]]
REQUIRED_BY: dict[str, list[str]] = {"revoked_signers": ["allowed_signers"], "source": ["name"], "digest": ["name"], "sha256": ["name"], "commit": ["name"]}
