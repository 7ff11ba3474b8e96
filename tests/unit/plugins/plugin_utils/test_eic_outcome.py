# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ssh that has ended means, by its status and the state of the shared connection; and what an error is for Ansible."""
from __future__ import annotations

import pathlib
import socket

import botocore.exceptions
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import (
    aws_session,
    eic_errors,
    eic_master,
    eic_outcome,
    eic_session,
    eic_settings,
    eic_ticket,
)
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_outcome import Verdict
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_target import TargetError


def _listening(settings: eic_settings.Settings) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(settings.control_path)
    listener.listen(1000)
    return listener


@pytest.mark.parametrize(
    ("status", "is_transfer", "asked_for_a_ticket", "verdict"),
    [
        (0, False, False, Verdict.RAN), (0, True, False, Verdict.RAN), (7, False, False, Verdict.RAN), (1, True, False, Verdict.RAN),
        # what a command writes may look like ssh's own words: a status of its own is believed
        (7, False, True, Verdict.RAN),
        (255, False, True, Verdict.NO_SESSION), (255, True, True, Verdict.NO_SESSION), (1, True, True, Verdict.NO_SESSION),
        (255, False, False, Verdict.UNKNOWN), (255, True, False, Verdict.RAN), (-9, False, False, Verdict.LOST), (-9, True, False, Verdict.LOST),
    ],
)
def test_over_a_connection_that_stayed_up(
    settings: eic_settings.Settings, status: int, is_transfer: bool, asked_for_a_ticket: bool, verdict: Verdict
) -> None:
    report = f"{settings.run_directory}/ticket.status"
    with _listening(settings):
        if asked_for_a_ticket:
            eic_ticket.write_report(report, eic_ticket.Report("ticket", "TicketMissing"))
        outcome = eic_outcome.of_run(settings, status, report, eic_master.identity(settings.control_path), is_transfer=is_transfer)
    assert outcome.verdict is verdict
    assert bool(outcome.sentence) == (verdict in (Verdict.LOST, Verdict.UNKNOWN))


@pytest.mark.parametrize("is_transfer", [True, False])
def test_over_a_connection_that_has_gone(settings: eic_settings.Settings, is_transfer: bool) -> None:
    report = f"{settings.run_directory}/ticket.status"
    eic_ticket.write_report(settings.status_path, eic_ticket.Report("tunnel", "TunnelClosed", "Idle timeout", request_id="request-1"))
    outcome = eic_outcome.of_run(settings, 255, report, (1, 1), is_transfer=is_transfer)
    assert outcome.verdict is Verdict.LOST
    assert "outcome is unknown" in outcome.sentence and "Idle timeout" in outcome.sentence and "request-1" in outcome.sentence
    assert eic_outcome.of_run(settings, 255, report, (1, 1), is_transfer=is_transfer).verdict is Verdict.LOST, "also when it said nothing"
    eic_ticket.write_report(report, eic_ticket.Report("ticket", "TicketMissing"))
    assert eic_outcome.of_run(settings, 255, report, None, is_transfer=is_transfer).verdict is Verdict.NOT_STARTED
    assert not pathlib.Path(report).exists()


def test_over_a_connection_that_another_one_has_replaced(settings: eic_settings.Settings) -> None:
    with _listening(settings):
        outcome = eic_outcome.of_run(settings, 255, f"{settings.run_directory}/ticket.status", (1, 1), is_transfer=False)
    assert outcome.verdict is Verdict.LOST


def _aws_error(code: str) -> aws_session.AwsError:
    error = aws_session.AwsError("sentence")
    error.__cause__ = botocore.exceptions.ClientError({"Error": {"Code": code}}, "DescribeInstances")
    return error


_CONTEXT = eic_errors.Context("i-0123456789abcdef0")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (eic_session.EicError("TargetUnreachable", _CONTEXT), eic_errors.UNREACHABLE),
        (eic_session.EicError("OpenTunnelDenied", _CONTEXT), eic_errors.AUTHENTICATION),
        (eic_session.EicError("SshConfiguration", _CONTEXT), eic_errors.CONFIGURATION),
        (InvalidInputError("sentence"), eic_errors.CONFIGURATION),
        (_aws_error("UnauthorizedOperation"), eic_errors.AUTHENTICATION),
        (_aws_error("RequestLimitExceeded"), eic_errors.UNREACHABLE),
        (TargetError("sentence"), eic_errors.UNREACHABLE),
        (WorkspaceError("sentence"), eic_errors.UNREACHABLE),
    ],
)
def test_the_kind_of_an_error(error: WorkspaceError, kind: str) -> None:
    assert eic_outcome.of_error(error) == (kind, str(error))


def test_a_file_of_the_controller_is_named_with_what_to_check() -> None:
    kind, sentence = eic_outcome.of_error(PermissionError(13, "Permission denied", "/home/state"))
    assert kind == eic_errors.CONFIGURATION and sentence.startswith("/home/state: Permission denied; check ansible_eic_state_directory")
    assert eic_outcome.of_error(OSError("strange"))[1].startswith("the controller: strange; check")
