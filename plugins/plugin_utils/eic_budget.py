# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel budget: never more than N tunnels per endpoint from this user's processes, because AWS refuses the 21st.

One directory per endpoint with a file per slot. Whoever holds a shared lock on a slot's file has the slot, so the kernel frees it on any death. A worker claims
a slot (:func:`claimed`) and hands its path to the tunnel process, which takes the lock itself (:func:`hold`) and keeps it to its end; the nonce in the file
keeps a tunnel out whose worker has died meanwhile. Who finds no slot queues in the order of arrival, and the head of the queue asks for idle connections to
be given up. Order of locks: first connection of a host, then the queue, then a slot; a slot's holder waits for none of them.

Standard library only: the tunnel process imports this file without any package around it.
"""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import random
import secrets
import time
import typing as t

_QUEUE = "queue"
_STOP_INTERVAL = 0.1
"""Seconds between two looks for idle connections."""


class BudgetTimeout(Exception):
    """No slot was free within the time that was allowed."""


class SlotLost(Exception):
    """The slot is not (or no longer) the claimer's."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A slot that is held: its file, and the proof that it was claimed for this tunnel."""

    path: str
    nonce: str


Holder = dict[str, str]
"""What a claimer said about itself (JSON-able), as the waiting ones see it."""

StopIdle = t.Callable[[list[Holder], int], object]


@contextlib.contextmanager
def claimed(directory: str, limit: int, wait: float, holder: Holder, stop_idle: StopIdle) -> t.Iterator[Claim]:
    """Claim one of ``limit`` slots of the endpoint ``directory``, waiting at most ``wait`` seconds; it is held until the end of the context,
    and beyond it by whoever has called :func:`hold` meanwhile.

    ``stop_idle`` gets the holders of all slots when none is free, and how many wait for one; it makes that many of them end, as far as it can.
    Raises :class:`BudgetTimeout` and :class:`OSError`.
    """
    descriptor, claim = _wait_for_slot(directory, limit, wait, holder, stop_idle)
    try:
        yield claim
    finally:
        os.close(descriptor)


def hold(claim: Claim) -> int:
    """Take over the slot of ``claim`` until this process ends (or closes the descriptor that is returned); raises :class:`SlotLost`."""
    try:
        descriptor = os.open(claim.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SlotLost from error
    # the claimer's own lock is a shared one, so only someone who takes the slot anew is in the way
    if _lock(descriptor, fcntl.LOCK_SH) and _content(descriptor).get("nonce") == claim.nonce:
        return descriptor
    os.close(descriptor)
    raise SlotLost


def holders(directory: str) -> list[Holder]:
    """Who holds slots of the endpoint ``directory`` now, in the order of the slots."""
    found: list[Holder] = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(directory)):
            if name == _QUEUE:
                continue
            descriptor = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if not _lock(descriptor, fcntl.LOCK_EX):
                    found.append({key: str(value) for key, value in _content(descriptor).items()})
            finally:
                os.close(descriptor)
    return found


def _wait_for_slot(directory: str, limit: int, wait: float, holder: Holder, stop_idle: StopIdle) -> tuple[int, Claim]:
    end, stop_next = time.monotonic() + wait, 0.0
    os.makedirs(os.path.join(directory, _QUEUE), 0o700, exist_ok=True)
    with _queued(os.path.join(directory, _QUEUE)) as position:
        while True:
            before_us = position()
            if not before_us:
                found = _free_slot(directory, limit, holder)
                if found:
                    return found
                if time.monotonic() >= stop_next:
                    stop_idle(holders(directory), len(_waiting(os.path.join(directory, _QUEUE))))
                    stop_next = time.monotonic() + _STOP_INTERVAL
            if time.monotonic() >= end:
                raise BudgetTimeout
            # the further behind, the less often: fifty that wait must not keep a processor busy
            time.sleep(min(0.04 * (before_us + 1), 0.5) * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing


def _free_slot(directory: str, limit: int, holder: Holder) -> tuple[int, Claim] | None:
    for number in range(1, limit + 1):
        path = os.path.join(directory, f"slot-{number:02d}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if _lock(descriptor, fcntl.LOCK_EX):
            claim = Claim(path, secrets.token_hex(8))
            content = json.dumps({**holder, "nonce": claim.nonce}).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
            # not atomic: whoever comes in between has written a nonce of its own, and we go on to the next slot
            if _lock(descriptor, fcntl.LOCK_SH) and _content(descriptor).get("nonce") == claim.nonce:
                return descriptor, claim
        os.close(descriptor)
    return None


@contextlib.contextmanager
def _queued(directory: str) -> t.Iterator[t.Callable[[], int]]:
    """Stand in the queue; yields the function that counts who is before us. Dead ones are removed by those behind them."""
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    temporary, path = os.path.join(directory, f".{name}"), os.path.join(directory, name)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # visible only with its lock: what can be locked is dead
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.rename(temporary, path)
        yield lambda: _living_before(directory, name)
    finally:
        for left in (temporary, path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)
        os.close(descriptor)


def _living_before(directory: str, name: str) -> int:
    before = [other for other in _waiting(directory) if other < name]
    while before and not _is_locked(os.path.join(directory, before[0])):
        # the first one decides who is next, so only it has to be looked at
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, before[0]))
        del before[0]
    return len(before)


def _waiting(directory: str) -> list[str]:
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _content(descriptor: int) -> dict[str, t.Any]:
    try:
        content = json.loads(os.pread(descriptor, 65536, 0))
        return content if isinstance(content, dict) else {}
    except ValueError:
        return {}
