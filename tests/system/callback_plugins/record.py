# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write each task result of a run as one JSON line, so that tests assert on data and not on console text."""
from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: notification
short_description: Results as JSON lines for the system tests
description:
  - Appends one line per task result and one line with the statistics to the file that E(RECORD_FILE) names.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Results as JSON lines."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "record"

    def _write(self, record: dict[str, Any]) -> None:
        with open(os.environ["RECORD_FILE"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, default=str) + "\n")

    def _result(self, status: str, result: Any) -> None:
        task = result._task
        self._write({"status": status, "host": result._host.get_name(), "task": task.get_name(), "action": task.action, "result": result._result})

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task that succeeded."""
        self._result("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task that failed."""
        self._result("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task that was skipped."""
        self._result("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host that could not be reached."""
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end of the run."""
        self._write({"status": "stats", "hosts": {host: stats.summarize(host) for host in stats.processed}})
