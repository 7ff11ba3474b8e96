# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an audit has come, while it runs: one live line on a terminal, a line now and then everywhere else."""
from __future__ import annotations

from typing import Protocol, TextIO

_ERASE = "\r\x1b[K"
_REDRAW_SECONDS = 0.1


class Counts(Protocol):
    """What is counted while an audit runs."""

    @property
    def total(self) -> int:
        """The number of workspaces."""

    @property
    def done(self) -> int:
        """The number of those that are finished."""

    def count(self, state: str) -> int:
        """The number of finished ones in this state."""


def progress_text(counts: Counts, elapsed: float) -> str:
    """Return the line: done, drifted, unknown, rate per second, time left. ``elapsed`` is in seconds."""
    done, total = counts.done, counts.total
    percent = 100 * done // total if total else 100
    unknown = counts.count("unknown") + counts.count("none")
    text = f"Audit {done}/{total} ({percent} %), {counts.count('drift')} drifted, {unknown} unknown"
    if done and elapsed > 0:
        rate = done / elapsed
        text += f", {rate:.1f}/s" if rate < 10 else f", {rate:.0f}/s"
        if done < total:
            text += f", {_duration((total - done) / rate)} left"
    return text


class LiveLine:
    """The last line of a terminal, which is erased before anything else is written and drawn again after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._drawn = False
        self._at = float("-inf")

    def show(self, text: str, columns: int, now: float) -> None:
        """Draw the line, but not more than ten times a second. ``columns``: the terminal's width; the cursor stays in the line."""
        self._text = text[: max(0, columns - 1)]
        if now - self._at >= _REDRAW_SECONDS:
            self._at = now
            self.draw()

    def erase(self) -> None:
        """Remove the line from the terminal, for something else to be written."""
        if self._drawn:
            self._stream.write(_ERASE)
            self._stream.flush()
            self._drawn = False

    def draw(self) -> None:
        """Draw the line as it was shown last."""
        if self._text:
            self._stream.write(_ERASE + self._text)
            self._stream.flush()
            self._drawn = True

    def close(self) -> None:
        """Remove the line for good."""
        self.erase()
        self._text = ""


class Milestones:
    """Decides when a line is due where lines are only appended: the first result, every ``interval`` seconds, and the end."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._at: float | None = None
        self._finished = False

    def due(self, counts: Counts, now: float) -> bool:
        """Tell whether to write a line now (seconds on any clock that does not go back)."""
        if self._finished or not counts.done:
            return False
        self._finished = counts.done >= counts.total
        if self._finished or self._at is None or now - self._at >= self._interval:
            self._at = now
            return True
        return False


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
