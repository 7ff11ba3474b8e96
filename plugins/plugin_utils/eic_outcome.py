# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failure is for Ansible, and what an ssh, sftp or scp that has ended means: did its command run, may it be repeated, what is told.

Nothing here knows Ansible. ssh's own errors and remote commands share the exit status 255, so it is the state of the shared connection that decides.
"""
from __future__ import annotations

import dataclasses
import enum

from ..module_utils.errors import InvalidInputError, WorkspaceError
from . import aws_session, eic_errors, eic_master, eic_preparation_errors, eic_session, eic_ticket
from .eic_settings import Settings

_SSH_ERROR = 255

NO_TUNNEL_LEFT = frozenset(["TunnelBudget", "TunnelQuota", "LockTimeout"])
"""Failures to open a connection because all tunnels that there may be are in use: a session of another connection may become free before one does."""

AFTER_THE_LOGIN = frozenset(["TicketMissing", "NoSessionLeft", "OutcomeUnknown", "CommandExit255"])
"""Failures that are told when the connection was open already, so that nothing repeats the opening of one."""


class Verdict(enum.Enum):
    """What became of a command or transfer."""

    RAN = "it ran, and the result is its own"
    NOT_STARTED = "the shared connection was gone before it started, so it may be started again"
    NO_SESSION = "it has not started: the shared connection is up and has no session left"
    LOST = "the connection broke off while it ran"
    UNKNOWN = "it ended with ssh's own exit status over a connection that stayed up"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The verdict, and the sentence for the user where it is a failure."""

    verdict: Verdict
    sentence: str = ""


def of_run(settings: Settings, status: int, report_path: str, master: tuple[int, int] | None, *, is_transfer: bool) -> Outcome:
    """The outcome of an ssh, sftp or scp over the shared connection of ``settings`` that ended with ``status`` (negative: by a signal).

    ``master``: the identity of the shared connection before it started. ``report_path``: where ssh's attempt to open a connection of its own, which it
    makes instead of running the command, has left a report; that is the proof that nothing has started.
    """
    if status == 0 or (0 < status < _SSH_ERROR and not is_transfer):
        return Outcome(Verdict.RAN)
    # scp (-O) hides the 255 of its ssh, so the report is looked for whatever the status of a transfer was
    report = eic_ticket.take_report(report_path)
    if report is not None and report.code == "TicketMissing":
        return Outcome(Verdict.NO_SESSION if eic_master.is_alive(settings.control_path) else Verdict.NOT_STARTED)
    if 0 < status < _SSH_ERROR:
        return Outcome(Verdict.RAN)
    if status < 0:
        return Outcome(Verdict.LOST, _unknown(settings, f"ssh was ended by signal {-status} on the controller"))
    if not eic_master.is_alive(settings.control_path) or eic_master.identity(settings.control_path) != master:
        return Outcome(Verdict.LOST, _unknown(settings, _cause_of_end(settings)))
    if is_transfer:
        # core may try another way to transfer
        return Outcome(Verdict.RAN)
    return Outcome(Verdict.UNKNOWN, eic_errors.sentence("CommandExit255", settings.context()))


def _unknown(settings: Settings, cause: str) -> str:
    return eic_errors.sentence("OutcomeUnknown", settings.context(reason=f": {cause}" if cause else ""))


def _cause_of_end(settings: Settings) -> str:
    """What the tunnel has left as the cause of its end; empty when it has said nothing."""
    report = eic_ticket.take_report(settings.status_path)
    if report is None:
        return ""
    return eic_errors.cause(report.code, settings.context(reason=report.message)) + eic_errors.request_suffix(report.request_id)


def of_error(error: WorkspaceError | OSError) -> tuple[str, str]:
    """The kind (of eic_errors) and the sentence of a failure to prepare or to open a connection."""
    if isinstance(error, eic_session.EicError):
        return error.kind, str(error)
    if isinstance(error, InvalidInputError):
        return eic_errors.CONFIGURATION, str(error)
    if isinstance(error, aws_session.AwsError):
        return eic_errors.AUTHENTICATION if aws_session.is_authentication(error) else eic_errors.UNREACHABLE, str(error)
    if isinstance(error, WorkspaceError):
        return eic_errors.UNREACHABLE, str(error)
    path, reason = (error.filename, error.strerror) if error.filename else ("the controller", str(error))
    return eic_errors.CONFIGURATION, eic_preparation_errors.sentence("LocalFileUnusable", path=path, reason=reason)
