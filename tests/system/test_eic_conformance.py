# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The eic connection passes what every connection has to pass, for each way to transfer files, and carries the bytes of another SSH implementation."""
from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import paramiko
import pytest
import yaml
from ansible_run import Run
from eic_connections import Controller, Counted, direct_address
from lab.api import Lab

LONG = bool(os.environ.get("EIC_TEST_LONG"))
MEBIBYTES = 100 if LONG else 4
METHODS = ["sftp", "scp", "piped", "smart"]
# the short run has each method and each kind of pipelining, the long one all pairs
_ALL = [(method, pipelining) for method in METHODS for pipelining in (True, False)]
COMBINATIONS = _ALL if LONG else list(zip(METHODS, [True, False, False, True], strict=True))
# a connection through the kernel fills its send and its receive buffer first, which grow up to these limits
_MORE_THAN_KERNELS_BUFFER = (64 << 20) + sum(int(pathlib.Path(f"/proc/sys/net/ipv4/tcp_{each}mem").read_text().split()[2]) for each in "rw")
SIZES = [0, 1, 4095, 65_000, 65_537, 1_000_003] if LONG else [0, 1, 65_537]


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    lab.clear_faults()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))  # short, because sockets' paths are
    made = Controller(lab, directory)
    yield made
    made.close()
    lab.clear_faults()
    shutil.rmtree(directory)


def test_the_playbook_of_all_connections_passes(controller: Controller, ansible: Callable[..., Run]) -> None:
    scratch = controller.directory / "scratch"
    scratch.mkdir()
    generator = random.Random(3)
    for size in SIZES:
        content = generator.randbytes(size)
        (scratch / f"size-{size}").write_bytes(content)
        (scratch / f"size-{size}.sum").write_text(f"{hashlib.sha256(content).hexdigest()}  -")
    (scratch / "text").write_text("汉语 " * 30_000 + "end")
    (scratch / "script-汉语.sh").write_text('#!/bin/sh\nfor each; do echo "$each"; done\n')
    names = {f"{method}-{'pipelined' if pipelining else 'files'}": (method, pipelining) for method, pipelining in COMBINATIONS}
    common = {**controller.variables, "ansible_connection": "molecule_ai.workspace.eic", "ansible_python_interpreter": "/usr/bin/python3",
              "ansible_eic_tunnel_timeout": 30, "ansible_eic_tunnel_wait": 60, "scratch": str(scratch), "sizes": SIZES}
    del common["inventory_hostname"]
    workspaces = ["eic-claude", "eic-hermes", "eic-langgraph", "eic-bare"]
    hosts: dict[str, dict[str, Any]] = {
        name: {
            "ansible_ssh_transfer_method": method, "ansible_pipelining": pipelining, "ansible_eic_instance_id": _instance(controller.lab, workspace),
            # core quotes names for scp's own protocol, which has not been scp's default since OpenSSH 9, and which then takes the quotes for another name
            "ansible_scp_extra_args": "-O -T" if method == "scp" else "",
        }
        for (name, (method, pipelining)), workspace in zip(names.items(), workspaces * 2)
    }
    inventory = controller.directory / "inventory.yml"
    playbook = pathlib.Path(__file__).with_name("eic_conformance.yml")
    with direct_address(controller.lab, "eic-bare") as (address, port):
        hosts["direct"] = {"ansible_eic_tunnel": "none", "ansible_eic_private_address": address, "ansible_port": port,
                           "ansible_eic_instance_id": _instance(controller.lab, "eic-bare")}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": common}}))
        run = ansible(playbook, inventory=inventory, environment={"ANSIBLE_FORKS": "5"})
    assert run.returncode == 0, run.output
    assert set(hosts) <= set(run.stats) and not any(run.stats[name]["unreachable"] or run.stats[name]["failures"] for name in hosts)


def _instance(lab: Lab, workspace: str) -> str:
    instance = lab.world.reload().instance_of(lab.world.workspace(workspace))
    assert instance is not None
    return str(instance["instance_id"])


