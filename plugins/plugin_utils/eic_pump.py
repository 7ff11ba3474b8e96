# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes between ssh and an open websocket: one thread, one non-blocking TLS socket, bounded buffers both ways.

A side that reads slowly fills its buffer, then the other side is not read any more: back-pressure instead of memory.
Standard library only: the tunnel process imports this file without any package around it.
"""
from __future__ import annotations

import contextlib
import os
import select
import ssl
import time
import typing as t

if t.TYPE_CHECKING or __package__:
    from . import eic_errors
    from .eic_transport import TunnelFailure
else:
    import eic_errors
    from eic_transport import TunnelFailure

if t.TYPE_CHECKING:
    from websockets.client import ClientProtocol

LARGEST_FRAME = 65_000
"""Bytes of one client frame: what the service accepts."""

DRAIN = 2.0
"""Seconds that the service gets to finish after ssh has ended."""

_BUFFER = 256 * 1024
_FLUSH = 10.0
_NORMAL_CLOSE = (1000, 1005)
_READ = select.POLLIN | select.POLLHUP | select.POLLERR
_GONE = select.POLLHUP | select.POLLERR


class Websocket(t.NamedTuple):
    """An open websocket: the TLS socket, the protocol's state, frames that came with the handshake's answer, AWS's request id."""

    connection: ssl.SSLSocket
    protocol: ClientProtocol
    events: list[t.Any]
    request_id: str | None


def pump(websocket: Websocket, stdin: int, stdout: int) -> None:
    """Pump until ssh or the service ends the tunnel; raises :class:`TunnelFailure` unless the end was an orderly one."""
    _Pump(websocket, stdin, stdout).run()


class _Pump:
    def __init__(self, websocket: Websocket, stdin: int, stdout: int) -> None:
        self._tls, self._protocol, _events, self._request_id = websocket
        self._stdin, self._stdout = stdin, stdout
        self._to_service = bytearray()
        self._to_ssh = bytearray()
        self._tls_wants_write = False
        self._service_ended = False
        self._ssh_ended = False
        self._ssh_reads = True
        self._end: float | None = None
        self._tls.setblocking(False)
        os.set_blocking(stdin, False)
        os.set_blocking(stdout, False)
        self._take(websocket.events)

    def run(self) -> None:
        try:
            while not self._finished():
                self._turn()
        finally:
            self._say_goodbye()
        if self._ssh_ended or not self._ssh_reads:
            # what the service says to a client that has left is of no interest
            return
        close = self._protocol.close_rcvd
        if close is None:
            error = self._protocol.parser_exc
            if error is None or isinstance(error, EOFError):
                raise self._failure("TunnelLost", "")
            raise self._failure("TunnelProtocol", type(error).__name__)
        if close.code not in _NORMAL_CLOSE:
            raise self._failure(eic_errors.code_of_closed_tunnel(int(close.code), close.reason), close.reason or f"close code {int(close.code)}")

    def _finished(self) -> bool:
        """Over when the service is through and ssh has all of it, or when the time for that is up."""
        if self._end is not None and time.monotonic() >= self._end:
            return True
        return self._service_ended and not self._to_ssh

    def _turn(self) -> None:
        """Wait until something can be read or written, and do it."""
        room = not self._service_ended and len(self._to_ssh) < _BUFFER
        sending = (self._to_service or self._tls_wants_write) and not self._service_ended
        taking = not self._ssh_ended and not self._service_ended and len(self._to_service) < _BUFFER
        poll, tls = select.poll(), self._tls.fileno()
        if room or sending:
            poll.register(tls, (select.POLLIN if room else 0) | (select.POLLOUT if sending else 0))
        if taking:
            poll.register(self._stdin, select.POLLIN)
        if self._ssh_reads:
            # also without anything to write: while the service takes nothing, only this shows that ssh has gone
            poll.register(self._stdout, select.POLLOUT if self._to_ssh else 0)
        # decrypted bytes that wait inside the TLS layer don't make the socket readable
        pending = room and self._tls.pending() > 0
        left = None if self._end is None else max(0.0, self._end - time.monotonic()) * 1000
        events = dict(poll.poll(0 if pending else left))
        if events.get(self._stdout, 0) & _GONE:
            self._ssh_stopped_reading()
        elif events.get(self._stdout):
            self._write_to_ssh()
        if pending or (room and events.get(tls, 0) & _READ) or (self._tls_wants_write and events.get(tls)):
            self._receive()
        if events.get(self._stdin) and not self._service_ended:
            self._read_from_ssh()
        if self._to_service and not self._service_ended:
            self._send()

    def _receive(self) -> None:
        self._tls_wants_write = False
        while len(self._to_ssh) < _BUFFER and not self._service_ended:
            try:
                data = self._tls.recv(65536)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLWantWriteError:
                self._tls_wants_write = True
                return
            except OSError:
                data = b""
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
                self._stop_service()
            self._take(self._protocol.events_received())

    def _take(self, frames: t.Iterable[t.Any]) -> None:
        """Take what the protocol made of received bytes: data for ssh, and answers (to pings, to a close) for the service."""
        for frame in frames:
            if frame.opcode.name == "TEXT":
                raise self._failure("TunnelProtocol", "a text frame")
            if frame.opcode.name in ("BINARY", "CONT") and self._ssh_reads:
                self._to_ssh += frame.data
        self._collect()
        if self._protocol.close_rcvd or self._protocol.parser_exc:
            self._stop_service()

    def _stop_service(self) -> None:
        self._service_ended = True
        self._limit(_FLUSH)

    def _limit(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._end = end if self._end is None else min(self._end, end)

    def _collect(self) -> None:
        for data in self._protocol.data_to_send():
            self._to_service += data

    def _read_from_ssh(self) -> None:
        try:
            data = os.read(self._stdin, LARGEST_FRAME)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._protocol.send_binary(data)
        else:
            self._ssh_left()
        self._collect()

    def _ssh_left(self) -> None:
        if not self._ssh_ended:
            self._ssh_ended = True
            if not self._service_ended:
                self._protocol.send_close(1000)
            self._limit(DRAIN)

    def _write_to_ssh(self) -> None:
        try:
            written = os.write(self._stdout, self._to_ssh[:65536])
        except BlockingIOError:
            return
        except OSError:
            self._ssh_stopped_reading()
            return
        del self._to_ssh[:written]

    def _ssh_stopped_reading(self) -> None:
        """ssh is gone, and there is nobody to give the rest to; its own last words may still wait in the pipe."""
        self._ssh_reads = False
        self._to_ssh.clear()
        self._limit(DRAIN)

    def _send(self) -> None:
        try:
            while self._to_service:
                # a copy: the buffer must not be resized while TLS looks at it
                sent = self._tls.send(bytes(self._to_service[:65536]))
                del self._to_service[:sent]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError:
            # reset: what the service sent before it may still be readable, and reading will find the end
            self._to_service.clear()

    def _say_goodbye(self) -> None:
        """Best effort on any way out (a hang-up signal too): an orderly close frees the service's slot at once."""
        with contextlib.suppress(Exception):
            if not self._protocol.close_sent and not self._protocol.close_rcvd:
                self._protocol.send_close(1000)
            self._collect()
            self._send()

    def _failure(self, code: str, message: str) -> TunnelFailure:
        return TunnelFailure(code, message, request_id=self._request_id)
