# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs over workspaces of both tiers, parts of which are killed at random moments; then one clean run, and a look at everything from outside.

``tests/reliability/run-deaths`` is the command. Every round asks for other versions and other plugins than the one before, so there is always
something to do. A worker, the run itself and the engine end a run, the others need not, so a run may lose several of them.
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib.machinery
import importlib.util
import itertools
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import docker.errors
import requests.exceptions
from ansible_run import COLLECTIONS, Run, run_playbook
from eic_fleet import children_of, wait_for
from expected import expected_items
from lab.api import Lab
from lab.fixtures import write_big, write_plugins
from lab.process import read_pid

INSTALL = "molecule_ai.workspace.install"
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ENDING = ("run", "worker", "engine")
"""What no run survives: its next kills would find nothing."""
VICTIMS = (*ENDING, "tunnel", "ssh", "container", "instance")
COLUMNS = ["what was killed", "kills", "workspaces looked at", "restarts owed", "restarts made", "not survived"]
MOST_AT_ONCE = 4
_PERSIST = 10
_OURS = "MOLECULE_DEATHS"
_STATE_NAMES = {"", "lock", "receipts", "staging", "previous", "modified", "installed", "tmp"}


@dataclasses.dataclass
class Round:
    """What happened to one run, and what was found after the clean one. ``owed`` and ``made`` count restarts."""

    kills: list[str] = dataclasses.field(default_factory=list)
    looked_at: int = 0
    owed: int = 0
    made: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


def table(rounds: list[Round]) -> list[list[Any]]:
    """The rows for :data:`COLUMNS`; a run that lost several things counts for each of them, and once in the last row."""
    def row(what: str, kills: int, counted: list[Round]) -> list[Any]:
        sums = [sum(getattr(each, field) for each in counted) for field in ("looked_at", "owed", "made")]
        return [what, kills, *sums, sum(len(each.failures) for each in counted)]

    rows = [row(victim, sum(each.kills.count(victim) for each in rounds), [each for each in rounds if victim in each.kills]) for victim in VICTIMS]
    return [*rows, row("all", sum(len(each.kills) for each in rounds), rounds)]


