# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many SSH hosts in one Debian root: listens at one loopback address per host and starts an sshd for each connection, in a mount namespace of its own.

    unshare --mount --pid --fork --kill-child python door.py ROOT HOSTS PORT COUNT

Runs as root. Host ``n`` (address :func:`address`) sees ``HOSTS/<n>`` as its /configs, and else the same files as all others. What is listened at is
127.0.0.0/8 only. There is no server between client and sshd once a connection is accepted, so nothing is added to what is measured.
"""
from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys

SSHD = ["/usr/sbin/sshd", "-i", "-e", "-f", "/srv/hosts/.sshd/sshd_config"]
_NEW_MOUNTS, _BIND = 0x00020000, 4096


def address(number: int) -> str:
    """The loopback address of host ``number``."""
    return f"127.77.{number // 200}.{10 + number % 200}"


def _mount(source: str, target: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), None, _BIND, None):
        raise OSError(ctypes.get_errno(), f"{target} cannot be mounted")


def _serve(connection: socket.socket, number: int) -> None:
    """Become the sshd of one connection."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "no mount namespace")
    _mount(f"/srv/hosts/{number}", "/configs")
    connection.setblocking(True)
    os.dup2(connection.fileno(), 0)
    os.dup2(connection.fileno(), 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir("/")
    os.execv(SSHD[0], SSHD)


def main(root: str, hosts: str, port: int, count: int) -> None:
    """Prepare the root and serve until killed."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, count + 256),) * 2)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for source, target in ((hosts, f"{root}/srv/hosts"), ("/dev", f"{root}/dev")):
        subprocess.run(["mount", "--rbind", source, target], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", f"{root}/proc"], check=True)
    os.chroot(root)
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    for number in range(count):
        listener = socket.create_server((address(number), port), backlog=64)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, number)
    print("ready", flush=True)
    while True:
        for key, _events in selector.select():
            with contextlib.suppress(OSError):
                connection, _peer = key.fileobj.accept()  # type: ignore[union-attr]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if os.fork() == 0:
                    try:
                        _serve(connection, key.data)
                    finally:
                        os._exit(1)
                connection.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
