# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The troubleshooting page of the eic connection, made from the tables that its errors come from."""
from __future__ import annotations

import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / ".cache" / "collections"))

from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_errors, eic_outcome, eic_preparation_errors, eic_session

PAGE = REPOSITORY / "docs" / "troubleshooting-eic.md"

_HEAD = """\
# Errors of the eic connection

<!-- Made by tests/build/troubleshooting_page.py; change plugins/plugin_utils/eic_errors.py or eic_preparation_errors.py instead. -->

Every error of `molecule_ai.workspace.eic` is one sentence: the instance, what happened, what to do, and AWS's request id if AWS answered. Here are all
of them. Words in *italics* stand for your values.

To see more, run with `-vvvv` and `ansible_ssh_verbosity=3`. None of it shows keys, tokens or signed addresses.

## Classes

| class | Ansible shows | meaning |
|---|---|---|
| unreachable | UNREACHABLE | The play goes on without the host, or with it if `ignore_unreachable` is set. |
| authentication | UNREACHABLE | The cause is an identity, a permission or a key, so trying again later does not help. |
| failed | FAILED for the task | The configuration on the controller is wrong. |

## What is repeated

Nothing is repeated after a command has started, because it may have run to its end. Before that, the last column says who tries again by itself
before you are told:

| repeated by | how |
|---|---|
| tunnel | The tunnel process tries the same step some times, with growing pauses, within `ansible_eic_tunnel_timeout`. |
| plugin | Everything is done once more from the start, with a new look-up and a new key push. |
| quota | It may be the quota of the endpoint, so it is waited for, `ansible_eic_tunnel_wait` seconds at most. |
| AWS client | The request is sent up to five times, with growing pauses. |
| ssh retries | `ansible_ssh_retries` (0 unless you set it) repeats all of the above so many times. |
| nothing | You are told at once. |

A connection that ended *between* two tasks is no error: the next task opens a new one. After an error of the class unreachable, too, the next task that
reaches the host (with `ignore_unreachable`, or of the next play) starts anew. What was looked up is forgotten where it may be the cause.
"""

_CLASSES = {eic_errors.UNREACHABLE: "unreachable", eic_errors.AUTHENTICATION: "authentication", eic_errors.CONFIGURATION: "failed"}

_PARTS: tuple[tuple[str, str, dict[str, eic_errors.Failure]], ...] = (
    ("Settings", "Nothing was sent.", eic_preparation_errors.SETTINGS),
    ("AWS credentials", "They are found on the controller, or obtained from AWS.", eic_preparation_errors.CREDENTIALS),
    ("What AWS answers", "By the error code in the message, for look-ups and while credentials are obtained. Other codes are told with AWS's own words, as "
                         "unreachable.", eic_preparation_errors.ANSWERS),
    ("Look-ups", "What EC2 says about the instance and its endpoint.", eic_preparation_errors.LOOK_UPS),
    ("The connection", "From the preparations on the controller to the end of a command.", eic_errors.FAILURES),
)


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for title, text, table in _PARTS:
        parts.append(f"\n## {title}\n\n{text}\n\n| message | remedy | class | repeated by |\n|---|---|---|---|\n")
        for code, failure in table.items():
            cause = failure.cause.replace("{code}", code)
            parts.append(f"| {_cell(cause)} | {_cell(failure.remedy)} | {_CLASSES[failure.kind]} | {_repeated(code, failure)} |\n")
    return "".join(parts)


def _cell(template: str) -> str:
    for character in "|*~":
        template = template.replace(character, f"\\{character}")
    # the one reason that stands at the end of a sentence brings its own colon
    template = re.sub(r"(?<=[a-z])\{reason\}$", ": {reason}", template)
    return re.sub(r"(?<!\{)\{(\w+)(?:!r)?\}", lambda match: f"*{match[1].replace('_', ' ')}*", template).replace("{{", "{").replace("}}", "}")


def _repeated(code: str, failure: eic_errors.Failure) -> str:
    if code == "OutcomeUnknown":
        return "plugin, for a transfer; nothing, for a command"
    if code in eic_outcome.AFTER_THE_LOGIN or failure.kind == eic_errors.CONFIGURATION:
        return "nothing"
    by = {
        "AWS client": failure.retryable and code not in eic_errors.FAILURES,
        "tunnel": failure.retryable and code in eic_errors.FAILURES,
        "plugin": code in eic_session.REPEATED_ONCE,
        "quota": code in eic_session.MAYBE_QUOTA or code in eic_outcome.NO_TUNNEL_LEFT,
        "ssh retries": failure.kind == eic_errors.UNREACHABLE,
    }
    return ", ".join(each for each, applies in by.items() if applies) or "nothing"
