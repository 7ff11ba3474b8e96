# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of a disk: what of a run's file system calls is on it after the power failed.

The model is weaker than any journalling file system in use, so what holds on it holds there:

* What a call changed is *pending* until something brings it to the disk: ``fsync`` of a file brings its bytes, owner and mode; ``fsync`` of a directory
  brings the names in it, and its own owner and mode, but not its own name in the directory above; ``syncfs`` brings everything.
* At a power failure each pending change is on the disk or is not, in whatever order they were made. A name that never came to the disk cannot be
  renamed or removed there, so what depends on a lost name is lost with it. A directory whose own name is lost is lost with all that is in it.
* A rename, or an exchange, of names in two directories is one change: both see it or none. ``fsync`` of either brings it, and with it the name
  that is renamed.
* A pending write may be there in half.

:func:`crashes` enumerates, for every prefix of the calls: all pending changes there; all lost; all pending bytes lost (files are empty), or there in half,
but everything else there; each single change lost; each single one there alone; every pair lost where at most ``PAIRS_UP_TO`` are pending; and every
subset where at most ``SUBSETS_UP_TO`` are.
"""
from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import typing

PAIRS_UP_TO = 12
SUBSETS_UP_TO = 6
CREATE, MAKE_DIRECTORY, WRITE, TRUNCATE, OWNER, MODE = "create", "make directory", "write", "truncate", "owner", "mode"
RENAME, EXCHANGE, UNLINK, REMOVE_DIRECTORY, SYNC, SYNC_ALL = "rename", "exchange", "unlink", "remove directory", "sync", "sync all"
_OF_NODE = frozenset([WRITE, TRUNCATE, OWNER, MODE])
_OF_BYTES = frozenset([WRITE, TRUNCATE])


class Operation(typing.NamedTuple):
    """One call that succeeded. ``node`` is what it is about; ``directory`` and ``name`` where that is; ``other_*`` the second name of a rename."""

    kind: str
    node: int = 0
    directory: int = 0
    name: str = ""
    other_node: int = 0
    other_directory: int = 0
    other_name: str = ""
    data: bytes = b""
    number: int = 0
    owner: tuple[int, int] = (0, 0)


@dataclasses.dataclass
class Node:
    """A file (``names`` is None) or a directory."""

    mode: int
    owner: tuple[int, int]
    data: bytes = b""
    names: dict[str, int] | None = None


class Disk:
    """Nodes by number, of which ``ROOT`` is the directory that everything else is in."""

    ROOT = 0

    def __init__(self, nodes: dict[int, Node]) -> None:
        self.nodes = nodes

    def copy(self) -> Disk:
        """An independent copy."""
        return Disk({number: dataclasses.replace(node, names=None if node.names is None else dict(node.names)) for number, node in self.nodes.items()})

    def names(self, number: int) -> dict[str, int]:
        """The names in a directory; none for one that does not exist."""
        node = self.nodes.get(number)
        return node.names if node is not None and node.names is not None else {}

    def apply(self, operation: Operation, part: float = 1) -> None:
        """Carry out an operation, or nothing where what it needs is not there. ``part``: how much of a write is done."""
        kind, node = operation.kind, self.nodes.get(operation.node)
        if kind in (CREATE, MAKE_DIRECTORY):
            self.make_nameless(operation)
            self.names(operation.directory)[operation.name] = operation.node
        elif kind in (RENAME, EXCHANGE):
            self._rename(operation)
        elif kind in (UNLINK, REMOVE_DIRECTORY):
            if self.names(operation.directory).get(operation.name) == operation.node:
                del self.names(operation.directory)[operation.name]
        elif node is not None:
            self._change(node, operation, part)

    def make_nameless(self, operation: Operation) -> None:
        """Make the file or directory of a creation without its name, which was lost."""
        self.nodes[operation.node] = Node(operation.number, operation.owner, names={} if operation.kind == MAKE_DIRECTORY else None)

    def _rename(self, operation: Operation) -> None:
        source, target = self.names(operation.directory), self.names(operation.other_directory)
        if source.get(operation.name) != operation.node:
            return
        if operation.kind == EXCHANGE:
            if target.get(operation.other_name) == operation.other_node:
                source[operation.name], target[operation.other_name] = operation.other_node, operation.node
        else:
            del source[operation.name]
            target[operation.other_name] = operation.node

    @staticmethod
    def _change(node: Node, operation: Operation, part: float) -> None:
        if operation.kind == WRITE:
            data = operation.data[:int(len(operation.data) * part)]
            before = node.data[:operation.number].ljust(operation.number, b"\0")
            node.data = before + data + node.data[operation.number + len(data):]
        elif operation.kind == TRUNCATE:
            node.data = node.data[:operation.number].ljust(operation.number, b"\0")
        elif operation.kind == OWNER:
            node.owner = operation.owner
        elif operation.kind == MODE:
            node.mode = operation.number

    def tree(self) -> dict[str, tuple[int, tuple[int, int], bytes | None]]:
        """What is reachable: path -> mode, owner, bytes (None for a directory)."""
        found: dict[str, tuple[int, tuple[int, int], bytes | None]] = {}

        def walk(number: int, path: str) -> None:
            node = self.nodes[number]
            found[path] = (node.mode, node.owner, node.data if node.names is None else None)
            for name, below in (node.names or {}).items():
                walk(below, f"{path}/{name}" if path else name)

        walk(self.ROOT, "")
        return found

    def write_to(self, root: pathlib.Path) -> None:
        """Make the tree below ``root``, which must not exist."""
        for path, (mode, owner, data) in self.tree().items():
            target = root / path
            if data is None:
                target.mkdir()
            else:
                target.write_bytes(data)
            os.chown(target, *owner)
            target.chmod(mode)


class Crash(typing.NamedTuple):
    """The power fails after ``calls`` calls; the pending ones in ``lost`` are not on the disk, and of the others' writes only this ``part``."""

    calls: int
    lost: frozenset[int]
    part: float = 1


