# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel process as ssh starts it: no site-packages, a ticket, and standard input and output."""
from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

import measured
import pytest
import websockets
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_ticket, eic_tunnel
from eic_service import ADDRESS, DNS_NAME, ENDPOINT, INSTANCE, EicService


@pytest.fixture(scope="module")
def service() -> t.Iterator[EicService]:
    with tempfile.TemporaryDirectory(prefix="eic-") as directory, EicService(pathlib.Path(directory)) as running:
        running.echo = True
        yield running


@pytest.fixture
def ticket(service: EicService, tmp_path: pathlib.Path) -> eic_ticket.Ticket:
    return eic_ticket.Ticket(
        site_directory=str(pathlib.Path(websockets.__file__).parents[1]), status_path=str(tmp_path / "status"), region="us-east-2", access_key="AKID",
        secret_key="canary-secret", session_token="canary-token", instance_id=INSTANCE, os_user="ubuntu", public_key="ssh-ed25519 " + "A" * 68,
        endpoint_id=ENDPOINT, dns_name=DNS_NAME, address=ADDRESS, port=22, max_tunnel_duration=60, key_push_url=service.api_url + "/",
        connect_to=service.tunnel_address, ca_bundle=str(service.ca_file), timeout=5,
    )


class Tunnel:
    """A started tunnel process."""

    def __init__(self, ticket: eic_ticket.Ticket, directory: pathlib.Path, **environment: str) -> None:
        self.path = str(directory / "ticket")
        eic_ticket.write(self.path, ticket)
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        command = [sys.executable, "-I", "-S", *measured.arguments(eic_tunnel.__file__), self.path]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**clean, **environment},
            # a test that runs in the background of a shell would hand down that it is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def report(self) -> dict[str, t.Any]:
        """Wait for its end, and return the one line on stderr."""
        _output, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 1
        assert b"canary" not in errors
        (line,) = errors.decode().splitlines()
        assert line.startswith(eic_tunnel.PREFIX)
        return json.loads(line[len(eic_tunnel.PREFIX):])


def test_megabytes_both_ways_and_a_quick_end(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path) -> None:
    sent = os.urandom(6_000_000)
    tunnel = Tunnel(ticket, tmp_path)
    writer = threading.Thread(target=lambda: (tunnel.process.stdin.write(sent), tunnel.process.stdin.flush()))
    writer.start()
    received = b""
    while len(received) < len(sent):
        received += tunnel.process.stdout.read1(65536)
    writer.join()
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()
    started = time.monotonic()
    tunnel.process.stdin.close()
    assert tunnel.process.wait(5) == 0
    assert time.monotonic() - started < 2.5
    assert tunnel.process.stderr.read() == b""
    assert os.listdir(tmp_path) == [], "neither ticket nor report is left"


def test_the_key_is_pushed_after_the_websocket_is_open(ticket: eic_ticket.Ticket, service: EicService, tmp_path: pathlib.Path) -> None:
    pushes = len(service.pushes)
    service.refusals = [(403, {"ErrorCode": "AccessDenied", "Message": "no"})]
    report = Tunnel(ticket, tmp_path).report()
    assert len(service.pushes) == pushes
    assert report["phase"] == "connect" and report["code"] == "OpenTunnelDenied"
    assert report["request_id"] == "refused-request" and not report["retryable"]
    assert eic_ticket.take_report(str(tmp_path / "status")) == eic_ticket.Report(**report)


def test_a_denied_push_is_reported_once(ticket: eic_ticket.Ticket, service: EicService, tmp_path: pathlib.Path) -> None:
    service.push_answers = [(400, {"__type": "AccessDeniedException", "message": "no"})]
    report = Tunnel(ticket, tmp_path).report()
    assert (report["phase"], report["code"], report["request_id"]) == ("push", "KeyPushDenied", "api-request")
    assert not service.push_answers


