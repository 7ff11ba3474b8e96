# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the time of one no-op host goes: each stage is a run that does a little more than the one before, so the differences are the stages."""
from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
from typing import Any

import fleets
import measure
import peers
from fleets import INSTALL, Fleet
from measure import Contestant

# Runs with the tests' Python: what the action plugin sends for an inspection of the fleet's plugins.
_STREAM = """
import json, pathlib, sys
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import plugin_plan, workspace_call
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache
scratch, digests = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
target = plugin_plan.Target("/configs", "/configs", "claude-code", (1000, 1000), 60, 2**20 * 100)
wanted = [plugin_plan.WantedPlugin(name, "present", name, False, False, None, None, None, False, False) for name in digests]
request = plugin_plan.inspect_request(target, wanted, digests, False)
cache = RunCache(scratch / "cache")
(scratch / "stream").write_bytes(workspace_call.program_stream(cache, "plugin_request", request, True, b""))
(scratch / "loader").write_text(workspace_call.LOADER)
"""
# Runs in the workspace's Python instead of the loader.
_IMPORT_ONLY = "import sys, json, zlib, importlib, importlib.util, importlib.machinery, io, functools, types"


def measured(rounds: int, label: str) -> list[dict[str, Any]]:
    """The stages in seconds of wall and CPU on the controller, for one host; ``label`` is "before" or "after" a change of the product."""
    with fleets.fleet(1) as fleet:
        nothing = fleet.playbook("nothing.yml", [{"ansible.builtin.meta": "noop"}])
        raw = fleet.playbook("raw.yml", [{"ansible.builtin.raw": "true"}])
        python = fleet.playbook("python.yml", [{"ansible.builtin.raw": "python3 -I -S -c pass"}])
        fleet.ping()
        fleet.hosts.warm()
        stages = [
            Contestant("start", "ansible-playbook without a task", lambda: fleet.play(nothing)),
            Contestant("execution", "one execution through the connection (raw true)", lambda: fleet.play(raw)),
            Contestant("python", "one start of Python there", lambda: fleet.play(python)),
            Contestant("task", "molecule_plugin, nothing to change", lambda: fleet.play(fleet.task), check=fleet.unchanged),
            Contestant("install", "playbook install, nothing to change", lambda: fleet.play(INSTALL), check=fleet.unchanged),
            Contestant("ping", "ansible -m ping", fleet.ping),
            *_workspace_half(fleet),
        ]
        results = measure.compare(stages, rounds)
    return [{"scenario": "profile", "label": label, "results": {name: each.data() for name, each in results.items()}}]


def _workspace_half(fleet: Fleet) -> list[Contestant]:
    """The request on the standard input of the host's Python, started on this machine in the host's root: no connection, no controller."""
    scratch = pathlib.Path(tempfile.mkdtemp(dir=fleet.directory))
    receipts = sorted((fleet.hosts.configs(0) / ".molecule_ai" / "receipts").glob("*.json"))
    digests = {path.stem: json.loads(path.read_text())["digest"] for path in receipts}
    environment = {**fleet.hosts.environment(), "PYTHONPATH": str(peers.COLLECTIONS)}
    subprocess.run([str(peers.VENV / "python"), "-c", _STREAM, str(scratch), json.dumps(digests)], env=environment, check=True)
    script = scratch / "half.sh"
    configs = peers.ROOT / "configs"
    script.write_text(
        f"mount --bind {fleet.hosts.configs(0)} {configs} && exec chroot {peers.ROOT} /usr/bin/python3 -I -S -c \"$1\" < {scratch}/stream\n"
    )
    run = ["unshare", "--mount", "sh", str(script)]
    loader = (scratch / "loader").read_text()
    return [
        Contestant("half python", "Python alone, on the host", lambda: measure.run([*run, "pass"])),
        Contestant("half imports", "Python and the standard library's modules", lambda: measure.run([*run, _IMPORT_ONLY])),
        Contestant("half", "the workspace half: read, compile, hash 2 MB, answer", lambda: measure.run([*run, loader]), check=_answered),
    ]


def _answered(reading: measure.Reading) -> None:
    """It is an inspection without a failure."""
    if "molecule_ai.workspace answers: " not in reading.output or '"failed"' in reading.output:
        raise measure.NotDone(f"the workspace half did not answer:\n{reading.output[-1000:]}")
