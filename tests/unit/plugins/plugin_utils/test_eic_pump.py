# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pump over real TLS and real pipes, against a peer that sends whatever frames a test wants."""
from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
import typing as t

import pytest
import trustme
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_pump
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_transport import TunnelFailure
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri


class Tunnel:
    """A running pump with its two ends: the service's TLS socket, and ssh's pipes."""

    def __init__(self, service: ssl.SSLSocket, to_pump: int, from_pump: int) -> None:
        self.service, self.to_pump, self.from_pump = service, to_pump, from_pump
        self.failure: BaseException | None = None
        self.thread: threading.Thread | None = None

    def send(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> None:
        self.service.sendall(Frame(opcode, data, fin).serialize(mask=False))

    def received(self) -> bytes:
        """All that ssh gets until the pump ends."""
        chunks = []
        while chunk := os.read(self.from_pump, 65536):
            chunks.append(chunk)
        return b"".join(chunks)

    def frames(self) -> list[Frame]:
        """All frames that the service gets until the pump ends."""
        data = b""
        with contextlib.suppress(OSError):
            while chunk := self.service.recv(65536):
                data += chunk
        frames = []
        while data:
            length, offset = data[1] & 0x7F, 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length, offset = int.from_bytes(data[2:2 + size], "big"), 2 + size
            mask, payload = data[offset:offset + 4], data[offset + 4:offset + 4 + length]
            plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
            frames.append(Frame(Opcode(data[0] & 0x0F), plain))
            data = data[offset + 4 + length:]
        return frames

    def end(self) -> None:
        """Wait for the pump's end, and raise what it raised."""
        self.thread.join(15)
        assert not self.thread.is_alive()
        if self.failure:
            raise self.failure


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tunnel(authority: trustme.CA) -> t.Iterator[Tunnel]:
    near, far = socket.socketpair()
    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("endpoint.example").configure_cert(server_context)
    authority.configure_trust(client_context)
    accepted: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: accepted.append(server_context.wrap_socket(far, server_side=True)))
    thread.start()
    connection = client_context.wrap_socket(near, server_hostname="endpoint.example")
    thread.join()
    protocol = ClientProtocol(parse_uri("wss://endpoint.example/openTunnel"), state=State.OPEN, max_size=None)
    stdin, to_pump = os.pipe()
    from_pump, stdout = os.pipe()
    made = Tunnel(accepted[0], to_pump, from_pump)

    def run() -> None:
        try:
            eic_pump.pump(eic_pump.Websocket(connection, protocol, [], "request-1"), stdin, stdout)
        except BaseException as error:
            made.failure = error
        finally:
            connection.close()
            os.close(stdout)
            os.close(stdin)

    made.thread = threading.Thread(target=run, daemon=True)
    made.thread.start()
    yield made
    for descriptor in (to_pump, from_pump):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    made.service.close()
    made.thread.join(15)


def test_frames_of_any_shape_become_the_same_bytes_and_pings_are_answered(tunnel: Tunnel) -> None:
    for byte in b"one byte at a time, ":
        tunnel.send(Opcode.BINARY, bytes([byte]))
    tunnel.send(Opcode.BINARY, b"in ", fin=False)
    tunnel.send(Opcode.PING, b"are you there")
    tunnel.send(Opcode.CONT, b"frag", fin=False)
    tunnel.send(Opcode.CONT, b"ments")
    tunnel.send(Opcode.BINARY, b"!" * 300_000)
    tunnel.send(Opcode.CLOSE, Close(1000, "").serialize())
    assert tunnel.received() == b"one byte at a time, in fragments" + b"!" * 300_000
    tunnel.end()
    answers = tunnel.frames()
    assert (answers[0].opcode, bytes(answers[0].data)) == (Opcode.PONG, b"are you there")
    assert answers[-1].opcode == Opcode.CLOSE


