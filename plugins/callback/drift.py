# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of an audit for people and machines, see DOCUMENTATION. Only the adapter: ``plugin_utils/audit_*.py`` does the work."""
from __future__ import annotations

DOCUMENTATION = r"""
name: drift
type: aggregate
short_description: Reports how the plugins of Molecule AI workspaces differ from their desired state
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
description:
  - Shows how far an audit has come, and prints a table of what needs a person at its end.
  - Writes C(drift.json) (see C(docs/audit.md) in the collection), C(drift.xml) (JUnit, one test case for each workspace and plugin) and C(drift.html),
    one page that needs nothing else, into a directory.
  - Reports plays in check mode that run M(molecule_ai.workspace.molecule_plugin) or M(molecule_ai.workspace.workspace_backend_facts), as the playbook
    C(molecule_ai.workspace.audit) does. Of other plays nothing is reported, nor of one whose tasks the chosen tags leave out.
  - A workspace that could not be looked at, or that the run never came to, is reported as V(unknown), never as fine.
  - Sources of the inventory that failed are reported too, because nobody knows which workspaces they would have named, those that
    P(molecule_ai.workspace.workspaces#inventory) has marked, and files that Ansible could not read as an inventory and only warns of.
  - Diffs are part of the report only when the run was asked for them (C(--diff)). Results of tasks with C(no_log) are never part of it.
requirements:
  - Enable it, for example with C(ANSIBLE_CALLBACKS_ENABLED=molecule_ai.workspace.drift).
options:
  output_dir:
    description: The directory for the files, made when it is missing. Without it, nothing is written.
    type: path
    env: [{name: MOLECULE_AI_DRIFT_OUTPUT_DIR}]
    ini: [{section: callback_drift, key: output_dir}]
    vars: [{name: workspace_audit_output_dir}]
  formats:
    description: Which files are written, V(json), V(junit) and V(html).
    type: list
    elements: str
    default: [json, junit, html]
    env: [{name: MOLECULE_AI_DRIFT_FORMATS}]
    ini: [{section: callback_drift, key: formats}]
    vars: [{name: workspace_audit_formats}]
  history:
    description:
      - The file to which one line with the totals is appended, and whose lines the page plots.
      - The default is C(drift-history.jsonl) in O(output_dir).
    type: path
    env: [{name: MOLECULE_AI_DRIFT_HISTORY}]
    ini: [{section: callback_drift, key: history}]
    vars: [{name: workspace_audit_history}]
  title:
    description: The title of the page.
    type: str
    default: Plugin drift
    env: [{name: MOLECULE_AI_DRIFT_TITLE}]
    ini: [{section: callback_drift, key: title}]
    vars: [{name: workspace_audit_title}]
  progress:
    description:
      - V(live) keeps one line at the bottom of the terminal, V(lines) appends a line now and then, V(none) shows nothing before the end.
      - V(auto) is V(live) on a terminal and V(lines) everywhere else, in pipes, log files and AWX.
    type: str
    choices: [auto, live, lines, none]
    default: auto
    env: [{name: MOLECULE_AI_DRIFT_PROGRESS}]
    ini: [{section: callback_drift, key: progress}]
  progress_interval:
    description: How many seconds lie between two lines of O(progress=lines).
    type: float
    default: 10
    env: [{name: MOLECULE_AI_DRIFT_PROGRESS_INTERVAL}]
    ini: [{section: callback_drift, key: progress_interval}]
  table:
    description: What the table at the end lists, workspaces with V(problems), V(all), or V(none), which leaves the line of totals.
    type: str
    choices: [problems, all, none]
    default: problems
    env: [{name: MOLECULE_AI_DRIFT_TABLE}]
    ini: [{section: callback_drift, key: table}]
  table_rows:
    description: How many workspaces the table lists at most.
    type: int
    default: 50
    env: [{name: MOLECULE_AI_DRIFT_TABLE_ROWS}]
    ini: [{section: callback_drift, key: table_rows}]
seealso:
  - module: molecule_ai.workspace.molecule_plugin
  - module: molecule_ai.workspace.workspace_backend_facts
"""

import functools
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

from ..module_utils.errors import WorkspaceError
from ..plugin_utils.audit_collector import AuditCollector
from ..plugin_utils.audit_files import HISTORY_NAME, write_files
from ..plugin_utils.audit_inventory import failures_of
from ..plugin_utils.audit_progress import LiveLine, Milestones, progress_text
from ..plugin_utils.audit_table import as_table
from ..plugin_utils.task_data import user_name

_WIDTH_OF_FILES = 160
_TEMPLATES = ("workspace_audit_output_dir", "workspace_audit_history", "workspace_audit_title")
_TASKS = ("molecule_plugin", "workspace_backend_facts")
_ROLE = "molecule_ai.workspace.plugins"
_JOB = {"id": "job_id", "template": "job_template_name", "user": "user_name", "launch_type": "job_launch_type"}


