# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM policy documents, as far as the lab's services are concerned: identity-based statements over actions, resources and conditions.

From AWS's documentation of the policy language.  What is not known here is refused when the policy is set, so no condition is ever ignored.
"""
from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

Policy = Mapping[str, Any]


def _like(value: str, pattern: str) -> bool:
    # IAM knows * and ?, not the brackets of fnmatch
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), value) is not None


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringNotEquals": lambda value, wanted: value != wanted,
    "StringLike": _like,
    "ArnLike": _like,
    "NumericEquals": lambda value, wanted: float(value) == float(wanted),
    "NumericLessThanEquals": lambda value, wanted: float(value) <= float(wanted),
    "NumericLessThan": lambda value, wanted: float(value) < float(wanted),
    "IpAddress": lambda value, wanted: ipaddress.ip_address(value) in ipaddress.ip_network(wanted),
}


def check(policy: Policy) -> None:
    """Raise ValueError for a document that the lab could not evaluate as a whole."""
    if not policy:
        return
    if policy.get("Version") != "2012-10-17" or set(policy) - {"Version", "Id", "Statement"}:
        raise ValueError("a policy has Version 2012-10-17 and Statement")
    for statement in policy["Statement"]:
        if set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"} or statement.get("Effect") not in ("Allow", "Deny"):
            raise ValueError(f"a statement that the lab cannot evaluate: {statement}")
        unknown = set(statement.get("Condition", {})) - set(_OPERATORS)
        if unknown:
            raise ValueError(f"condition operators that the lab does not know: {', '.join(sorted(unknown))}")


def allows(policy: Policy, action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether the policy lets its identity do ``action``; an empty one stands for an administrator's.  ``context`` has what the request has, no more."""
    if not policy:
        return True
    effects = {statement["Effect"] for statement in policy["Statement"] if _matches(statement, action, resource, context)}
    return effects == {"Allow"}


def _matches(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    return (
        any(_like(action.lower(), each.lower()) for each in _several(statement["Action"]))
        and any(_like(resource, each) for each in _several(statement["Resource"]))
        and all(
            key in context and any(_OPERATORS[operator](context[key], wanted) for wanted in _several(values))
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _several(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