class Deaths:
    """``workspaces`` of the lab, and a home of its own for the runs. ``seed`` decides who is killed and when."""

    def __init__(self, lab: Lab, workspaces: list[str], directory: pathlib.Path, seed: int) -> None:
        self.lab, self.workspaces, self._directory = lab, workspaces, directory
        self._random = random.Random(seed)
        self._mark = secrets.token_hex(8)
        self._sources = directory / "sources"
        self._home = directory / "home"
        (self._home / ".ansible" / "tmp").mkdir(parents=True)
        write_plugins(self._sources)
        for files in (120, 150):
            write_big(self._sources / str(files), "big", files=files)
        self._log = directory / "disturbed.log"
        self._lines = 0
        self._number = 0

    # -- what the runs are -----------------------------------------------------------------------------------------------------

    def _desired(self) -> dict[str, pathlib.Path | None]:
        """The source of every plugin, None for one that is to be absent; different ones in every other round."""
        odd = self._number % 2
        return {
            "upgrade-probe": self._sources / ("upgrade-probe-v2" if odd else "upgrade-probe-v1"),
            "big": self._sources / ("150" if odd else "120") / "big",
            "ecc": None if odd else self._sources / "ecc",
            "careful-bash": self._sources / "careful-bash" if odd else None,
        }

    def _variables(self) -> dict[str, Any]:
        return {
            "workspace_plugins": [
                {"name": name, "state": "absent"} if source is None else {"name": name, "source": str(source), "any_runtime": True}
                for name, source in self._desired().items()
            ],
            "ansible_eic_state_directory": str(self._directory / "state"),
            "ansible_control_path_dir": str(self._directory / "cp"),
            "ansible_ssh_args": f"-C -o ControlPersist={_PERSIST}s",
        }

    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self._home), "ANSIBLE_HOME": str(self._home / ".ansible"), "ANSIBLE_LOCAL_TEMP": str(self._home / ".ansible" / "tmp")}
        return {**self.lab.environment(), **home, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1", _OURS: self._mark}

    @contextlib.contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        """The run that is going to be disturbed; it is over at the end."""
        command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.lab.inventory), INSTALL]
        command += ["--limit", ",".join(self.workspaces), "--extra-vars", json.dumps(self._variables()), "--forks", str(len(self.workspaces))]
        with open(self._log, "wb") as log:
            process = subprocess.Popen(command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory)
        try:
            yield process
            self._wait_for_end(process)
        finally:
            process.kill()
            process.wait()

    def _wait_for_end(self, process: subprocess.Popen[bytes]) -> None:
        """Until the run has ended. With its free strategies, host_pinned among them, Ansible waits for ever for a worker that was killed: where nothing works
        any more, the run is ended, as an operator or a job's time limit would."""
        deadline, idle = time.monotonic() + 600, 0
        while process.poll() is None and idle < 50:
            assert time.monotonic() < deadline, "the disturbed run does not end"
            idle = 0 if self._processes_of("worker", process) else idle + 1
            time.sleep(0.1)

    def clean_run(self, *arguments: str) -> Run:
        """A run that nobody disturbs."""
        return run_playbook(
            INSTALL, "--forks", str(len(self.workspaces)), *arguments, inventory=self.lab.inventory, environment=self._environment(),
            limit=",".join(self.workspaces), variables=self._variables(), timeout=900,
        )

    # -- one round -------------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fresh workspaces, and one run, by which it is known how much one says: its progress is told by that, because a busy machine takes its time."""
        for name in self.workspaces:
            self.lab.reset(name)
        self._lines = self.clean_run().ok().output.count("\n")

    def round(self, victims: list[str]) -> Round:
        """Kill ``victims`` in one run, wait until what is left of it has ended, run again, and look."""
        self._number += 1
        found = Round()
        moments = sorted(self._random.uniform(0, 0.9 * self._lines) for _victim in victims)
        with self._started() as process:
            for moment, victim in zip(moments, victims):
                while process.poll() is None and self._log.read_bytes().count(b"\n") < moment:
                    time.sleep(0.01)
                # most of the time goes by between two lines
                time.sleep(self._random.uniform(0, 2))
                if self._kill(victim, process):
                    found.kills.append(victim)
        self._wait_until_over()
        expected = {name: self._owed(name) for name in self.workspaces}
        before = {name: len(self.lab.starts(name)) for name in self.workspaces}
        run = self.clean_run()
        if run.returncode != 0:
            found.failures.append(f"the clean run after {found.kills} failed: {run.output[-4000:]}")
        for name in self.workspaces:
            made = len(self.lab.starts(name)) - before[name]
            found.looked_at += 1
            found.made += made
            found.owed += made if made in expected[name] else min(expected[name])
            if made not in expected[name]:
                found.failures.append(f"{name}: {made} restarts after {found.kills}, owed: {sorted(expected[name])}")
            found.failures += [f"{name} after {found.kills}: {problem}" for problem in self._problems(name)]
        found.failures += [f"the controller after {found.kills}: {problem}" for problem in self._left_on_controller()]
        return found

    def _owed(self, name: str) -> set[int]:
        """How many restarts the clean run may make: one where the runtime has not loaded what is wanted, or nobody has noted that it has."""
        loaded = {plugin["name"]: plugin["sha256"] for plugin in (self.lab.loaded(name) or {"plugins": []})["plugins"]}
        if loaded != {plugin: _tree_hash(source) for plugin, source in self._desired().items() if source is not None}:
            return {1}
        snapshot = self.lab.snapshot(name, ".molecule_ai")
        receipts = [json.loads(self.lab.read_file(name, f".molecule_ai/{path}") or b"{}") for path in snapshot if _is_receipt(path)]
        if any(receipt["restart_pending"] for receipt in receipts):
            return {1}
        # a change that was done, of which nobody had written the receipt yet, or one that had not begun
        return {0, 1} if any(path.startswith("staging/") for path in snapshot) else {0}

    def _problems(self, name: str) -> list[str]:
        """What is not as it should be on a workspace after the clean run."""
        problems = []
        desired = {plugin: source for plugin, source in self._desired().items() if source is not None}
        plugins, state = self.lab.snapshot(name, "plugins"), self.lab.snapshot(name, ".molecule_ai")
        for plugin in sorted({path.partition("/")[0] for path in plugins if path} | set(desired)):
            items = {path[len(plugin) + 1:]: item for path, item in plugins.items() if path.partition("/")[0] == plugin}
            if plugin not in desired or items != expected_items(desired[plugin]):
                problems.append(f"plugin {plugin} is not what it should be")
            elif (self._receipt(name, plugin) or {"restart_pending": True})["restart_pending"]:
                problems.append(f"the receipt of {plugin} is missing or says that a restart is due")
        loaded = {plugin["name"]: plugin["sha256"] for plugin in (self.lab.loaded(name) or {"plugins": []})["plugins"]}
        if loaded != {plugin: _tree_hash(source) for plugin, source in desired.items()}:
            problems.append(f"the runtime has loaded something else: {sorted(loaded)}")
        problems += [f"a receipt of what is not there: {path}" for path in state if _is_receipt(path) and path[len("receipts/"):-len(".json")] not in desired]
        problems += [f"left: .molecule_ai/{path}" for path in state if path.startswith(("staging/", "tmp/")) or path.partition("/")[0] not in _STATE_NAMES]
        problems += [f"left running: {line}" for line in self._remote_processes(name)]
        left = self.lab.exec(name, "find", "/tmp", "/var/tmp", "/root", "/home", "-name", "ansible-tmp-*")
        return problems + [f"left: {path}" for path in left.stdout.decode().split()]

    def _receipt(self, name: str, plugin: str) -> dict[str, Any] | None:
        content = self.lab.read_file(name, f".molecule_ai/receipts/{plugin}.json")
        return json.loads(content) if content else None

    # -- who is killed ---------------------------------------------------------------------------------------------------------

    def _kill(self, victim: str, process: subprocess.Popen[bytes]) -> bool:
        """Kill one, as soon as there is one; False when the run has ended before."""
        kill: Callable[[], bool] = getattr(self, f"_kill_{victim}", lambda: self._kill_process(victim, process))
        while process.poll() is None:
            if kill():
                return True
            time.sleep(0.02)
        return False

    def _kill_process(self, victim: str, process: subprocess.Popen[bytes]) -> bool:
        candidates = self._processes_of(victim, process)
        if not candidates:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._random.choice(candidates), signal.SIGKILL)
            return True
        return False

    def _processes_of(self, victim: str, process: subprocess.Popen[bytes]) -> list[int]:
        if victim == "run":
            return [process.pid]
        if victim == "worker":
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # an ended one has no arguments
                return [child for child in children_of(process.pid) if "ansible-playbook" in " ".join(_arguments(child))]
            return []
        found = self._processes()
        if victim == "tunnel":
            return [number for number, arguments in found.items() if _is_tunnel(arguments)]
        return [number for number, arguments in found.items() if _is_ssh(arguments)]

    def _kill_container(self) -> bool:
        """The container of a runtime: on the docker tier, the one in which everything takes place."""
        return self._kill_and_start(self.lab.runtime(self._random.choice(self.workspaces)))

    def _kill_instance(self) -> bool:
        """The EC2 host."""
        return self._kill_and_start(self.lab.host(self._random.choice([name for name in self.workspaces if name.startswith("eic-")])))

    def _kill_and_start(self, container: Any) -> bool:
        try:
            container.kill()
        except docker.errors.APIError:
            return False  # it is just being restarted
        deadline = time.monotonic() + 60
        while True:
            try:
                container.start()
                return True
            except docker.errors.APIError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _kill_engine(self) -> bool:
        """The lab's Docker engine; what ran on it is started again by hand."""
        number = read_pid(self.lab.paths.engine_pid)
        if number is None or "dockerd" not in " ".join(_arguments(number)):
            return False
        os.kill(number, signal.SIGKILL)
        wait_for(lambda: not _arguments(number), "the engine is dead")
        subprocess.run([str(REPOSITORY / "tests" / "lab-command"), "--state", str(self.lab.paths.state), "--quiet", "up"], check=True, timeout=300)
        return True

    # -- what is left ----------------------------------------------------------------------------------------------------------

    def _processes(self) -> dict[int, list[str]]:
        """The arguments of every process of these runs, by process id."""
        mark, found = f"{_OURS}={self._mark}".encode(), {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = _arguments(int(entry.name))
        return found

    def _remote_processes(self, name: str) -> list[str]:
        """What the workspace half runs on a workspace."""
        listed = self.lab.host(name).top(ps_args="-eo pid,args")["Processes"] or []
        return [" ".join(line) for line in listed if " -I -S -c " in " ".join(line) or "AnsiballZ" in " ".join(line)]

    def _wait_until_over(self) -> None:
        """Until the machines run again and what the run had started has come to its end: workers outlive the run, and commands their connection."""
        def is_over() -> bool:
            with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
                local = [arguments for arguments in self._processes().values() if not _is_tunnel(arguments) and not _is_ssh(arguments)]
                return not local and not any(self._remote_processes(name) for name in self.workspaces)
            return False

        wait_for(is_over, "the disturbed run has ended everywhere", 240)
        for name in self.workspaces:
            self.lab.wait_started(name, timeout=120)

    def _left_on_controller(self) -> list[str]:
        """Processes, locks and files that the runs have left, once the shared connections have had the time to end."""
        end = time.monotonic() + _PERSIST + 60
        while (left := self._leftovers()) and time.monotonic() < end:
            time.sleep(0.5)
        return left

    def _leftovers(self) -> list[str]:
        files = [*(self._directory / "cp").glob("*.lock"), *(self._home / ".ansible" / "tmp").glob("*")]
        files += [path for path in (self._directory / "cp").glob("*") if path.is_socket()]
        state = self._directory / "state"
        files += [*state.glob("*.lock"), *state.glob("tunnels-*/queue/*"), *state.glob("targets-*.json.*")]
        running = [f"process {number}: {' '.join(arguments)[:150]}" for number, arguments in self._processes().items()]
        return running + [f"{path.relative_to(self._directory)}{sorted(each.name for each in path.iterdir()) if path.is_dir() else ''}" for path in files]


def _is_receipt(path: str) -> bool:
    return path.startswith("receipts/") and path.endswith(".json")


def _arguments(process: int) -> list[str]:
    """The command line of a process; empty when it has ended."""
    try:
        return pathlib.Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0") if process else []
    except OSError:
        return []


def _is_tunnel(arguments: list[str]) -> bool:
    return len(arguments) > 3 and arguments[3].endswith("eic_tunnel.py")


def _is_ssh(arguments: list[str]) -> bool:
    return os.path.basename(arguments[0]) == "ssh" or arguments[0].startswith("ssh: ")


def _load_runtime() -> Any:
    loader = importlib.machinery.SourceFileLoader("molecule_runtime", str(REPOSITORY / "tests" / "lab" / "image" / "molecule-runtime"))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


_RUNTIME = _load_runtime()


def _tree_hash(source: pathlib.Path) -> str:
    """What the lab's runtime would note of a plugin that it has loaded."""
    return str(_RUNTIME.tree_hash(str(source)))


def plan(kills: int, seed: int) -> list[list[str]]:
    """Which victims which run shall lose: every kind as often as another of its sort, in random order, and at the end something that no run survives."""
    choice = random.Random(seed)

    def forever(kinds: Sequence[str]) -> Iterator[str]:
        while True:
            yield from choice.sample(kinds, len(kinds))

    ending, others = forever(ENDING), forever([kind for kind in VICTIMS if kind not in ENDING])
    sizes = [min(MOST_AT_ONCE, kills - done) for done in range(0, kills, MOST_AT_ONCE)]
    return [[*itertools.islice(others, size - 1), next(ending)] for size in sizes]


def campaign(lab: Lab, workspaces: list[str], kills: int, seed: int, tell: Callable[[str], None] = print, until: float = float("inf")) -> list[Round]:
    """Kill until ``kills`` were made (or it is ``until``, by the monotonic clock) and return the rounds."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="de-", dir="/tmp"))  # short, because sockets' paths are
    rounds: list[Round] = []
    try:
        deaths = Deaths(lab, workspaces, directory, seed)
        deaths.prepare()
        waiting = plan(kills, seed)
        missed: list[str] = []
        # a victim that there never is must not keep it going for ever
        most = 3 * len(waiting) + 3
        while (waiting or missed) and len(rounds) < most and time.monotonic() < until:
            started = time.monotonic()
            if not waiting:
                missed.sort(key=ENDING.__contains__)
                waiting, missed = [missed[:MOST_AT_ONCE]], missed[MOST_AT_ONCE:]
            victims = waiting.pop(0)
            rounds.append(deaths.round(victims))
            # the run may have ended before a victim's turn came
            missed += (collections.Counter(victims) - collections.Counter(rounds[-1].kills)).elements()
            done = sum(len(each.kills) for each in rounds)
            outcome = f"restarts owed {rounds[-1].owed}, made {rounds[-1].made}; {time.monotonic() - started:.0f} s"
            tell(f"{done} of {kills}: {', '.join(rounds[-1].kills) or 'nothing'}; {outcome}")
            for failure in rounds[-1].failures:
                tell(f"  {failure}")
        idle = deaths.clean_run("--check")
        if idle.returncode != 0 or any(stats["changed"] for stats in idle.stats.values()):
            rounds[-1].failures.append(f"there was something to do in the end: {idle.stats}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return rounds
