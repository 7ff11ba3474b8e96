# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what a traced process does to a config dir, as operations of the disk model."""
from __future__ import annotations

import ctypes
import itertools
import os
import pathlib
import typing

from disk_model import (
    CREATE,
    EXCHANGE,
    MAKE_DIRECTORY,
    MODE,
    OWNER,
    REMOVE_DIRECTORY,
    RENAME,
    SYNC,
    SYNC_ALL,
    TRUNCATE,
    UNLINK,
    WRITE,
    Disk,
    Node,
    Operation,
)
from traced_process import Call, TracedProcess

_REMOVE_DIRECTORY_FLAG = 0x200
_EXCHANGE_FLAG = 2
_WITHOUT_EFFECT_ON_DISK = frozenset(["flock", "ioctl"])


class Recording(typing.NamedTuple):
    """The disk before, and what was done to it."""

    initial: Disk
    operations: list[Operation]

    def final(self) -> Disk:
        """The disk after all of it."""
        disk = self.initial.copy()
        for operation in self.operations:
            disk.apply(operation)
        return disk


class Recorder:
    """Knows the config dir's files by their inode numbers; a number that the file system gives out again is another node."""

    def __init__(self, config: pathlib.Path) -> None:
        self._nodes: dict[int, int] = {}
        self._next = Disk.ROOT
        nodes: dict[int, Node] = {}
        self._load(config, nodes)
        self._disk = Disk(nodes)
        self._initial = self._disk.copy()
        self.operations: list[Operation] = []

    def record(self, action: typing.Callable[[], typing.Any], calls: int | None = None) -> Recording:
        """Let ``action`` get through, or kill it after so many ``calls``, and write down its calls behind those of earlier actions."""
        with TracedProcess(action) as process:
            for _index in itertools.count() if calls is None else range(calls):
                call = process.next_call()
                if call is None:
                    break
                self._record(process, call)
            if calls is None and (process.answer is None or "error" in process.answer):
                raise RuntimeError(f"the run that was to be recorded failed: {process.answer}")
        return Recording(self._initial, self.operations)

    def _load(self, path: pathlib.Path, nodes: dict[int, Node]) -> int:
        status = path.lstat()
        number = self._new_node(status.st_ino)
        node = nodes[number] = Node(status.st_mode & 0o7777, (status.st_uid, status.st_gid))
        if path.is_dir():
            node.names = {below.name: self._load(below, nodes) for below in sorted(path.iterdir())}
        else:
            node.data = path.read_bytes()
        return number

    def _new_node(self, inode: int) -> int:
        self._nodes[inode] = self._next
        self._next += 1
        return self._nodes[inode]

    def _record(self, process: TracedProcess, call: Call) -> None:
        name, arguments = call.name, call.arguments
        if name in _WITHOUT_EFFECT_ON_DISK:
            process.finish_call()
            return
        if name in ("openat", "mkdirat"):
            self._record_creation(process, call)
            return
        if name in ("renameat", "renameat2"):
            self._record_rename(process, call)
            return
        descriptor = _signed(arguments[0])
        node = self._node_at(process, descriptor)
        before = Operation("")
        if name == "unlinkat":
            text = process.text(arguments[1])
            kind = REMOVE_DIRECTORY if arguments[2] & _REMOVE_DIRECTORY_FLAG else UNLINK
            before = Operation(kind, self._disk.names(node).get(text, -1), node, text)
        elif name in ("write", "pwrite64"):
            before = Operation(WRITE, node, number=arguments[3] if name == "pwrite64" else _position(process, descriptor))
        elif name == "ftruncate":
            before = Operation(TRUNCATE, node, number=arguments[1])
        elif name == "fchown":
            before = Operation(OWNER, node, owner=(arguments[1], arguments[2]))
        elif name == "fchmod":
            before = Operation(MODE, node, number=arguments[1] & 0o7777)
        elif name in ("fsync", "fdatasync"):
            before = Operation(SYNC, node)
        elif name == "syncfs":
            before = Operation(SYNC_ALL)
        else:
            raise RuntimeError(f"the disk model does not know the call {name}")
        data = process.memory(arguments[1], arguments[2]) if before.kind == WRITE else b""
        result = process.finish_call()
        if result >= 0:
            self._add(before._replace(data=data[:result]) if before.kind == WRITE else before)

    def _record_creation(self, process: TracedProcess, call: Call) -> None:
        directory = self._node_at(process, _signed(call.arguments[0]))
        text = process.text(call.arguments[1])
        path = f"/proc/{process.pid}/fd/{_signed(call.arguments[0])}/{text}"
        is_new = text not in self._disk.names(directory)
        if process.finish_call() < 0:
            return
        if not is_new:
            if call.arguments[2] & os.O_TRUNC:
                raise RuntimeError("the disk model does not know an openat that empties a file")
            return
        status = os.stat(path, follow_symlinks=False)
        kind = MAKE_DIRECTORY if call.name == "mkdirat" else CREATE
        self._add(Operation(kind, self._new_node(status.st_ino), directory, text, number=status.st_mode & 0o7777, owner=(status.st_uid, status.st_gid)))

    def _record_rename(self, process: TracedProcess, call: Call) -> None:
        directory, other_directory = (self._node_at(process, _signed(call.arguments[index])) for index in (0, 2))
        text, other_text = (process.text(call.arguments[index]) for index in (1, 3))
        flags = call.arguments[4] if call.name == "renameat2" else 0
        if process.finish_call() < 0:
            return
        self._add(
            Operation(
                EXCHANGE if flags & _EXCHANGE_FLAG else RENAME,
                self._disk.names(directory)[text],
                directory,
                text,
                self._disk.names(other_directory).get(other_text, -1),
                other_directory,
                other_text,
            )
        )

    def _add(self, operation: Operation) -> None:
        self.operations.append(operation)
        self._disk.apply(operation)

    def _node_at(self, process: TracedProcess, descriptor: int) -> int:
        """The node that is open at a descriptor."""
        inode = os.stat(f"/proc/{process.pid}/fd/{descriptor}").st_ino
        if inode not in self._nodes:
            raise RuntimeError(f"a call is about {os.readlink(f'/proc/{process.pid}/fd/{descriptor}')}, which is not in the config dir")
        return self._nodes[inode]


def _signed(value: int) -> int:
    return ctypes.c_int(value).value


def _position(process: TracedProcess, descriptor: int) -> int:
    with open(f"/proc/{process.pid}/fdinfo/{descriptor}", encoding="ascii") as file:
        return int(file.readline().split()[1])