def durable_from(operations: list[Operation]) -> list[int]:
    """For each operation the number of calls after which it is on the disk for sure; beyond the last one if never."""
    result = [len(operations) + 1] * len(operations)
    for index, sync in enumerate(operations):
        for earlier in range(index):
            if result[earlier] > len(operations) and _brings(sync, operations[earlier]):
                result[earlier] = index + 1
    for index in reversed(range(len(operations))):
        if operations[index].kind in (RENAME, EXCHANGE):
            for named in _naming(operations, index):
                result[named] = min(result[named], max(result[index], named + 1))
    return result


def _naming(operations: list[Operation], index: int) -> typing.Iterator[int]:
    """The operations that gave the names that the rename ``index`` is about to what has them."""
    rename = operations[index]
    places = [(rename.directory, rename.name, rename.node)]
    if rename.kind == EXCHANGE:
        places.append((rename.other_directory, rename.other_name, rename.other_node))
    for directory, name, node in places:
        for earlier in reversed(range(index)):
            operation = operations[earlier]
            if operation.kind in (CREATE, MAKE_DIRECTORY) and (operation.directory, operation.name, operation.node) == (directory, name, node):
                yield earlier
                break
            if operation.kind in (RENAME, EXCHANGE) and (directory, name, node) in _named_by(operation):
                yield earlier
                break


def _named_by(rename: Operation) -> list[tuple[int, str, int]]:
    named = [(rename.other_directory, rename.other_name, rename.node)]
    return [*named, (rename.directory, rename.name, rename.other_node)] if rename.kind == EXCHANGE else named


def crashes(operations: list[Operation], first: int = 0) -> typing.Iterator[Crash]:
    """Every crash after ``first`` or more calls, within the bounds that this file's docstring states; several may lead to one state."""
    durable = durable_from(operations)
    for calls in range(first, len(operations) + 1):
        pending = [index for index in range(calls) if durable[index] > calls and operations[index].kind not in (SYNC, SYNC_ALL)]
        everything = frozenset(pending)
        lost_sets = [frozenset(), everything, frozenset(index for index in pending if operations[index].kind in _OF_BYTES)]
        lost_sets += [frozenset([index]) for index in pending] + [everything - {index} for index in pending]
        if len(pending) <= SUBSETS_UP_TO:
            lost_sets += [frozenset(lost) for size in range(2, len(pending)) for lost in itertools.combinations(pending, size)]
        elif len(pending) <= PAIRS_UP_TO:
            lost_sets += [frozenset(pair) for pair in itertools.combinations(pending, 2)]
        yield from (Crash(calls, lost) for lost in dict.fromkeys(lost_sets))
        if any(operations[index].kind == WRITE for index in pending):
            yield Crash(calls, frozenset(), 0.5)


def after(initial: Disk, operations: list[Operation], crash: Crash, durable: list[int]) -> Disk:
    """The disk after the crash; ``durable`` is :func:`durable_from` of the operations."""
    disk = initial.copy()
    for index in range(crash.calls):
        if index not in crash.lost:
            disk.apply(operations[index], 1 if durable[index] <= crash.calls else crash.part)
        elif operations[index].kind in (CREATE, MAKE_DIRECTORY):
            disk.make_nameless(operations[index])
    return disk


def _brings(sync: Operation, operation: Operation) -> bool:
    if sync.kind == SYNC_ALL:
        return True
    if sync.kind != SYNC or operation.kind in (SYNC, SYNC_ALL):
        return False
    if operation.kind in _OF_NODE:
        return operation.node == sync.node
    return sync.node in (operation.directory, operation.other_directory if operation.kind in (RENAME, EXCHANGE) else operation.directory)
