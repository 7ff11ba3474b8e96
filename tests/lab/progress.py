"""Says what the lab does while it does it: one line per step, and a sign of life during long ones."""
from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


class Progress:
    """Prints steps to ``stream``; ``quiet`` keeps silent (tests)."""

    def __init__(self, *, quiet: bool = False, heartbeat: float = 10.0) -> None:
        self._quiet = quiet
        self._heartbeat = heartbeat

    def say(self, line: str) -> None:
        """Print one line at once."""
        if not self._quiet:
            print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce ``what``, repeat it with the elapsed time while it takes long, and say how long it took (or that it failed)."""
        start = time.monotonic()
        self.say(f"lab: {what} ...")
        finished = threading.Event()

        def remind() -> None:
            while not finished.wait(self._heartbeat):
                self.say(f"lab: {what} ... {time.monotonic() - start:.0f} s so far")

        reminder = threading.Thread(target=remind, daemon=True)
        reminder.start()
        outcome = "failed after"
        try:
            yield
            outcome = "done in"
        finally:
            finished.set()
            reminder.join()
            self.say(f"lab: {what}: {outcome} {time.monotonic() - start:.1f} s")
