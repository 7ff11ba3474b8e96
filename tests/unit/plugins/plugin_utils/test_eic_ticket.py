# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hand-over between plugin and tunnel process."""
from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_ticket

TICKET = eic_ticket.Ticket(
    site_directory="/site", status_path="/status", region="us-east-2", access_key="AKID", secret_key="canary-secret", session_token="canary-token",
    instance_id="i-0123456789abcdef0", os_user="ubuntu", public_key="ssh-ed25519 A", endpoint_id="eice-1", dns_name="eice-1.example", address="10.0.0.1",
    port=22, max_tunnel_duration=3600, key_push_url="https://example/", connect_to=None, ca_bundle=None, timeout=30,
)


def test_a_ticket_is_private_and_read_once(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "ticket")
    eic_ticket.write(path, TICKET)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert eic_ticket.take(path) == TICKET
    assert not os.path.exists(path)
    with pytest.raises(eic_ticket.TicketError, match="TicketMissing"):
        eic_ticket.take(path)


def test_a_ticket_is_never_written_into_what_is_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ticket").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        eic_ticket.write(str(tmp_path / "ticket"), TICKET)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"version": 9}', "{"])
def test_a_broken_ticket_is_refused_and_removed(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "ticket"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(eic_ticket.TicketError, match="TicketInvalid"):
        eic_ticket.take(str(path))
    assert not path.exists()


def test_a_ticket_that_others_could_read_is_refused(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "ticket")
    eic_ticket.write(path, TICKET)
    os.chmod(path, 0o640)
    with pytest.raises(eic_ticket.TicketError, match="TicketInvalid"):
        eic_ticket.take(path)


def test_a_ticket_of_another_user_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "ticket")
    eic_ticket.write(path, TICKET)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(eic_ticket.TicketError, match="TicketInvalid"):
        eic_ticket.take(path)


def test_a_link_is_not_followed(tmp_path: pathlib.Path) -> None:
    eic_ticket.write(str(tmp_path / "real"), TICKET)
    (tmp_path / "ticket").symlink_to(tmp_path / "real")
    with pytest.raises(eic_ticket.TicketError, match="TicketInvalid"):
        eic_ticket.take(str(tmp_path / "ticket"))


def test_secrets_stay_out_of_the_representation() -> None:
    assert "canary" not in repr(TICKET)


def test_a_report_replaces_an_older_one_and_is_read_once(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "status")
    report = eic_ticket.Report("connect", "ConnectionRefused", "connecting", "example", "request", True)
    eic_ticket.write_report(path, dataclasses.replace(report, phase="push"))
    eic_ticket.write_report(path, report)
    assert os.listdir(tmp_path) == ["status"]
    assert eic_ticket.take_report(path) == report
    assert eic_ticket.take_report(path) is None


def test_a_report_into_a_directory_that_is_gone_is_dropped(tmp_path: pathlib.Path) -> None:
    eic_ticket.write_report(str(tmp_path / "gone" / "status"), eic_ticket.Report("tunnel", "TunnelLost"))


def test_a_broken_report_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "status").write_text("{")
    assert eic_ticket.take_report(str(tmp_path / "status")) is None
