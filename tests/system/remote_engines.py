# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Docker engine as another machine's: behind TLS with client certificates, and behind a real sshd."""
from __future__ import annotations

import contextlib
import os
import pathlib
import select
import shlex
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator

import trustme

_CHUNK = 65536


class TlsDoor:
    """TLS 1.2 or newer on a free port of this machine, only for holders of a certificate of the CA; behind it the engine's socket."""

    def __init__(self, engine: str, directory: pathlib.Path) -> None:
        authority = trustme.CA()
        self.ca, self.certificate, self.key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(self.ca)
        client = authority.issue_cert("client@example.com")
        client.cert_chain_pems[0].write_to_path(self.certificate)
        client.private_key_pem.write_to_path(self.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(self.context)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)
        self._engine = engine
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.admitted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # shutdown, because closing alone does not wake who waits in accept
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # ssl.SSLError, such as a refused client, is an OSError
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            secure = stack.enter_context(self.context.wrap_socket(connection, server_side=True))
            secure.do_handshake()
            plain = stack.enter_context(socket.socket(socket.AF_UNIX))
            plain.connect(self._engine)
            self.admitted += 1
            _pump(secure, plain)


def _pump(secure: ssl.SSLSocket, plain: socket.socket) -> None:
    """Carry bytes both ways, and the client's end of input, until the engine has nothing more to say."""
    sending = True
    while True:
        ready = [secure] if sending and secure.pending() else select.select([plain, *([secure] if sending else [])], [], [])[0]
        if secure in ready:
            secure.settimeout(0)
            try:
                data = secure.recv(_CHUNK)
            except ssl.SSLWantReadError:
                data = None
            finally:
                secure.settimeout(None)
            if data:
                plain.sendall(data)
            elif data is not None:
                sending = False
                plain.shutdown(socket.SHUT_WR)
        if plain in ready:
            data = plain.recv(_CHUNK)
            if not data:
                return
            secure.sendall(data)


@contextlib.contextmanager
def tls_door(engine: str, directory: pathlib.Path) -> Iterator[TlsDoor]:
    """A door in front of the unix socket ``engine``; its certificates are in ``directory``."""
    door = TlsDoor(engine, directory)
    try:
        yield door
    finally:
        door.close()


def ssh_path(engine_url: str, directory: pathlib.Path) -> str:
    """Make the machine ``rack-1.example.com``, on which the engine is Docker's default one, and return the PATH whose ``ssh`` knows how to get there.

    Each connection is a ``sshd -i`` of its own. ssh takes the place of its configuration from the user database, so a wrapper names this one.
    """
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True)
    shutil.copyfile(directory / "user_key.pub", directory / "authorized_keys")
    (directory / "known_hosts").write_text(f"rack-1.example.com {(directory / 'host_key.pub').read_text()}", encoding="utf-8")
    docker = pathlib.Path(shutil.which("docker") or "/usr/bin/docker").parent
    (directory / "sshd_config").write_text("\n".join([
        f"HostKey {directory}/host_key", f"AuthorizedKeysFile {directory}/authorized_keys", "StrictModes no", "UsePAM no", "PermitRootLogin yes",
        "LogLevel VERBOSE", f"SetEnv DOCKER_HOST={engine_url} PATH={docker}:/usr/bin:/bin",
    ]) + "\n", encoding="utf-8")  # fmt: skip
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    (directory / "ssh_config").write_text("\n".join([
        "Host rack-1.example.com", f"ProxyCommand {sshd} -i -f {directory}/sshd_config -E {directory}/sshd.log", f"IdentityFile {directory}/user_key",
        f"UserKnownHostsFile {directory}/known_hosts", "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "IdentitiesOnly yes", "BatchMode yes",
    ]) + "\n", encoding="utf-8")  # fmt: skip
    (directory / "bin").mkdir()
    wrapper = directory / "bin" / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(str(shutil.which("ssh")))} -F {shlex.quote(str(directory / "ssh_config"))} "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    return f"{wrapper.parent}:{os.environ['PATH']}"
