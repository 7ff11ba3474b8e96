# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets of the tunnel process: TCP, an HTTP proxy where the environment names one, TLS, and a deadline over all of it.

Every failure becomes a :class:`TunnelFailure` with a code of eic_errors.
Standard library only: the tunnel process imports this file without any package around it.
"""
from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
import typing as t
import urllib.parse

_STEP = 10.0
"""Seconds that a single step (TCP, proxy, TLS, one answer) may take, however much time is left."""


class TunnelFailure(Exception):
    """A step failed: ``code`` (of eic_errors), what was said about it, the host it is about, and AWS's request id."""

    def __init__(self, code: str, message: str = "", *, host: str = "", request_id: str | None = None) -> None:
        super().__init__(code)
        self.code, self.message, self.host, self.request_id = code, message, host, request_id


class Deadline:
    """A point in time that all steps share."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never less than zero."""
        return max(0.0, self._end - time.monotonic())

    def step(self) -> float:
        """The time that the next step may take, as a socket timeout (which must not be zero)."""
        return max(0.01, min(_STEP, self.remaining()))


@contextlib.contextmanager
def explained(host: str, step: str) -> t.Iterator[None]:
    """Turn the operating system's errors of one step into a :class:`TunnelFailure` about ``host``."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise TunnelFailure("CertificateRefused", error.verify_message, host=host) from error
    except TimeoutError as error:
        raise TunnelFailure("StepTimeout", step, host=host) from error
    except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as error:
        raise TunnelFailure("ConnectionReset", step, host=host) from error
    except ssl.SSLError as error:
        raise TunnelFailure("TlsFailed", error.reason or "", host=host) from error
    except ConnectionRefusedError as error:
        raise TunnelFailure("ConnectionRefused", step, host=host) from error
    except socket.gaierror as error:
        raise TunnelFailure("NameResolution", step, host=host) from error
    except OSError as error:
        raise TunnelFailure("ConnectionFailed", os.strerror(error.errno) if error.errno else step, host=host) from error


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """A verifying context over ``ca_bundle`` alone, or over the system's CAs. Raises ``CaBundleUnreadable``."""
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        raise TunnelFailure("CaBundleUnreadable") from error


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """A TCP connection to ``host``, through the environment's proxy unless ``NO_PROXY`` excludes it. Raises :class:`TunnelFailure`."""
    proxy = _proxy_for(host)
    if proxy is None:
        with explained(host, "connecting"):
            return _with_no_delay(socket.create_connection((host, port), timeout=deadline.step()))
    proxy_host = proxy.hostname or ""
    with explained(proxy_host, "connecting to the proxy"):
        connection = _with_no_delay(socket.create_connection((proxy_host, proxy.port or 80), timeout=deadline.step()))
    try:
        with explained(proxy_host, "asking the proxy"):
            _ask_proxy(connection, proxy, host, port, deadline)
    except BaseException:
        connection.close()
        raise
    return connection


def with_tls(connection: socket.socket, context: ssl.SSLContext, server_name: str, deadline: Deadline) -> ssl.SSLSocket:
    """TLS over ``connection``, with ``server_name`` as SNI and as the name to verify; closes the connection when that fails."""
    try:
        with explained(server_name, "TLS handshake"):
            connection.settimeout(deadline.step())
            return context.wrap_socket(connection, server_hostname=server_name)
    except BaseException:
        connection.close()
        raise


def _with_no_delay(connection: socket.socket) -> socket.socket:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _proxy_for(host: str) -> urllib.parse.SplitResult | None:
    """The proxy of ``HTTPS_PROXY`` for ``host``; ``NO_PROXY`` is a list of names that match themselves and everything below them."""
    value = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    if not value:
        return None
    host = host.lower()
    for excluded in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").lower().split(","):
        name = excluded.strip().lstrip("*").lstrip(".")
        if excluded.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return None
    try:
        proxy = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
        usable = proxy.scheme == "http" and bool(proxy.hostname) and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TunnelFailure("ProxyInvalid")
    return proxy


def _ask_proxy(connection: socket.socket, proxy: urllib.parse.SplitResult, host: str, port: int, deadline: Deadline) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.username is not None:
        import base64

        user = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
        request += f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n"
    connection.settimeout(deadline.step())
    connection.sendall(f"{request}\r\n".encode())
    answer = b""
    # the other side of the proxy speaks only when spoken to, so nothing can follow the empty line
    while b"\r\n\r\n" not in answer:
        data = connection.recv(4096)
        answer += data
        if not data or len(answer) > 65536:
            raise TunnelFailure("ProxyRefused", "no HTTP answer", host=host)
    status = answer.split(b"\r\n", 1)[0].decode("latin-1").split()
    if len(status) < 2 or not status[0].startswith("HTTP/1.") or not status[1].startswith("2"):
        raise TunnelFailure("ProxyRefused", f"status {status[1] if len(status) > 1 else 'missing'}", host=host)
