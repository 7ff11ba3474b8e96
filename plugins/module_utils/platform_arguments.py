# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The options that reach the platform's HTTP API; documented in the fragment ``platform``."""
from __future__ import annotations

from typing import Any

PLATFORM_ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "platform_url": {"type": "str"},
    "platform_token": {"type": "str", "no_log": True},
    "platform_org_id": {"type": "str"},
    "platform_validate_certs": {"type": "bool", "default": True},
    "platform_ca_path": {"type": "path"},
}
