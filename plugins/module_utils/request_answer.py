# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What becomes of one request on the workspace, whatever carried it there."""
from __future__ import annotations

from typing import Any, Callable, Mapping

from .errors import WorkspaceError
from .printable import printable

_MAX_REASON = 300


def answer_to(
    request: Mapping[str, Any], check_mode: bool, changes: Callable[[Mapping[str, Any]], bool], handle: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Return ``{"result": ...}`` as ``handle`` gives it, or ``{"failed": True, "msg": sentence}``.

    ``changes`` tells whether a request may change something: none such is carried out in check mode, whatever the action plugin thinks. An exception
    that is none of ours is answered too: on standard error it would look like a Python that cannot run this.
    """
    if check_mode and changes(request):
        operation = request.get("operation")
        return {"failed": True, "msg": f"operation {operation} was asked for in check mode: nothing was done; this is a defect, please report it"}
    try:
        return {"result": handle(request)}
    except WorkspaceError as error:
        return {"failed": True, "msg": str(error)}
    except ImportError:
        # A Python without all of its own modules, of which the controller says just that.
        raise
    except MemoryError:
        reason, advice = "the memory of the workspace is not sufficient", "give it more and run again"
    except Exception as error:
        reason, advice = f"{type(error).__name__}: {printable(str(error), _MAX_REASON)}", "this is a defect, please report it"
    return {"failed": True, "msg": f"{request.get('operation')} failed on the workspace ({reason}): {advice}; the next run settles what was begun"}
