# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One process per host at a time, whatever dies; and an ssh that hangs is ended with all it started."""
from __future__ import annotations

import multiprocessing
import os
import pathlib
import socket
import tempfile
import time

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_master

FORK = multiprocessing.get_context("fork")


def test_a_socket_without_a_listener_is_dead() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        assert not eic_master.is_alive(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        assert eic_master.is_alive(path)
        listener.close()
        assert not eic_master.is_alive(path)


def test_a_new_master_at_the_same_path_is_another_one() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        assert eic_master.identity(path) is None
        found = []
        for _time in range(2):
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                found.append(eic_master.identity(path))
            os.unlink(path)
            time.sleep(0.02)
        assert None not in found and found[0] != found[1]


def test_stopping_what_is_not_there_is_no_success() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        assert not eic_master.stop("ssh", path)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(path)
            deaf.listen()
            assert not eic_master.stop("/nonexistent", path)
            assert not eic_master.stop("false", path)


def _increment(lock: str, counter: str) -> None:
    with eic_master.serialised(lock, 30):
        value = int(pathlib.Path(counter).read_text())
        time.sleep(0.01)
        pathlib.Path(counter).write_text(str(value + 1))


def test_processes_take_turns_and_leave_no_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "counter").write_text("0")
    workers = [FORK.Process(target=_increment, args=(str(tmp_path / "lock"), str(tmp_path / "counter"))) for _number in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert (tmp_path / "counter").read_text() == "10"
    assert os.listdir(tmp_path) == ["counter"]


def _hold(lock: str) -> None:
    with eic_master.serialised(lock, 5):
        time.sleep(60)


def test_waiting_is_bounded_and_a_killed_holder_frees_the_lock(tmp_path: pathlib.Path) -> None:
    lock = str(tmp_path / "lock")
    holder = FORK.Process(target=_hold, args=(lock,))
    holder.start()
    while not os.path.exists(lock):
        time.sleep(0.01)
    time.sleep(0.1)
    with pytest.raises(eic_master.LockTimeout), eic_master.serialised(lock, 0.3):
        pytest.fail("two holders")
    holder.kill()
    holder.join(10)
    with eic_master.serialised(lock, 5):
        pass


def test_an_error_inside_frees_the_lock(tmp_path: pathlib.Path) -> None:
    lock = str(tmp_path / "lock")
    with pytest.raises(RuntimeError), eic_master.serialised(lock, 1):
        raise RuntimeError
    with eic_master.serialised(lock, 1):
        pass


def test_start_returns_status_and_messages() -> None:
    assert eic_master.start([b"sh", b"-c", b"echo message >&2; exit 3"], 10, "/nonexistent") == (3, "message\n")


def test_what_hangs_is_ended_with_its_children(tmp_path: pathlib.Path) -> None:
    started = time.monotonic()
    command = f"sleep 60 & echo $! > {tmp_path}/child; trap '' HUP; wait; sleep 60"
    with pytest.raises(eic_master.LoginTimeout):
        eic_master.start([b"sh", b"-c", command.encode()], 0.5, "/nonexistent")
    assert time.monotonic() - started < 5
    child = int((tmp_path / "child").read_text())
    for _attempt in range(50):
        state = pathlib.Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("a child is left")


def test_what_went_into_the_background_without_a_socket_is_ended(tmp_path: pathlib.Path) -> None:
    """As ssh does when ControlPath is overridden: its tunnel stays in the process group, it leaves for a session of its own."""
    (tmp_path / "sh").write_text(f"setsid sh -c 'echo $$ > {tmp_path}/ssh; exec sleep 60' & sh -c 'echo $$ > {tmp_path}/tunnel; exec sleep 60' & sleep 0.5")
    with pytest.raises(eic_master.MasterMissing):
        eic_master.start([b"sh", bytes(tmp_path / "sh")], 10, str(tmp_path / "socket"))
    for name in ("ssh", "tunnel"):
        state = pathlib.Path(f"/proc/{(tmp_path / name).read_text().strip()}/stat")
        assert not state.exists() or state.read_text().split()[2] == "Z", name


def test_the_shell_of_a_proxy_command_is_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/false")
    assert eic_master.start([b"sh", b"-c", b"echo $SHELL >&2; exit 3"], 10, "/nonexistent") == (3, "/bin/sh\n")


def test_what_killed_processes_left_is_swept_and_what_lives_or_is_not_ours_stays() -> None:
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as living:
        directory = pathlib.Path(name)
        for file in ("eic-1.status", "eic-1.status.123", "eic-2.status", "eic-2.lock", "eic-held.lock", "0123456789.status", "eic-3.note"):
            (directory / file).touch()
        living.bind(f"{name}/eic-living")
        living.listen()
        for file in ("eic-dead", "eic-dead.Q2VyZWFsaXphdGlv", "eic-recent"):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(f"{name}/{file}")
                dead.listen()
        for entry in directory.iterdir():
            if entry.name not in ("eic-2.status", "eic-2.lock", "eic-recent"):
                os.utime(entry, (0, 0))
        with eic_master.serialised(f"{name}/eic-held.lock", 0):
            eic_master.sweep(name)
            assert sorted(entry.name for entry in directory.iterdir()) == [
                "0123456789.status", "eic-2.status", "eic-3.note", "eic-held.lock", "eic-living", "eic-recent",
            ]
        assert eic_master.is_alive(f"{name}/eic-living")
        eic_master.sweep(f"{name}/nothing")


def test_a_dead_socket_is_left_to_whoever_opens_a_connection_there() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = f"{name}/eic-dead"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        os.utime(path, (0, 0))
        with eic_master.serialised(f"{path}.lock", 0):
            eic_master.sweep(name)
            assert os.path.exists(path)
        eic_master.sweep(name)
        assert os.listdir(name) == []