class _Pipe:
    """The tunnel process as a socket for paramiko: standard input and output are one end of a socket pair."""

    def __init__(self, controller: Controller) -> None:
        self._connection = controller.connection()
        command = self._connection._build_command("ssh", "ssh", "x")
        proxy = next(argument for argument in command if argument.startswith(b"ProxyCommand=")).decode().removeprefix("ProxyCommand=").split(" ")
        self._settings, self._ticket_path = self._connection._settings(), self._connection._ticket_path
        self._command = proxy

    def __enter__(self) -> tuple[socket.socket, subprocess.Popen[bytes], paramiko.PKey]:
        from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_identity, eic_session

        ours, theirs = socket.socketpair()
        self._ticket = eic_session.ticket(self._settings, self._ticket_path)
        self._ticket.__enter__()
        self.process = subprocess.Popen(self._command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()
        self._socket = ours
        return ours, self.process, paramiko.Ed25519Key.from_private_key_file(eic_identity.private_key_path(self._settings.run_directory))

    def __exit__(self, *_error: object) -> None:
        self._socket.close()
        self._ticket.__exit__(None, None, None)
        assert self.process.wait(60) == 0


def _peak_memory(process: subprocess.Popen[bytes]) -> float:
    """The most memory that the process has had, in MiB."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def test_paramiko_moves_megabytes_both_ways_through_the_tunnel(controller: Controller) -> None:
    content = os.urandom(1 << 20)
    expected = hashlib.sha256()
    for _block in range(MEBIBYTES):
        expected.update(content)
    with contextlib.ExitStack() as held:
        pipe, process, key = held.enter_context(_Pipe(controller))
        transport = held.enter_context(paramiko.Transport(pipe))
        transport.connect(username="ubuntu", pkey=key)
        started = time.monotonic()
        upload = transport.open_session()
        upload.exec_command("tee /tmp/mebibytes | sha256sum")
        for _block in range(MEBIBYTES):
            upload.sendall(content)
        upload.shutdown_write()
        assert upload.makefile().read().split()[0].decode() == expected.hexdigest()
        up, started = time.monotonic() - started, time.monotonic()
        download, received, total = transport.open_session(), hashlib.sha256(), 0
        download.exec_command("cat /tmp/mebibytes; rm /tmp/mebibytes")
        while data := download.recv(65536):
            received.update(data)
            total += len(data)
        down = time.monotonic() - started
        assert (total, received.hexdigest()) == (MEBIBYTES << 20, expected.hexdigest())
        peak = _peak_memory(process)
    print(f"{MEBIBYTES} MiB up in {up:.1f} s, down in {down:.1f} s; the tunnel process had at most {peak:.1f} MiB")
    assert peak < 64


def test_a_reader_that_stops_makes_back_pressure_and_no_memory(controller: Controller) -> None:
    """ssh reads nothing while the instance has an endless file to send: nothing piles up on the way."""
    stopped = threading.Event()

    def relay(source: socket.socket, sink: socket.socket, stoppable: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                if stoppable and stopped.is_set():
                    return

    with _Pipe(controller) as (pipe, process, key):
        ours, theirs = socket.socketpair()
        threads = [threading.Thread(target=relay, args=arguments, daemon=True) for arguments in ((pipe, theirs, True), (theirs, pipe, False))]
        for thread in threads:
            thread.start()
        with paramiko.Transport(ours, default_window_size=2**31 - 1) as transport:
            transport.connect(username="ubuntu", pkey=key)
            before = _peak_memory(process)
            session = transport.open_session()
            session.exec_command("cat /dev/zero")
            assert session.recv(1)
            stopped.set()
            threads[0].join()
            passed = _until_nothing_passes(controller.lab)
            grown = _peak_memory(process) - before
        theirs.close()
    print(f"the tunnel process grew by {grown:.1f} MiB with a reader that had stopped, and {passed >> 20} MiB passed")
    assert grown < 8


def _until_nothing_passes(lab: Lab) -> int:
    """Wait until the buffers on the way are full, however slowly that goes; the bytes that they took."""
    counter, passed, quiet = Counted(lab), 0, 0
    while quiet < 2:
        time.sleep(1)
        before, passed = passed, counter["bytes_to_client"]
        quiet = quiet + 1 if passed == before else 0
        assert passed < _MORE_THAN_KERNELS_BUFFER, f"{passed} bytes passed, and still more do"
    return passed


def test_a_service_that_reads_slowly_makes_back_pressure_and_no_memory(controller: Controller) -> None:
    """ssh has more to send than the service takes: it has to wait, and nothing piles up in the tunnel process."""
    controller.fault("slow", direction="from_client", bytes_per_second=20_000)
    # what sshd takes without an answer; SSH's own flow control would hide the tunnel's
    payload = bytes([2]) + (65_522).to_bytes(4, "big") + bytes(65_522)
    ignored = (65_532).to_bytes(4, "big") + bytes([4]) + payload + bytes(4)
    counter, taken = Counted(controller.lab), 0
    with _Pipe(controller) as (pipe, process, _key):
        assert pipe.recv(4) == b"SSH-"
        before = _peak_memory(process)
        pipe.sendall(b"SSH-2.0-test\r\n")
        pipe.settimeout(3)
        with pytest.raises(TimeoutError):
            while taken < _MORE_THAN_KERNELS_BUFFER:
                taken += pipe.send(ignored[taken % len(ignored):])
        grown = _peak_memory(process) - before
        carried = counter["bytes_from_client"]
    print(f"the tunnel process grew by {grown:.1f} MiB with a service that took {carried >> 10} KiB of {taken >> 10} KiB")
    assert grown < 8 and carried < taken