def test_without_a_ticket_it_says_so_beside_where_the_ticket_should_be(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "ticket")
    done = subprocess.run([sys.executable, "-I", "-S", *measured.arguments(eic_tunnel.__file__), path], capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert eic_ticket.take_report(f"{path}.status").code == "TicketMissing"


def test_a_missing_websocket_library_is_named(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path) -> None:
    assert Tunnel(dataclasses.replace(ticket, site_directory=str(tmp_path)), tmp_path).report()["code"] == "WebsocketsMissing"


def test_a_server_that_never_answers_is_given_up_in_time(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        silent_ticket = dataclasses.replace(ticket, connect_to=f"127.0.0.1:{silent.getsockname()[1]}", timeout=2)
        report = Tunnel(silent_ticket, tmp_path).report()
    assert (report["code"], report["message"], report["retryable"]) == ("StepTimeout", "TLS handshake", True)
    assert time.monotonic() - started < 5


def test_what_is_no_websocket_server_is_named(ticket: eic_ticket.Ticket, service: EicService, tmp_path: pathlib.Path) -> None:
    api = service.api_url.removeprefix("https://")
    report = Tunnel(dataclasses.replace(ticket, connect_to=api, dns_name="127.0.0.1"), tmp_path).report()
    assert report["code"] in ("HandshakeInvalid", "TunnelServiceError", "TunnelRefused")


def test_an_endpoint_with_a_trusted_certificate_for_another_name_is_refused(
    ticket: eic_ticket.Ticket, service: EicService, tmp_path: pathlib.Path
) -> None:
    """Whoever has any certificate of a trusted authority could otherwise stand in for the endpoint, and for the instance behind it."""
    asked = len(service.tunnel_requests)
    report = Tunnel(dataclasses.replace(ticket, dns_name=f"other-{DNS_NAME}"), tmp_path).report()
    assert (report["phase"], report["code"], report["host"]) == ("connect", "CertificateRefused", f"other-{DNS_NAME}")
    assert len(service.tunnel_requests) == asked, "the signed request was not sent"


def test_an_api_with_a_trusted_certificate_for_another_name_gets_no_key(ticket: eic_ticket.Ticket, service: EicService, tmp_path: pathlib.Path) -> None:
    pushes = len(service.pushes)
    url = service.api_url.replace("127.0.0.1", "localhost")
    report = Tunnel(dataclasses.replace(ticket, key_push_url=f"{url}/"), tmp_path).report()
    assert (report["phase"], report["code"], report["host"]) == ("push", "CertificateRefused", "localhost")
    assert len(service.pushes) == pushes


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGINT, False), (signal.SIGHUP, True), (signal.SIGTERM, True)])
def test_signals(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path, number: signal.Signals, ends: bool) -> None:
    tunnel = Tunnel(ticket, tmp_path)
    tunnel.process.stdin.write(b"ping")
    tunnel.process.stdin.flush()
    assert tunnel.process.stdout.read(4) == b"ping"
    tunnel.process.send_signal(number)
    if ends:
        tunnel.process.wait(5)
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            tunnel.process.wait(1)
        tunnel.process.stdin.write(b"pong")
        tunnel.process.stdin.flush()
        assert tunnel.process.stdout.read(4) == b"pong"
    tunnel.process.communicate(timeout=10)


class Proxy:
    """An HTTP proxy that knows CONNECT; ``heads`` are the requests it got."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer, self.heads = answer, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _address = self.server.accept()
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1024)
            self.heads.append(head.decode())
            client.sendall(self.answer)
            if b" 200 " not in self.answer:
                client.close()
                continue
            host, port = head.split()[1].decode().rsplit(":", 1)
            service = socket.create_connection((host, int(port)))
            for source, sink in ((client, service), (service, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def _echoes(tunnel: Tunnel) -> bool:
    tunnel.process.stdin.write(b"through")
    tunnel.process.stdin.flush()
    output = tunnel.process.stdout.read(7)
    tunnel.process.communicate(timeout=15)
    return output == b"through"


def test_the_environments_proxy_is_used_with_its_credentials(ticket: eic_ticket.Ticket, service: EicService, tmp_path: pathlib.Path) -> None:
    proxy = Proxy()
    assert _echoes(Tunnel(ticket, tmp_path, HTTPS_PROXY=f"http://user:pa%20ss@{proxy.address}"))
    assert [head.split()[1] for head in proxy.heads] == [service.tunnel_address, service.api_url.removeprefix("https://")]
    assert f"Basic {base64.b64encode(b'user:pa ss').decode()}" in proxy.heads[0]


def test_no_credentials_are_sent_that_the_proxys_url_does_not_have(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path) -> None:
    proxy = Proxy()
    assert _echoes(Tunnel(ticket, tmp_path, https_proxy=proxy.address))
    assert not any("Authorization" in head for head in proxy.heads)


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.com, 127.0.0.1", ".0.0.1", "*"])
def test_no_proxy_excludes_by_suffix(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path, no_proxy: str) -> None:
    assert _echoes(Tunnel(ticket, tmp_path, HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY=no_proxy))


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "ProxyRefused"), (b"SSH-2.0-no-proxy\r\n\r\n", "ProxyRefused")],
)
def test_a_proxy_that_refuses_is_named(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path, answer: bytes, code: str) -> None:
    assert Tunnel(ticket, tmp_path, HTTPS_PROXY=f"http://{Proxy(answer).address}").report()["code"] == code


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://", "http://host:port"])
def test_a_proxy_that_cannot_be_used_is_named(ticket: eic_ticket.Ticket, tmp_path: pathlib.Path, url: str) -> None:
    assert Tunnel(ticket, tmp_path, HTTPS_PROXY=url).report()["code"] == "ProxyInvalid"
