# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says what the lab does while it does it: one line per step, and a sign of life during long ones."""
from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


class Progress:
    """Prints steps to standard error; ``quiet`` keeps silent (tests)."""

    class Step:
        """A running step; ``detail`` is what it does just now, shown with the next sign of life."""

        detail = ""

    def __init__(self, *, quiet: bool = False, heartbeat: float = 10.0) -> None:
        self._quiet = quiet
        self._heartbeat = heartbeat

    def say(self, line: str) -> None:
        """Print one line at once."""
        if not self._quiet:
            print(f"lab: {line}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[Progress.Step]:
        """Announce ``what``, say what it is at while it takes long, and how long it took when that was more than a moment."""
        start = time.monotonic()
        self.say(what)
        step = self.Step()
        finished = threading.Event()

        def remind() -> None:
            while not finished.wait(self._heartbeat):
                self.say(f"  ... {time.monotonic() - start:.0f} s {step.detail}".rstrip())

        reminder = threading.Thread(target=remind, daemon=True)
        reminder.start()
        outcome = "failed after"
        try:
            yield step
            outcome = "done in"
        finally:
            finished.set()
            reminder.join()
            elapsed = time.monotonic() - start
            if elapsed > 1 or outcome != "done in":
                self.say(f"  {outcome} {elapsed:.1f} s")