def test_what_ssh_writes_arrives_in_frames_that_the_service_takes(tunnel: Tunnel) -> None:
    sent = os.urandom(400_000)

    def write() -> None:
        view = memoryview(sent)
        while view:
            view = view[os.write(tunnel.to_pump, view):]
        os.close(tunnel.to_pump)

    threading.Thread(target=write).start()
    frames = tunnel.frames()
    tunnel.end()
    *data, close = frames
    assert all(frame.opcode == Opcode.BINARY and 0 < len(frame.data) <= 65_000 for frame in data)
    assert b"".join(bytes(frame.data) for frame in data) == sent
    assert (close.opcode, Close.parse(bytes(close.data)).code) == (Opcode.CLOSE, 1000)


def test_the_service_gets_two_seconds_after_ssh_has_left(tunnel: Tunnel) -> None:
    started = time.monotonic()
    os.close(tunnel.to_pump)
    tunnel.end()
    assert 1.5 < time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [(1011, "Unable to connect to target", "TargetUnreachable"), (1008, "Tunnel expired", "TunnelClosed"), (1001, "", "TunnelClosed")],
)
def test_a_close_with_an_error_is_reported_with_its_reason(tunnel: Tunnel, code: int, reason: str, expected: str) -> None:
    tunnel.send(Opcode.BINARY, b"last words")
    tunnel.send(Opcode.CLOSE, Close(code, reason).serialize())
    assert tunnel.received() == b"last words"
    with pytest.raises(TunnelFailure) as caught:
        tunnel.end()
    assert (caught.value.code, caught.value.request_id) == (expected, "request-1")
    assert reason in caught.value.message


def test_an_empty_close_is_a_clean_end(tunnel: Tunnel) -> None:
    tunnel.send(Opcode.CLOSE, b"")
    assert tunnel.received() == b""
    tunnel.end()


def test_a_text_frame_is_fatal(tunnel: Tunnel) -> None:
    tunnel.send(Opcode.TEXT, b"hello")
    with pytest.raises(TunnelFailure) as caught:
        tunnel.end()
    assert caught.value.code == "TunnelProtocol"


def test_bytes_that_are_no_frames_are_fatal(tunnel: Tunnel) -> None:
    tunnel.service.sendall(b"\xff" * 64)
    with pytest.raises(TunnelFailure) as caught:
        tunnel.end()
    assert caught.value.code == "TunnelProtocol"


def test_an_end_without_a_close_is_a_loss(tunnel: Tunnel) -> None:
    tunnel.send(Opcode.BINARY, b"half a fr")
    tunnel.service.shutdown(socket.SHUT_RDWR)
    tunnel.service.close()
    assert tunnel.received() == b"half a fr"
    with pytest.raises(TunnelFailure) as caught:
        tunnel.end()
    assert caught.value.code == "TunnelLost"


def test_a_reader_that_stops_makes_back_pressure_not_memory(tunnel: Tunnel) -> None:
    tunnel.service.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 50_000_000:
            tunnel.send(Opcode.BINARY, bytes(65_000))
            sent += 65_000
    # the pump's buffer, the TLS record in work, and the kernel's socket and pipe buffers
    assert sent < 2_000_000


def test_ssh_may_go_while_the_service_takes_nothing(tunnel: Tunnel) -> None:
    """The buffer is full, so nothing is read from ssh that would show its end; the tunnel must not keep its place at the endpoint for that."""
    os.set_blocking(tunnel.to_pump, False)
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 1:
        with contextlib.suppress(BlockingIOError):
            os.write(tunnel.to_pump, bytes(65_000))
            quiet_since = time.monotonic()
        time.sleep(0.01)
    os.close(tunnel.to_pump)
    os.close(tunnel.from_pump)
    tunnel.end()


def test_the_last_words_of_an_ssh_that_has_gone_are_sent(tunnel: Tunnel) -> None:
    os.write(tunnel.to_pump, b"disconnect")
    os.close(tunnel.from_pump)
    os.close(tunnel.to_pump)
    data, close = tunnel.frames()
    tunnel.end()
    assert (bytes(data.data), close.opcode) == (b"disconnect", Opcode.CLOSE)