class CallbackModule(CallbackBase):
    """Listens to a run and reports what its audits have found."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "molecule_ai.workspace.drift"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._collector = AuditCollector(time.time(), {"controller": socket.gethostname(), "user": user_name(), "job": None, "playbook": None})
        self._started = time.monotonic()
        self._auditing = False
        self._left_out = False
        self._begin: Callable[[], None] | None = None
        self._line: LiveLine | None = None
        self._milestones: Milestones | None = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Note which playbook it is, without the controller's directories."""
        self._collector.about(playbook=Path(str(playbook._file_name)).name)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play in check mode may be an audit; whether it is, its tasks tell."""
        variables = play.get_variable_manager().get_vars(play=play)
        # Ansible hands variables to callbacks as they are written: a directory per job is a template.
        templar = Templar(loader=play.get_loader(), variables=variables)
        self.set_options(var_options={**variables, **{name: templar.template(variables[name]) for name in _TEMPLATES if name in variables}})
        self._collector.about(job=_job(variables))
        self._auditing = bool(context.CLIARGS.get("check") if play.check_mode is None else play.check_mode)
        self._begin = functools.partial(self._begin_audit, play, variables) if self._auditing else None
        if self._begin and _is_audit(play):
            if _tags_chosen():
                self._left_out = True
            else:
                self._begin()

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task that succeeded, perhaps one of ours."""
        self._take(result, self._collector.result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task that failed."""
        self._take(result, self._collector.failure)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host that could not be reached."""
        self._take(result, self._collector.failure)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end: the table and the files."""
        if self._line is not None:
            self._line.close()
        if not self._collector.seen:
            if self._left_out:
                self._display.warning("There is no report of this audit: the tags that were chosen leave it out.")
            return
        report = self._collector.report(time.time())
        table = self.get_option("table")
        rows = 0 if table == "none" else max(1, self.get_option("table_rows"))
        lines = as_table(report, self._columns(), rows, every=table == "all") if rows else as_table(report, self._columns(), 0)[-1:]
        self._display.display("\n" + "\n".join(lines))
        output_dir = self.get_option("output_dir")
        if output_dir:
            history = Path(self.get_option("history") or Path(output_dir) / HISTORY_NAME)
            try:
                paths = write_files(report, Path(output_dir), self.get_option("formats"), history, self.get_option("title"))
            except WorkspaceError as error:
                # Nobody may take the report of an earlier run for this one's.
                self._display.error(f"There is no report of this audit: {error}")
                return
            self._display.display("Report: " + ", ".join(map(str, paths)))

    def _take(self, result: Any, note: Any) -> None:
        if not self._auditing or result._task.check_mode is False:
            return
        if self._begin and result._task.action.rsplit(".", 1)[-1] in _TASKS:
            self._begin()
        if note(result._host.get_name(), result._task.action, result._result, time.time()):
            self._show_progress()

    def _begin_audit(self, play: Any, variables: Mapping[str, Any]) -> None:
        """From here on, every host of the play is one that the report has to know."""
        self._begin = None
        hostvars = variables.get("hostvars")
        self._collector.expect({host: _literal_id(hostvars, host) for host in variables.get("ansible_play_hosts_all") or []})
        self._collector.incomplete(failures_of(play.get_variable_manager()))

    def _show_progress(self) -> None:
        progress = self.get_option("progress")
        if progress == "auto":
            progress = "live" if _is_terminal() else "lines"
        now = time.monotonic()
        if progress == "live":
            if self._line is None:
                self._line = LiveLine(sys.stdout)
                self._keep_out_of_the_way(self._line)
            self._line.show(progress_text(self._collector, now - self._started), shutil.get_terminal_size().columns, now)
        elif progress == "lines":
            if self._milestones is None:
                self._milestones = Milestones(self.get_option("progress_interval"))
            if self._milestones.due(self._collector, now):
                self._display.display(progress_text(self._collector, now - self._started))

    def _keep_out_of_the_way(self, line: LiveLine) -> None:
        """Have the line erased before Ansible writes anything, and drawn again after it.

        There is no hook before another callback writes; all output of the run, workers' included, goes through this one object.
        """
        display = self._display.display

        def write(*args: Any, **kwargs: Any) -> Any:
            line.erase()
            try:
                return display(*args, **kwargs)
            finally:
                line.draw()

        self._display.display = write

    def _columns(self) -> int:
        return shutil.get_terminal_size().columns if _is_terminal() else _WIDTH_OF_FILES


def _is_audit(play: Any) -> bool:
    """Whether the play, as it is written, looks at plugins. What includes of includes bring, its tasks tell."""
    tasks = [task for block in [*play.pre_tasks, *play.tasks, *play.post_tasks] for task in block.get_tasks()]
    included = [task.args.get("name") or task.args.get("role") for task in tasks if task.action in C._ACTION_INCLUDE_ROLE]
    return (
        any(role.get_name() == _ROLE for role in play.get_roles())
        or _ROLE in included
        or any(task.action.rsplit(".", 1)[-1] == "molecule_plugin" for task in tasks)
    )


def _tags_chosen() -> bool:
    return list(context.CLIARGS.get("tags") or ["all"]) != ["all"] or bool(context.CLIARGS.get("skip_tags"))


def _is_terminal() -> bool:
    # ansible-runner, and so AWX, gives Ansible a terminal that nobody sits at; its lines are stored.
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "AWX_ISOLATED_DATA_DIR" not in os.environ


def _literal_id(hostvars: Any, host: str) -> str | None:
    """Return the workspace's id if the inventory says it as it is; templates are left to the tasks, whose results say it too."""
    try:
        value = hostvars.raw_get(host).get("workspace_id")
    except (AttributeError, KeyError):
        return None
    return value if isinstance(value, str) and "{{" not in value else None


def _job(variables: Mapping[str, Any]) -> dict[str, str] | None:
    """Say which job of AWX this is: AWX gives it to every run as extra variables."""
    job = {key: str(variables[f"awx_{name}"]) for key, name in _JOB.items() if variables.get(f"awx_{name}")}
    return job or None
