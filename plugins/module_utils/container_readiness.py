# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""When is a container really back after a restart? Decided from what ``docker inspect`` says (:func:`state_of`), and from nothing else.

The same logic serves the Docker SDK on the controller and the docker program on an EC2 host: both deliver the same JSON.
"""
from __future__ import annotations

import time
from typing import Any, Callable, Mapping, Protocol

from .errors import WorkspaceError

# A restart policy brings a crashing container up again and again; this many starts after the one that was asked are a loop.
CRASH_LOOP_STARTS = 3

# Who does so without a restart policy cannot be told from other runs; of these there are never so many while one waits.
MOST_STARTS = 30

# Another run's restart stops it for less; who stays down longer than this has failed.
STOPPED_SECONDS = 5

STILL_PENDING = "plugins that wait for this restart keep waiting (restart_pending), so the next run tries again"


def state_of(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``State`` object of a container's description by ``docker inspect``, with its ``RestartCount``. Raises ``LookupError`` and ``TypeError``.

    The engine counts the starts that the restart policy has made, and begins again at a start that somebody has asked for
    (``Container.ResetRestartManager`` in Moby's ``container/container.go``).
    """
    return dict(description["State"], RestartCount=description.get("RestartCount"))


class Readiness(Protocol):
    """Follows one container or service from observation to observation."""

    @property
    def started_at(self) -> str:
        """When it was last seen to start, as its manager writes it."""

    def observe(self, state: Mapping[str, Any], now: float) -> bool:
        """Return whether it is back; raise :class:`WorkspaceError` when it will not come back."""

    def overdue(self, timeout: float) -> WorkspaceError:
        """Return the error that says what was still missing when ``timeout`` (seconds) was over."""


class ContainerReadiness:
    """Judges one container after a restart was asked.

    Ready: started since (``StartedAt`` differs from ``started_before``), running, and healthy if it has a health check; without one, up for
    ``settle`` seconds without another start. ``unhealthy`` is not final, because a slow runtime may still recover before the timeout.
    ``consequence`` says what it means for the plugins when the container stays down.
    """

    def __init__(self, name: str, started_before: str, settle: float, consequence: str = STILL_PENDING) -> None:
        self._name = name
        self._consequence = consequence
        self._started_before = started_before
        self._settle = settle
        self._started_at = started_before
        self._stable_since: float | None = None
        self._stopped_since: float | None = None
        self._starts = 0
        self._all_starts = 0
        self._missing = "it has not started again"

    @property
    def started_at(self) -> str:
        """The start that was seen last, as Docker writes it (RFC 3339)."""
        return self._started_at

    def observe(self, state: Mapping[str, Any], now: float) -> bool:
        """Take one state (see :func:`state_of`) seen at ``now`` (a monotonic clock, seconds); return whether the container is ready.

        Raises :class:`WorkspaceError` when it exited for good or starts again and again.
        """
        started_at = str(state.get("StartedAt") or "")
        if started_at == self._started_before:
            return False
        if started_at != self._started_at:
            self._started_at = started_at
            self._stable_since = None
            # None of a policy's: somebody has asked for it, for instance another run that has changed other plugins.
            self._starts = 1 if state.get("RestartCount") == 0 else self._starts + 1
            self._all_starts += 1
            if self._starts > CRASH_LOOP_STARTS or self._all_starts > MOST_STARTS:
                raise self._final(state, f"started {self._all_starts} times in a row and does not stay up")
        if state.get("Restarting"):
            self._stable_since = None
            self._missing = f"it stopped again {_how_it_ended(state)} and waits for its restart policy"
            return False
        if not state.get("Running"):
            return self._wait_for_another_start(state, now)
        self._stopped_since = None
        if state.get("Paused"):
            self._stable_since = None
            self._missing = "it is paused"
            return False
        return self._is_healthy(state, now)

    def _wait_for_another_start(self, state: Mapping[str, Any], now: float) -> bool:
        """Somebody else may just be restarting it as well."""
        self._stable_since = None
        self._missing = f"it stopped again {_how_it_ended(state)}"
        if self._stopped_since is None:
            self._stopped_since = now
        if now - self._stopped_since >= STOPPED_SECONDS:
            raise self._final(state, f"started and stopped again {_how_it_ended(state)}")
        return False

    def _is_healthy(self, state: Mapping[str, Any], now: float) -> bool:
        health = str((state.get("Health") or {}).get("Status") or "none")
        if health != "none":
            self._missing = f"its health check says {health}"
            return health == "healthy"
        if self._stable_since is None:
            self._stable_since = now
        self._missing = f"it has not been up for {self._settle:g} s yet"
        return now - self._stable_since >= self._settle

    def _final(self, state: Mapping[str, Any], what: str) -> WorkspaceError:
        killed = " (killed for lack of memory)" if state.get("OOMKilled") else ""
        return WorkspaceError(f"container {self._name} {what}{killed}: read 'docker logs {self._name}' for the reason; {self._consequence}")

    def overdue(self, timeout: float) -> WorkspaceError:
        """Return the error for a container that was not ready within ``timeout`` seconds."""
        return WorkspaceError(
            f"container {self._name} was not ready {timeout:g} s after its restart, because {self._missing}: "
            f"read 'docker logs {self._name}' or allow more time with the option wait_timeout; {STILL_PENDING}"
        )


def _how_it_ended(state: Mapping[str, Any]) -> str:
    return f"with exit code {state.get('ExitCode', 'unknown')}"


def wait_until_ready(
    look: Callable[[], Mapping[str, Any]],
    readiness: Readiness,
    timeout: float,
    interval: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Look every ``interval`` seconds until ``readiness`` is satisfied; return the seconds waited.

    Raises :class:`WorkspaceError` when ``timeout`` seconds are over or it will not come back. Looks at least once.
    """
    begun = clock()
    while True:
        if readiness.observe(look(), clock()):
            return clock() - begun
        if clock() - begun >= timeout:
            raise readiness.overdue(timeout)
        sleep(interval)
