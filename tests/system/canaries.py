# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for secrets where others could see them while a run goes on."""
from __future__ import annotations

import contextlib
import os
import pathlib
import stat
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def watched(directory: pathlib.Path, canaries: list[bytes], *, environments: bool = False) -> Iterator[list[str]]:
    """Watch during the block; yields the list of what is seen. AssertionError when the watch itself did not last to the end.

    ``environments``: also what processes have in their environment, for secrets that nobody has put there.
    """
    over, seen = threading.Event(), []
    watcher = threading.Thread(target=_watch, args=(directory, canaries, ("cmdline", "environ") if environments else ("cmdline",), over, seen))
    watcher.start()
    try:
        yield seen
    finally:
        lasted = watcher.is_alive()
        over.set()
        watcher.join()
    assert lasted, "the watch has ended early"


def _watch(directory: pathlib.Path, canaries: list[bytes], of_processes: tuple[str, ...], over: threading.Event, seen: list[str]) -> None:
    """Note each process whose arguments (or environment), and each file that others may read whose content has a canary."""
    while not over.is_set():
        for process in (path for name in of_processes for path in pathlib.Path("/proc").glob(f"[0-9]*/{name}")):
            with contextlib.suppress(OSError):
                content = process.read_bytes()
                seen.extend(f"{canary!r} in {process}: {content!r}" for canary in canaries if canary in content)
        # Not Path.rglob, which gives up when a directory goes meanwhile.
        for parent, _directories, names in os.walk(directory):
            for path in (pathlib.Path(parent, name) for name in names):
                with contextlib.suppress(OSError):
                    if path.is_file() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                        content = path.read_bytes()
                        seen.extend(f"{canary!r} in the file {path}" for canary in canaries if canary in content)
        over.wait(0.05)
