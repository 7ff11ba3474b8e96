# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What becomes of one request on the workspace, whatever carried it there."""
from __future__ import annotations

from typing import Any, Callable, Mapping

from .errors import WorkspaceError


def answer_to(
    request: Mapping[str, Any], check_mode: bool, changes: Callable[[Mapping[str, Any]], bool], handle: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Return ``{"result": ...}`` as ``handle`` gives it, or ``{"failed": True, "msg": sentence}``.

    ``changes`` tells whether a request may change something: none such is carried out in check mode, whatever the action plugin thinks.
    """
    if check_mode and changes(request):
        operation = request.get("operation")
        return {"failed": True, "msg": f"operation {operation} was asked for in check mode: nothing was done; this is a defect, please report it"}
    try:
        return {"result": handle(request)}
    except WorkspaceError as error:
        return {"failed": True, "msg": str(error)}
