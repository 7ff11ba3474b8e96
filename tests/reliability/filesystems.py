# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file systems that the tests run on: made for them, and gone with them. All need root."""
from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import subprocess
import time
import typing

NAMES = ("ext4", "overlay", "bindfs")
# bindfs is FUSE and knows no RENAME_EXCHANGE, so plugins are replaced in two renames there.
WITHOUT_EXCHANGE = frozenset(["bindfs"])
_IMAGE_BYTES = 128 * 1024 * 1024
_EXCHANGE = 2
_MOUNT_SECONDS = 60


@contextlib.contextmanager
def mounted(name: str, directory: pathlib.Path) -> typing.Iterator[pathlib.Path]:
    """Give an empty directory on that file system; ``directory`` is where its parts may lie."""
    if os.geteuid() != 0:
        raise RuntimeError("these tests mount file systems: run them as root")
    directory.mkdir(parents=True, exist_ok=True)
    image = directory / "image"
    with contextlib.ExitStack() as stack:
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        # A killed process loses nothing that it wrote, so its waiting for a journal would show nothing here.
        _run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", str(image))
        disk = _mount(stack, directory / "disk", "-o", "loop,nobarrier", str(image))
        root = disk / "root"
        root.mkdir()
        if name == "overlay":
            layers = {layer: disk / layer for layer in ("lower", "upper", "work")}
            for layer in layers.values():
                layer.mkdir()
            options = f"lowerdir={layers['lower']},upperdir={layers['upper']},workdir={layers['work']}"
            root = _mount(stack, directory / "overlay", "-t", "overlay", "overlay", "-o", options)
        elif name == "bindfs":
            target = directory / "bindfs"
            target.mkdir(exist_ok=True)
            stack.enter_context(_bound(root, target))
            root = target
        if can_exchange(root) == (name in WITHOUT_EXCHANGE):
            raise RuntimeError(f"{name} {'can' if name in WITHOUT_EXCHANGE else 'cannot'} exchange two names here: the test would show something else")
        yield root


def can_exchange(root: pathlib.Path) -> bool:
    """Whether the file system swaps two names in one call."""
    first, second = root / "first", root / "second"
    first.mkdir()
    second.mkdir()
    try:
        return ctypes.CDLL(None).renameat2(-100, bytes(first), -100, bytes(second), _EXCHANGE) == 0
    finally:
        first.rmdir()
        second.rmdir()


@contextlib.contextmanager
def _bound(source: pathlib.Path, target: pathlib.Path) -> typing.Iterator[None]:
    """Run bindfs, and let go of the source for sure: its process ends some time after it was unmounted."""
    daemon = subprocess.Popen(["bindfs", "-f", str(source), str(target)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + _MOUNT_SECONDS
        while not os.path.ismount(target):
            if daemon.poll() is not None or time.monotonic() > deadline:
                daemon.kill()
                raise RuntimeError(f"bindfs did not mount {target}: {daemon.communicate()[1].strip()}")
            time.sleep(0.01)
        try:
            yield
        finally:
            _unmount(target)
    finally:
        daemon.communicate(timeout=_MOUNT_SECONDS)


def _mount(stack: contextlib.ExitStack, target: pathlib.Path, *arguments: str) -> pathlib.Path:
    target.mkdir(exist_ok=True)
    _run("mount", *arguments, str(target))
    stack.callback(_unmount, target)
    return target


def _unmount(target: pathlib.Path) -> None:
    _run("umount", str(target))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
