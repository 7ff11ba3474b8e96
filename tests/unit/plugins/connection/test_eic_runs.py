# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is repeated, and what is not: the connection's own decisions, over an ssh that is played by the test."""
from __future__ import annotations

import os
import pathlib
import socket
import tempfile
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.connection import ssh
from ansible_collections.molecule_ai.workspace.plugins.connection import eic
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session, eic_settings, eic_ticket, eic_use
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_target import Target

Result = tuple[int, bytes, bytes]
BROKEN_PIPE = ssh.AnsibleControlPersistBrokenPipeError("mux_client_hello_exchange: write packet: Broken pipe")
COMMAND, TRANSFER = [b"ssh", b"host", b"true"], [b"scp", b"a", b"host:b"]


class World:
    """A connection whose shared connections are all up. ``answers`` are what core's runs do, in order: a result or an error, and whether ssh finds
    the connection without a session (it then asks for a ticket that is not there)."""

    def __init__(self, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = eic_settings.Settings(
            instance_id="i-0123456789abcdef0", os_user="ubuntu", port=22, known=Target(None, None, None), aws=aws_session.AwsOptions(),
            max_tunnel_duration=3600, instance_connect_endpoint_url=None, connect_to=None, known_hosts=f"{directory}/known_hosts", host_key_policy="accept-new",
            control_directory=directory, run_directory=directory, tunnel_timeout=10, login_timeout=10, state_directory=f"{directory}/state", tunnel_budget=3,
            tunnel_wait=0,
        )
        self.connection = object.__new__(eic.Connection)
        self.connection._ticket_path = f"{directory}/eic-ticket-1"
        self.connection._play_context = PlayContext()
        self.connection._play_context.password = "canary"
        self.seen: list[tuple[object, str | None]] = []
        self.opened: list[int] = []
        self.runs = 0
        self.answers: list[tuple[Result | Exception, bool]] = []
        self.listeners: list[socket.socket] = []
        monkeypatch.setattr(eic.Connection, "_settings", lambda _self: self.settings)
        monkeypatch.setattr(eic.Connection, "_open", lambda _self, settings: self._open(settings))
        monkeypatch.setattr(eic.Connection, "get_option", lambda _self, name: {"ssh_executable": "ssh"}[name])
        monkeypatch.setattr(ssh.Connection, "_bare_run", lambda _self, *_arguments, **_options: self._run())

    def _open(self, settings: eic_settings.Settings) -> None:
        if settings.spare not in self.opened:
            self.opened.append(settings.spare)
            self.listeners.append(socket.socket(socket.AF_UNIX))
            self.listeners[-1].bind(settings.control_path)
            self.listeners[-1].listen()

    def _run(self) -> Result:
        self.runs += 1
        self.seen.append((self.connection._play_context.password, os.environ.get("SHELL")))
        answer, without_session = self.answers.pop(0)
        if without_session:
            self.leave_report()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def leave_report(self) -> None:
        eic_ticket.write_report(f"{self.connection._ticket_path}.status", eic_ticket.Report("ticket", "TicketMissing"))

    def run(self, command: list[bytes], *answers: tuple[Result | Exception, bool]) -> Result:
        self.answers = list(answers)
        result: Result = self.connection._bare_run(command, None)
        assert not self.answers
        return result


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[World]:
    # sockets need short paths
    with tempfile.TemporaryDirectory(prefix="eic-") as directory:
        made = World(directory, monkeypatch)
        yield made
        for listener in made.listeners:
            listener.close()


@pytest.mark.parametrize("answer", [(255, b"", b""), BROKEN_PIPE])
def test_a_command_that_ran_is_not_repeated_whatever_it_wrote(world: World, answer: Result | Exception) -> None:
    """``mux_client_hello_exchange: write packet: Broken pipe`` may be the remote command's own words."""
    with pytest.raises(AnsibleConnectionFailure, match="ended with status 255 while the connection stayed up"):
        world.run(COMMAND, (answer, False))
    assert (world.runs, world.opened) == (1, [0])


@pytest.mark.parametrize("answer", [(255, b"", b""), BROKEN_PIPE])
def test_a_command_that_found_no_session_runs_over_a_spare_connection(world: World, answer: Result | Exception) -> None:
    assert world.run(COMMAND, (answer, True), ((3, b"out", b""), False)) == (3, b"out", b"")
    assert world.opened == [0, 1]


def test_an_old_report_says_nothing_about_a_command(world: World) -> None:
    world.leave_report()
    with pytest.raises(AnsibleConnectionFailure, match="status 255"):
        world.run(COMMAND, ((255, b"", b""), False))
    assert world.runs == 1


@pytest.mark.parametrize("status", [1, 255])
def test_a_transfer_that_found_no_session_goes_over_a_spare_connection(world: World, status: int) -> None:
    """OpenSSH's scp ends with 1 when its ssh could not connect (``-O``), and with 255 otherwise."""
    assert world.run(TRANSFER, ((status, b"", b"lost connection"), True), ((0, b"", b""), False)) == (0, b"", b"")
    assert world.opened == [0, 1]
    assert not pathlib.Path(f"{world.connection._ticket_path}.status").exists()


@pytest.mark.parametrize("status", [1, 255])
def test_a_transfer_that_failed_otherwise_is_left_to_core(world: World, status: int) -> None:
    assert world.run(TRANSFER, ((status, b"", b"no such file"), False))[0] == status
    assert world.runs == 1


def test_when_no_connection_has_a_session_left_nothing_has_run(world: World) -> None:
    with pytest.raises(AnsibleConnectionFailure, match="allows no more sessions"):
        world.run(COMMAND, *[((255, b"", b""), True)] * 3)
    assert world.opened == [0, 1, 2]


def test_use_is_noted(world: World) -> None:
    world.run(COMMAND, ((0, b"", b""), False))
    assert pathlib.Path(eic_use.path(world.settings.state_directory, world.settings.control_path)).exists()


@pytest.mark.parametrize("shell", ["/bin/false", None])
def test_neither_the_plays_password_nor_the_users_shell_reaches_ssh(world: World, monkeypatch: pytest.MonkeyPatch, shell: str | None) -> None:
    """core takes a password from the play (``-k``, ``ansible_password``), ssh the user's shell for its ProxyCommand. Other hosts of the play get both."""
    monkeypatch.setenv("SHELL", shell) if shell else monkeypatch.delenv("SHELL", raising=False)
    world.run(COMMAND, ((0, b"", b""), False))
    assert world.seen == [(None, "/bin/sh")]
    assert (world.connection._play_context.password, os.environ.get("SHELL")) == ("canary", shell)
