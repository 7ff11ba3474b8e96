# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The longer texts of the synthetic plugins."""
from __future__ import annotations

import typing

# Skill name -> description, body, files beside SKILL.md.
Skills = typing.Dict[str, typing.Tuple[str, str, typing.Dict[str, str]]]

GUARD_HOOK = r"""#!/bin/sh
# Reads the tool call as JSON from stdin; exit status 2 stops the call and shows the message to the agent.
set -eu
call=$(cat)
case $call in
    *'rm -rf'*|*'git push --force'*|*'mkfs'*)
        echo 'careful-bash: say what this changes and wait for a yes' >&2
        exit 2 ;;
esac
exit 0
"""

LOG_HOOK = r'''#!/usr/bin/env python3
"""Append each finished tool call to a log, one JSON object a line."""
import json
import os
import sys

call = json.load(sys.stdin)
entry = {"tool": call.get("tool_name"), "input": call.get("tool_input")}
with open(os.path.expanduser("~/.careful-bash.log"), "a", encoding="utf-8") as log:
    log.write(json.dumps(entry) + "\n")
'''

ECC_RULES = {
    "commits": (
        "# Commits\n\nOne commit does one thing, and its message says why.\n\n\n"
        "Good:\n\n```text\nStop reading the file twice: the second read saw a half-written one\n```\n\n"
        "Bad:\n\n```text\nfixes\n```\n"
    ),
    # A header-like line and blank lines inside: whoever looks for the end of a block by its looks goes wrong here.
    "plugins": (
        "# Plugins\n\nThe runtime marks what it adds to its memory like this:\n\n"
        "# Plugin: ecc / rule: example.md\n\nThat line is part of this rule.\n\n\n\nSo is this one – \u201cquoted\u201d, with a ☂.\n"
    ),
    "testing": "# Testing\n\nA test fails before the fix and passes after it.\n\n- Name what is tested.\n- No sleep.\n\n    indented example\n\nDone.",
}

ECC_FRAGMENTS = {
    "architecture": "# Architecture\n\nKeep the core free of input and output.\n\nAdapters translate; they decide nothing.\n",
    "glossary": "\n\n# Glossary\n\n| term | meaning |\n|---|---|\n| live | what the runtime reads |\n| drift | a difference |\n\n\n",
    "review": "# Review\n\nRead the tests first.\r\n\r\nThen ask what is *not* tested.\r\n",
}

ECC_SKILLS: Skills = {
    "api-design": ("Shape an interface.", "Start from the caller's code.", {"examples/pagination.md": "Use a cursor, not a page number.\n"}),
    "debugging": (
        "Find a cause.",
        "Reproduce, reduce, explain, fix, in this order.",
        {"scripts/bisect.sh": '#!/bin/sh\nset -eu\ngit bisect start "$1" "$2"\ngit bisect run make test\n', "reference/signals.txt": "9 KILL\n15 TERM\n"},
    ),
    "migrations": ("Change a schema.", "Expand, move, contract.", {"template.sql": "BEGIN;\n-- expand\nCOMMIT;\n", "reference/empty.txt": ""}),
    "refactoring": ("Change structure, not behaviour.", "Small steps, tests green after each.", {"checklist.md": "- [ ] tests\n- [ ] names\n"}),
    "security-review": (
        "Look for holes.",
        "Follow every input to where it is used.",
        {"reference/injection.md": "Shell, SQL, paths, templates.\n", "scripts/find_secrets.py": '#!/usr/bin/env python3\n"""Print likely secrets."""\n'},
    ),
}

SUPERPOWERS_SKILLS: Skills = {
    "brainstorming": ("Find more than one way.", "Write down five ideas before you judge the first.", {}),
    "planning": ("Cut work into steps.", "Each step ends with something that runs.", {"template.md": "## Goal\n\n## Steps\n"}),
    "root-cause": (
        "Ask why until it ends.",
        "Stop when the answer is something that you can change.",
        {"scripts/timeline.sh": "#!/bin/sh\nset -eu\ngit log --reverse --format='%ad %s' --date=iso | tail -n 20\n"},
    ),
    "test-first": ("Write the test first.", "Watch it fail for the right reason.", {"notes/flaky.md": "A flaky test is a failing test.\n"}),
    "verification": ("Show that it works.", "Run it, look at the output, and say what you saw.", {}),
}
