# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One open tunnel: WebSocket frames on one side, the standard input and output of a backend process on the other.

The frames are made by a sans-I/O protocol, so that faults can shape them: one byte each, fragments with pings between, cut anywhere.
Both directions wait for their reader (back-pressure); nothing is buffered beyond one chunk and the transport's own limits.
"""
from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from .lab_state import LabState
from .tunnel_admission import Admission

log = logging.getLogger("lab.tunnel")
CHUNK = 16 * 1024
CLOSE_TIMEOUT = 5.0  # seconds that the client gets for its part of the closing handshake
BACKEND_TIMEOUT = 2.0  # seconds that the backend gets to end after its input has ended
UNREACHABLE = "Unable to connect to target"


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a TCP reset."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _End(Exception):
    """The tunnel ends now: with a CLOSE of this code and reason, or cut (how: reset or eof)."""

    def __init__(self, code: int = 1000, reason: str = "", how: str = "close") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.how = how


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _discard(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


class TunnelBridge:
    """Carries one tunnel from 101 to its end; ``on_end`` is called when the client's side is closed, the backend may take a little longer."""

    def __init__(self, lab: LabState, admission: Admission, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: ServerProtocol,
                 on_end: Callable[[], None]) -> None:
        self._lab = lab
        self._admission = admission
        self._reader = reader
        self._writer = writer
        self._protocol = protocol
        self._on_end = on_end
        self._last_activity = asyncio.get_running_loop().time()
        self._carried = {"to_client": 0, "from_client": 0}
        faults, instance_id = lab.faults, admission.instance_id
        self._unreachable = faults.take("target_unreachable", instance_id) is not None
        self._one_byte_frames = faults.take("one_byte_frames", instance_id) is not None
        self._text_frame = faults.take("text_frame", instance_id) is not None
        self._fragments = faults.take("fragment_with_pings", instance_id)
        self._slow: dict[str, float] = {}
        self._cuts: dict[str, dict[str, Any]] = {}
        for direction in ("to_client", "from_client"):
            slow = faults.take("slow", instance_id, direction=direction) or faults.take("slow", instance_id, direction="both")
            if slow:
                self._slow[direction] = float(slow["bytes_per_second"])
            cut = faults.take("cut_after", instance_id, direction=direction)
            if cut:
                self._cuts[direction] = cut

    async def run(self, command: Sequence[str] | None) -> None:
        """Bridge to ``command``; None is a target that nothing answers at."""
        if command is None or self._unreachable:
            await self._finish(_End(self._lab.settings.unreachable_close_code, UNREACHABLE))
            return
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                                       stderr=asyncio.subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        errors = asyncio.create_task(self._log_errors(process.stderr))
        tasks = [asyncio.create_task(coroutine) for coroutine in
                 (self._to_client(process.stdout), self._from_client(process.stdin), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ends = [task.exception() for task in tasks if task.done()]
            await _cancel(tasks)
            await self._finish(next((end for end in ends if isinstance(end, _End)), _End(how="eof")))
            for end in ends:
                if end is not None and not isinstance(end, (_End, ConnectionError)):
                    log.error("tunnel to %s ended by an error in the lab", self._admission.instance_id, exc_info=end)
        finally:
            await _cancel(tasks)
            await self._end_process(process)
            await errors

    async def _to_client(self, stdout: asyncio.StreamReader) -> None:
        """Backend to client, until the backend ends.  Raises _End."""
        if self._text_frame:
            self._protocol.send_text(b"text")
            await self._flush()
        while data := await stdout.read(self._chunk("to_client")):
            data, cut = self._until_cut("to_client", data)
            await self._send(data)
            await self._account("to_client", len(data))
            if cut:
                raise cut
        if not self._carried["to_client"]:
            # An SSH server speaks first; a backend that ended without a word was never there.
            raise _End(self._lab.settings.unreachable_close_code, UNREACHABLE)
        raise _End()

    async def _from_client(self, stdin: asyncio.StreamWriter) -> None:
        """Client to backend, until the client closes.  Raises _End."""
        while True:
            await self._forward(self._protocol.events_received(), stdin)
            if self._protocol.close_expected() or self._protocol.state is State.CLOSED:
                raise _End(how="closed")
            data = await self._reader.read(self._chunk("from_client"))
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            await self._flush()

    async def _forward(self, events: Sequence[Any], stdin: asyncio.StreamWriter) -> None:
        for frame in events:
            if not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.TEXT:
                raise _End(1003, "Only binary messages are supported")
            if frame.opcode not in (Opcode.BINARY, Opcode.CONT):
                continue
            data, cut = self._until_cut("from_client", bytes(frame.data))
            with contextlib.suppress(ConnectionError):  # a backend that has ended is noticed by its standard output
                stdin.write(data)
                await stdin.drain()
            await self._account("from_client", len(data))
            if cut:
                raise cut

    async def _watch(self) -> None:
        """End the tunnel at its duration or idle limit, and ping if the settings say so.  Raises _End."""
        loop, settings = asyncio.get_running_loop(), self._lab.settings
        started = last_ping = loop.time()
        while True:
            deadlines = [started + self._admission.duration]
            if settings.idle_limit:
                deadlines.append(self._last_activity + settings.idle_limit)
            if settings.ping_interval:
                deadlines.append(last_ping + settings.ping_interval)
            await asyncio.sleep(max(0.0, min(deadlines) - loop.time()))
            now = loop.time()
            if now >= started + self._admission.duration:
                raise _End(settings.duration_close_code, settings.duration_close_reason)
            if settings.idle_limit and now >= self._last_activity + settings.idle_limit:
                raise _End(1001, "Idle timeout")
            if settings.ping_interval and now >= last_ping + settings.ping_interval:
                last_ping = now
                if not self._protocol.expect_continuation_frame:
                    self._protocol.send_ping(b"lab")
                    await self._flush()

    async def _send(self, data: bytes) -> None:
        """Send ``data`` in frames as the faults want them."""
        if self._one_byte_frames:
            for byte in data:
                self._protocol.send_binary(bytes([byte]))
                await self._flush()
        elif self._fragments:
            size = max(1, self._fragments["size"])
            pieces = [data[start:start + size] for start in range(0, len(data), size)]
            for number, piece in enumerate(pieces):
                last = number == len(pieces) - 1
                if number == 0:
                    self._protocol.send_binary(piece, fin=last)
                else:
                    self._protocol.send_ping(str(number).encode())
                    self._protocol.send_continuation(piece, fin=last)
                await self._flush()
        elif data:
            self._protocol.send_binary(data)
            await self._flush()

    async def _flush(self) -> None:
        """Write what the protocol has to send, and wait until the transport can take more."""
        chunks = [chunk for chunk in self._protocol.data_to_send() if chunk]
        if chunks:
            self._writer.write(b"".join(chunks))
            await self._writer.drain()

    def _chunk(self, direction: str) -> int:
        return max(1, min(CHUNK, int(self._slow[direction] / 10))) if direction in self._slow else CHUNK

    def _until_cut(self, direction: str, data: bytes) -> tuple[bytes, _End | None]:
        """What of ``data`` is still carried, and the end that follows it."""
        cut = self._cuts.get(direction)
        if cut is None or self._carried[direction] + len(data) < cut["bytes"]:
            return data, None
        return data[:cut["bytes"] - self._carried[direction]], _End(cut["close_code"], cut["close_reason"], cut["how"])

    async def _account(self, direction: str, amount: int) -> None:
        self._carried[direction] += amount
        self._last_activity = asyncio.get_running_loop().time()
        self._lab.counters.add(f"bytes_{direction}", amount, self._admission.instance_id)
        if direction in self._slow:
            await asyncio.sleep(amount / self._slow[direction])

    async def _finish(self, end: _End) -> None:
        """End the WebSocket connection as ``end`` says."""
        try:
            if end.how == "reset":
                reset(self._writer)
            elif end.how == "close" and self._protocol.state is State.OPEN:
                if self._protocol.expect_continuation_frame:
                    self._protocol.send_continuation(b"", fin=True)
                self._protocol.send_close(end.code, end.reason)
                await asyncio.wait_for(self._closing_handshake(), CLOSE_TIMEOUT)
            self._writer.close()
        except (ConnectionError, asyncio.TimeoutError):
            self._writer.transport.abort()
        finally:
            self._on_end()

    async def _closing_handshake(self) -> None:
        """Send CLOSE and read until the client's CLOSE or its end."""
        await self._flush()
        while self._protocol.state is not State.CLOSED and not self._protocol.eof_sent:
            data = await self._reader.read(CHUNK)
            if not data:
                return
            self._protocol.receive_data(data)
            await self._flush()

    async def _log_errors(self, stderr: asyncio.StreamReader) -> None:
        while line := await stderr.readline():
            log.info("%s: %s", self._admission.instance_id, line.decode("utf-8", "replace").rstrip())

    @staticmethod
    async def _end_process(process: asyncio.subprocess.Process) -> None:
        """Let the backend see the end of its input; kill it if that does not end it."""
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.close()
        # asyncio reports the end of a process only when its output has been read to the end.
        rest = asyncio.create_task(_discard(process.stdout))
        try:
            await asyncio.wait_for(process.wait(), BACKEND_TIMEOUT)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            rest.cancel()
