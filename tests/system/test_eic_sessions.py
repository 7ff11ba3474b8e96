# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More commands at a time than sshd allows sessions on one connection: a spare connection takes them, and its failures are told as those of any other."""
from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator

import pytest
from eic_connections import Controller, Counted, Marker, fresh_controller
from lab.api import Lab

MAX_SESSIONS = 10
"""sshd's, in the lab as by default."""


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    with fresh_controller(lab) as made:
        made.give_target()
        yield made


@contextlib.contextmanager
def crowded(controller: Controller) -> Iterator[None]:
    """The shared connection is there, and all its sessions are in use."""
    assert controller.run("true")[0] == 0
    (socket,) = (controller.directory / "cp").glob("eic-*")
    command = ["ssh", "-o", f"ControlPath={socket}", "-o", "ProxyCommand=false", "-o", "BatchMode=yes", "x", "echo in; cat"]
    with contextlib.ExitStack() as sessions:
        for _session in range(MAX_SESSIONS):
            process = sessions.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
            assert process.stdout and process.stdout.readline() == b"in\n"
        yield


def test_further_sessions_share_one_spare_connection(controller: Controller) -> None:
    marker, counter, outputs = Marker(controller), Counted(controller.lab), []
    with crowded(controller):
        threads = [threading.Thread(target=lambda: outputs.append(controller.run(f"{marker.command}; echo ran"))) for _command in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outputs == [(0, b"ran\n")] * 3 and marker.count() == 3
        assert (counter["tunnels"], counter["key_pushes"]) == (2, 2)
    controller.connection().reset()
    assert controller.leftovers() == []


@pytest.mark.parametrize(
    ("fault", "parameters", "kind", "words"),
    [
        ("deny_tunnel", {}, "authentication", ["ec2-instance-connect:OpenTunnel", "AWS request"]),
        ("deny_push", {}, "authentication", ["ec2-instance-connect:SendSSHPublicKey", "AWS request"]),
        ("target_unreachable", {}, "unreachable", ["security group", "AWS request"]),
        ("refuse_tunnel", {"status": 500}, "unreachable", ["server error", "AWS request"]),
    ],
)
def test_a_spare_connection_that_cannot_be_opened_is_told_as_any_other(
    controller: Controller, fault: str, parameters: dict[str, int], kind: str, words: list[str]
) -> None:
    marker = Marker(controller)
    with crowded(controller):
        controller.fault(fault, **parameters)
        failed_as, message = controller.failure(marker.command)
        assert (failed_as, [word for word in words if word not in message]) == (kind, []), message
        assert marker.count() == 0


def test_what_ends_on_a_spare_connection_is_told_from_what_is_lost_with_it(controller: Controller) -> None:
    marker = Marker(controller)
    with crowded(controller):
        assert "status 255 while the connection stayed up" in controller.failure(f"{marker.command}; exit 255")[1]
        assert marker.count() == 1
    controller.connection().reset()
    with crowded(controller):
        controller.fault("cut_after", bytes=60_000, direction="to_client", how="reset", count=1)
        kind, message = controller.failure(f"{marker.command}; head -c 1000000 /dev/urandom")
        assert kind == "unreachable" and "outcome is unknown" in message and marker.count() == 2, message


def test_a_session_that_becomes_free_is_waited_for(controller: Controller) -> None:
    """No tunnel is left for a spare connection, but the first one has a session again before the wait is over."""
    controller.variables.update(ansible_eic_tunnel_budget=1, ansible_eic_tunnel_wait=30)
    with contextlib.ExitStack() as held:
        held.enter_context(crowded(controller))
        timer = threading.Timer(2.0, held.close)
        timer.start()
        assert controller.run("echo ran") == (0, b"ran\n")
        timer.join()


def test_without_any_session_the_sentence_names_sshds_limit(controller: Controller) -> None:
    controller.variables.update(ansible_eic_tunnel_budget=1, ansible_eic_tunnel_wait=1)
    with crowded(controller):
        kind, message = controller.failure()
        assert kind == "unreachable" and "MaxSessions" in message, message
