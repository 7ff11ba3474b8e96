# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the modules have in common that carry one request of their action plugin to the workspace."""
from __future__ import annotations

from typing import Any, Callable, Mapping

from ansible.module_utils.basic import AnsibleModule

from .request_answer import answer_to

REQUEST_ARGUMENT_SPEC: dict[str, dict[str, Any]] = {"_request": {"type": "dict"}}


def answer(module: AnsibleModule, changes: Callable[[Mapping[str, Any]], bool], handle: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Leave the module with the ``result`` that ``handle`` gives for the request, or with the one sentence of its failure.

    For ``changes`` and ``handle`` see :func:`request_answer.answer_to`.
    """
    request = module.params["_request"]
    if not request:
        module.fail_json(msg="this module works through its action plugin, which the task bypassed: use the module by its full name in a task")
    answered = answer_to(request, module.check_mode, changes, handle)
    if answered.pop("failed", False):
        module.fail_json(**answered)
    module.exit_json(**answered)
