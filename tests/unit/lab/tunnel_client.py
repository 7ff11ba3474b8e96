# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A WebSocket client that hides nothing: single frames in, single frames out, from one thread over one TLS socket."""
from __future__ import annotations

import collections
import contextlib
import ssl
from types import TracebackType

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

DATA = (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)


class Refused(Exception):
    """The gateway answered the upgrade with another status than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status_code} {response.body!r}")
        self.response = response


class Ended(Exception):
    """The tunnel is over: ``code`` and ``reason`` of the gateway's CLOSE, or (None, "") when the connection just ended."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class TunnelClient:
    """One tunnel; raises Refused, Ended, or OSError (a reset, a timeout)."""

    def __init__(self, connection: ssl.SSLSocket, url: str) -> None:
        self.socket = connection
        self._protocol = ClientProtocol(parse_uri(url), max_size=None)
        self._frames: collections.deque[Frame] = collections.deque()
        self._over = False
        self._response: Response | None = None
        self.pings = 0
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        self.response = self._handshake()

    def __enter__(self) -> TunnelClient:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                self._flush()
                while self._read():
                    pass
        self.socket.close()

    def send(self, data: bytes, opcode: Opcode = Opcode.BINARY) -> None:
        """Send one frame."""
        if opcode is Opcode.TEXT:
            self._protocol.send_text(data)
        else:
            self._protocol.send_binary(data)
        self._flush()

    def frame(self) -> Frame:
        """The next data frame."""
        while not self._frames:
            if not self._read():
                close = self._protocol.close_rcvd
                raise Ended(close.code, close.reason) if close else Ended(None, "")
        return self._frames.popleft()

    def receive(self, length: int) -> bytes:
        """Exactly this many bytes of payload."""
        data = b""
        while len(data) < length:
            data += bytes(self.frame().data)
        return data

    def end(self) -> tuple[int | None, str]:
        """Read to the end; its code and reason."""
        try:
            while True:
                self.frame()
        except Ended as ended:
            return ended.code, ended.reason

    def _handshake(self) -> Response:
        while self._response is None:
            if not self._read() and self._response is None:
                raise ConnectionError("the gateway ended the connection instead of answering")
        if self._response.status_code != 101:
            raise Refused(self._response)
        return self._response

    def _read(self) -> bool:
        """Take in what arrives next; False at the end of the connection."""
        if self._over:
            return False
        data = self.socket.recv(65536)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._response = event
            elif isinstance(event, Frame):
                self.pings += event.opcode is Opcode.PING
                if event.opcode in DATA:
                    self._frames.append(event)
        with contextlib.suppress(OSError):
            self._flush()
        self._over = not data
        return not self._over

    def _flush(self) -> None:
        for chunk in self._protocol.data_to_send():
            if chunk:
                self.socket.sendall(chunk)
