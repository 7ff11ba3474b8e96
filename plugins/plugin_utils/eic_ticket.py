# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ticket: how the plugin hands credentials and parameters to the tunnel process, and how the tunnel reports an error back.

A ticket is a file of mode 0600 in the run's private directory, made exclusively, read once and unlinked by the tunnel before it does anything else;
nothing secret is ever in an argument list or in the environment. Reports go to a file because a ControlPersist master has no stderr.
Standard library only: the tunnel process imports this file without any package around it.
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import typing as t

_LARGEST = 64 * 1024


class TicketError(Exception):
    """The ticket cannot be used; the first argument is the code of eic_errors."""


@dataclasses.dataclass(frozen=True)
class Ticket:
    """Everything that one tunnel needs.

    ``connect_to``: ``host:port`` to connect to instead of ``dns_name:443`` (SNI, Host and signature stay ``dns_name``).
    ``direct``: no tunnel, connect to ``address`` itself. ``slot_path``, ``slot_nonce``: the claim on the endpoint's budget that the tunnel takes over.
    ``timeout``: seconds until the tunnel must be open, all attempts included. ``site_directory``: where ``websockets`` lies.
    """

    site_directory: str
    status_path: str
    region: str
    access_key: str
    secret_key: str = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(repr=False)
    instance_id: str
    os_user: str
    public_key: str
    endpoint_id: str
    dns_name: str
    address: str
    port: int
    max_tunnel_duration: int
    key_push_url: str
    connect_to: str | None
    ca_bundle: str | None
    timeout: int
    direct: bool = False
    slot_path: str | None = None
    slot_nonce: str | None = None


def write(path: str, ticket: Ticket) -> None:
    """Write ``ticket`` to ``path``, which must not exist; raise :class:`OSError` if it does or cannot be written."""
    _write_private(path, json.dumps(dataclasses.asdict(ticket)))


def take(path: str) -> Ticket:
    """Read the ticket at ``path`` and remove it.

    Raises :class:`TicketError` (``TicketMissing``, ``TicketInvalid``), also for a file that others could have read or written.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise TicketError("TicketMissing") from error
    except OSError as error:
        raise TicketError("TicketInvalid") from error
    with open(descriptor, encoding="utf-8") as file:
        with contextlib.suppress(OSError):
            os.unlink(path)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077 or status.st_size > _LARGEST:
            raise TicketError("TicketInvalid")
        try:
            return Ticket(**json.load(file))
        except (ValueError, TypeError) as error:
            raise TicketError("TicketInvalid") from error


@dataclasses.dataclass(frozen=True)
class Report:
    """What went wrong in a tunnel: ``phase`` (``ticket``, ``connect``, ``push`` or ``tunnel``), a code of eic_errors, and what AWS said."""

    phase: str
    code: str
    message: str = ""
    host: str = ""
    request_id: str | None = None
    retryable: bool = False

    def line(self) -> str:
        """The report as one line of JSON, without its newline."""
        return json.dumps(dataclasses.asdict(self))


def write_report(path: str, report: Report) -> None:
    """Leave ``report`` at ``path``, whole or not at all, replacing an older one. Nothing happens when the directory is gone: the run is over."""
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        _write_private(temporary, report.line())
        os.replace(temporary, path)


def take_report(path: str) -> Report | None:
    """Read the report at ``path`` and remove it; ``None`` when there is none that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, encoding="utf-8") as file:
        with contextlib.suppress(OSError):
            os.unlink(path)
        try:
            values: dict[str, t.Any] = json.loads(file.read(_LARGEST))
            return Report(**values)
        except (ValueError, TypeError):
            return None


def _write_private(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
