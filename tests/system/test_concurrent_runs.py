# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several runs at once that want different versions of one plugin on one workspace: they take turns, or are told that somebody else was faster.

On the docker tier it is at its hardest, because the restart that one run makes ends what the others are doing in the container, or hides it from them.
``CONCURRENT_RUNS=16`` is the long form.
"""
from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import sys
import threading
from collections.abc import Callable

from ansible_run import Run
from expected import expected_items, wanted
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from workspaces import DOCKER_WORKSPACE, EIC_WORKSPACE

INSTALL = "molecule_ai.workspace.install"
RUNS = int(os.environ.get("CONCURRENT_RUNS", "6"))
WORKSPACES = [DOCKER_WORKSPACE, EIC_WORKSPACE]
_TOLD = re.compile(r"was changed by somebody else since it was inspected|another run is changing the plugins in /\S+ \(process \d+")


def test_concurrent_runs_take_turns_and_audits_see_whole_versions(lab: Lab, ansible: Callable[..., Run], tmp_path: pathlib.Path) -> None:
    """Each run is for a workspace of either tier at once."""
    sources = [tmp_path / str(number) / "shared" for number in range(RUNS)]
    for number, source in enumerate(sources):
        files = {f"skills/skill-{number}-{part}/SKILL.md": f"# {number} {part}\n" * 100 for part in range(20)}
        write_tree(source, {"plugin.yaml": manifest("shared", f"{number}.0.0", "Wanted in many versions at once"), **files})
    lab.clear_faults()
    for name in WORKSPACES:
        lab.reset(name)
    starts = {name: len(lab.starts(name)) for name in WORKSPACES}

    def want(number: int, check: bool = False) -> Run:
        variables = {"workspace_plugins": [{"name": "shared", "source": str(sources[number])}], "restart_wait_timeout": 300}
        return ansible(INSTALL, limit=",".join(WORKSPACES), check=check, variables=variables)

    over, audits = threading.Event(), []

    def audit() -> None:
        while not over.is_set():
            audits.append(want(0, check=True))

    with concurrent.futures.ThreadPoolExecutor(RUNS + 1) as pool:
        auditing = pool.submit(audit)
        try:
            runs = list(pool.map(want, range(RUNS)))
        finally:
            over.set()
        auditing.result()

    for name in WORKSPACES:
        made = len(lab.starts(name)) - starts[name]
        require_turns(lab, name, sources, runs, [run.ok() for run in audits], made)


def require_turns(lab: Lab, workspace: str, sources: list[pathlib.Path], runs: list[Run], audits: list[Run], restarts: int) -> None:
    """What must be so on one workspace after ``runs``, each of which wanted the source of its number, and which were made with ``restarts``."""
    failed = [number for number, run in enumerate(runs) if run.stats[workspace]["failures"] or run.stats[workspace]["unreachable"]]
    for number in failed:
        wrong = [record for record in runs[number].records if record["status"] in ("failed", "unreachable") and record["host"] == workspace]
        assert wrong and _TOLD.search(wrong[0]["result"]["msg"]), runs[number].output
    changed = [run.result("molecule_plugin", workspace) for number, run in enumerate(runs) if number not in failed]
    assert changed and all(result["changed"] for result in changed)
    # who came second saw what the first had made
    links = {result["plugins"][0]["previous_digest"]: result["plugins"][0]["digest"] for result in changed}
    assert len(links) == len(changed) and None in links
    last = None
    while last in links:
        last = links.pop(last)
    assert not links
    assert 1 <= restarts <= len(changed)

    (winner,) = [number for number in range(RUNS) if lab.snapshot(workspace, "plugins/shared") == expected_items(sources[number])]
    assert winner not in failed
    receipt = json.loads(lab.read_file(workspace, ".molecule_ai/receipts/shared.json") or b"{}")
    assert (receipt["digest"], receipt["source"], receipt["restart_pending"]) == (last, str(sources[winner]), False)
    assert [path for path in lab.snapshot(workspace, ".molecule_ai/staging") if path] == []
    assert lab.loaded_names(workspace) == ["shared"]

    known = {None, *(result["plugins"][0]["digest"] for result in changed)}
    for run in audits:
        assert {result["plugins"][0]["previous_digest"] for result in run.results("molecule_plugin", workspace)} <= known


def test_a_restart_that_another_run_has_made_meanwhile_is_not_made_again(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path
) -> None:
    """The run looks while another one is between its change and its restart, and restarts after it."""
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc")}
    ansible(INSTALL, limit=workspace, variables={**variables, "restart_method": "none"}).ok()
    starts = len(lab.starts(workspace))
    program = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
    restart = shlex.join([program, "molecule_ai.workspace.restart", "-i", str(lab.inventory), "--limit", workspace])
    # A variable that only the restart reads; the other run must not write to this one's records.
    other_run = f"RECORD_FILE=/dev/null {restart} > /dev/null && echo 10"
    variables.update(other_run=other_run, restart_stop_timeout="{{ lookup('ansible.builtin.pipe', other_run) }}")
    run = ansible(INSTALL, limit=workspace, variables=variables).ok()
    found = run.result("molecule_plugin", workspace)
    assert (found["changed"], found["restart_required"]) == (False, True)
    assert run.result("workspace_restart", workspace)["changed"] is False and len(lab.starts(workspace)) == starts + 1
