# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The troubleshooting page of the eic connection, made from the table that its errors come from."""
from __future__ import annotations

import dataclasses
import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / ".cache" / "collections"))

from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_errors, eic_session

PAGE = REPOSITORY / "docs" / "troubleshooting-eic.md"

_HEAD = """\
# Errors of the eic connection

<!-- Made by tests/build/troubleshooting_page.py; change plugins/plugin_utils/eic_errors.py instead. -->

Every error of `molecule_ai.workspace.eic` is one sentence: the instance, what happened, what to do, and AWS's request id if AWS answered. Here are all
of them, with what the plugin has done about it by itself before it tells you. Words in *italics* stand for your values.

Two things hold for all of them. Nothing is repeated after a command has started, because it may have run to its end. And everything that is repeated
is repeated before the login, within `ansible_eic_tunnel_timeout` for each attempt.

What EC2 itself refuses before a tunnel is tried (an unknown or stopped instance, an endpoint that is missing, denied look-ups) is told with EC2's own
error code and a hint in brackets.

To see more, run with `-vvvv` and `ansible_ssh_verbosity=3`. None of it shows keys, tokens or signed addresses.
"""

_KINDS = {
    eic_errors.UNREACHABLE: (
        "The host is unreachable", "Ansible shows UNREACHABLE. The play goes on without the host, or with it if `ignore_unreachable` is set.",
    ),
    eic_errors.AUTHENTICATION: (
        "Somebody may not do this, or cannot be trusted",
        "Ansible shows UNREACHABLE as well. The cause is an identity, a permission or a key, so trying again later does not help.",
    ),
    eic_errors.CONFIGURATION: ("The configuration is wrong", "Ansible shows FAILED for the task."),
}


def page() -> str:
    """The page's text."""
    names = {field.name: f"*{field.name.replace('_', ' ')}*" for field in dataclasses.fields(eic_errors.Context)}
    parts = [_HEAD]
    for kind, (title, explanation) in _KINDS.items():
        parts.append(f"\n## {title}\n\n{explanation}\n\n| message | remedy | tried again |\n|---|---|---|\n")
        for code, failure in eic_errors.FAILURES.items():
            if failure.kind == kind:
                parts.append(f"| {_cell(failure.cause, names)} | {_cell(failure.remedy, names)} | {_repeated(code, failure)} |\n")
    return "".join(parts)


def _cell(template: str, names: dict[str, str]) -> str:
    for character in "|*~":
        template = template.replace(character, f"\\{character}")
    return template.format_map({**names, "reason": ": *reason*" if template.endswith("{reason}") else "*reason*"})


def _repeated(code: str, failure: eic_errors.Failure) -> str:
    if code in eic_session.REPEATED_ONCE:
        return "once, with a new look-up and key push"
    return "some times, with growing pauses" if failure.retryable else "no"
