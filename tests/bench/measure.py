# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run contestants in turn and keep what each cost: seconds, CPU seconds of the process and of all that it started, memory, and whether the job was done."""
from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

_SUBREAPER = 36
_TIMEOUT = 3600.0


class NotDone(Exception):
    """A contestant did not do its job, so its time says nothing."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """One measured run. ``wall`` and ``cpu``: seconds; ``memory``: MiB of the largest process; ``output``: what it printed."""

    wall: float
    cpu: float
    memory: float
    output: str


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to do a scenario's job.

    ``run`` does it once and returns the reading; ``prepare`` makes the state that each run starts from, ``check`` raises :class:`NotDone` unless the end state
    is the right one. Both are outside the time. ``shown`` is what the report calls it.
    """

    name: str
    shown: str
    run: Callable[[], Reading]
    prepare: Callable[[], None] = lambda: None
    check: Callable[[Reading], None] = lambda _reading: None


@dataclasses.dataclass
class Result:
    """All readings of one contestant in one scenario, ``extra`` more figures by name; ``error``: why there are none."""

    shown: str
    wall: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)
    extra: dict[str, float] = dataclasses.field(default_factory=dict)
    error: str = ""

    def data(self) -> dict[str, Any]:
        """As plain data, with the medians."""
        figures: dict[str, Any] = {
            name: {"median": round(statistics.median(values), 3), "all": [round(value, 3) for value in values]}
            for name, values in (("wall", self.wall), ("cpu", self.cpu), ("memory", self.memory)) if values
        }
        return {"shown": self.shown, **figures, **({"extra": self.extra} if self.extra else {}), **({"error": self.error} if self.error else {})}


def become_subreaper() -> None:
    """Let what contestants leave running become this process's children, so that its CPU time is counted once it has ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def reap() -> float:
    """Collect orphans that have ended; their CPU seconds."""
    used = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            process, _status, usage = os.wait4(-1, os.WNOHANG)
            if not process:
                break
            used += usage.ru_utime + usage.ru_stime
    return used


def has_children() -> bool:
    """Whether a process that was started here, or left to this one, has not been collected yet."""
    with contextlib.suppress(OSError):
        return any(task.joinpath("children").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir())
    return False


def run(command: Sequence[str | os.PathLike[str]], environment: dict[str, str] | None = None, directory: pathlib.Path | None = None, *,
        status: int | None = 0, timeout: float = _TIMEOUT) -> Reading:
    """Run ``command``; raises :class:`NotDone` for another exit status than ``status`` (None: any) and after ``timeout`` seconds."""
    reap()
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [os.fspath(word) for word in command], env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended, usage = _wait(process, timeout)
        wall = time.perf_counter() - started
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status is not None and ended != status:
        raise NotDone(f"{os.fspath(command[0])} ended with status {ended}:\n{text[-3000:]}")
    return Reading(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> tuple[int, Any]:
    """Exit status and resource usage of ``process`` and what it waited for."""
    def too_long(_number: int, _frame: object) -> None:
        os.killpg(process.pid, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(int(timeout))
    try:
        _process, status, usage = os.wait4(process.pid, 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def compare(contestants: Sequence[Contestant], rounds: int) -> dict[str, Result]:
    """Run all contestants once for each round, in another order each time, so that whatever else the machine does strikes all alike.

    A contestant that fails in one round has no time at all, only its error.
    """
    results = {each.name: Result(each.shown) for each in contestants}
    for number in range(rounds):
        for each in [*contestants[number % len(contestants):], *contestants[: number % len(contestants)]]:
            result = results[each.name]
            if result.error:
                continue
            try:
                each.prepare()
                reading = each.run()
                each.check(reading)
            except (NotDone, OSError, subprocess.CalledProcessError) as error:
                results[each.name] = Result(each.shown, error=str(error)[-2000:])
                print(f"  {each.name}: NOT DONE: {error}", file=sys.stderr, flush=True)
                continue
            result.wall.append(reading.wall)
            result.cpu.append(reading.cpu)
            result.memory.append(reading.memory)
            print(f"  round {number + 1} {each.name}: {reading.wall:.2f} s, CPU {reading.cpu:.2f} s, {reading.memory:.0f} MiB", file=sys.stderr, flush=True)
    return results
