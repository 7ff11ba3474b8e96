# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel process: ssh's ProxyCommand, from standard input and output to an EC2 Instance Connect Endpoint.

``python -I -S eic_tunnel.py TICKET``: take the ticket and its slot of the endpoint's budget, open the websocket, push the run's public key (as late as
possible: it lives 60 s), pump bytes until one side ends. ssh starts it only when a new connection is needed, so pushing the key here has no check-then-use
race.

It runs once per host, so it starts without site-packages: only ``websockets`` (its sans-I/O core) is looked up where the ticket says.
Protocol: RFC 6455 with raw bytes in BINARY frames, as in the AWS CLI's ``ec2-instance-connect open-tunnel``.
"""
from __future__ import annotations

import contextlib
import datetime
import json
import os
import random
import signal
import sys
import time
import typing as t
import urllib.parse

if t.TYPE_CHECKING or __package__:
    from . import eic_budget, eic_errors, eic_pump, eic_ticket, sigv4
    from .eic_transport import Deadline, TunnelFailure, connect, explained, tls_context, with_tls
else:
    # started by ssh: the files beside this one, after the standard library so that they can't stand in for any of it
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    import eic_budget
    import eic_errors
    import eic_pump
    import eic_ticket
    import sigv4
    from eic_transport import Deadline, TunnelFailure, connect, explained, tls_context, with_tls

if t.TYPE_CHECKING:
    import socket
    import ssl

    from websockets.http11 import Response

PREFIX = "molecule_ai.workspace.eic: "
"""What the one error line on stderr starts with."""

_SERVICE = "ec2-instance-connect"
_URL_LIFETIME = 60
_ATTEMPTS = 4
_T = t.TypeVar("_T")


def main(arguments: t.Sequence[str]) -> int:
    """Run one tunnel; returns the exit status (1 after an error, which is reported)."""
    # Ctrl-C in the terminal of one play must not end a connection that others share; a hang-up of ssh must
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, lambda _number, _frame: sys.exit(0))
    # until the ticket names a better place, reports lie beside it
    status_path, phase = f"{arguments[0]}.status", _Phase("ticket")
    try:
        ticket = eic_ticket.take(arguments[0])
        status_path = ticket.status_path
        sys.path.append(ticket.site_directory)
        run(ticket, phase)
    except eic_ticket.TicketError as error:
        return _report(status_path, eic_ticket.Report(phase.name, str(error.args[0])))
    except TunnelFailure as error:
        retryable = phase.name != "tunnel" and eic_errors.FAILURES[error.code].retryable
        return _report(status_path, eic_ticket.Report(phase.name, error.code, eic_errors.presentable(error.message), error.host, error.request_id, retryable))
    except Exception as error:  # pylint: disable=broad-except
        # nobody sees a traceback here: stderr is /dev/null under ControlPersist
        return _report(status_path, eic_ticket.Report(phase.name, "Internal", type(error).__name__))
    return 0


class _Phase:
    """Where the process stands, for its error report."""

    def __init__(self, name: str) -> None:
        self.name = name


def run(ticket: eic_ticket.Ticket, phase: _Phase) -> None:
    """Open the tunnel of ``ticket`` and pump until it ends; raises :class:`TunnelFailure`."""
    deadline = Deadline(ticket.timeout)
    context = tls_context(ticket.ca_bundle)
    phase.name = "connect"
    if ticket.direct:
        connect_directly(ticket, context, deadline, phase)
        return
    if ticket.slot_path and ticket.slot_nonce:
        try:
            # never closed: the slot is this process's until it is gone
            eic_budget.hold(eic_budget.Claim(ticket.slot_path, ticket.slot_nonce))
        except eic_budget.SlotLost as error:
            raise TunnelFailure("SlotLost") from error
    websocket = _with_retries(lambda: open_websocket(ticket, context, deadline), deadline)
    try:
        phase.name = "push"
        _with_retries(lambda: push_key(ticket, context, deadline), deadline)
        phase.name = "tunnel"
        eic_pump.pump(websocket, sys.stdin.fileno(), sys.stdout.fileno())
    finally:
        websocket.connection.close()


def connect_directly(ticket: eic_ticket.Ticket, context: ssl.SSLContext, deadline: Deadline, phase: _Phase) -> None:
    """Connect to the instance itself, push the key, and hand the connection to ssh (``ProxyUseFdpass``); raises :class:`TunnelFailure`."""
    import socket

    try:
        connection = socket.create_connection((ticket.address, ticket.port), timeout=deadline.step())
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
        raise TunnelFailure("AddressUnreachable", reason) from error
    with connection, socket.socket(fileno=os.dup(sys.stdout.fileno())) as to_ssh:
        phase.name = "push"
        _with_retries(lambda: push_key(ticket, context, deadline), deadline)
        # ssh expects a blocking socket, as it would have made itself
        connection.setblocking(True)
        socket.send_fds(to_ssh, [b"\0"], [connection.fileno()])


def open_websocket(ticket: eic_ticket.Ticket, context: ssl.SSLContext, deadline: Deadline) -> eic_pump.Websocket:
    """One attempt to open the websocket; raises :class:`TunnelFailure` with the endpoint's refusal or the network's."""
    try:
        from websockets.client import ClientProtocol
        from websockets.uri import parse_uri
    except ImportError as error:
        raise TunnelFailure("WebsocketsMissing") from error
    host, port = _address(ticket.connect_to) if ticket.connect_to else (ticket.dns_name, 443)
    connection = with_tls(connect(host, port, deadline), context, ticket.dns_name, deadline)
    try:
        query = sigv4.presigned_query(
            _credentials(ticket),
            service=_SERVICE,
            region=ticket.region,
            host=ticket.dns_name,
            path="/openTunnel",
            parameters={
                "instanceConnectEndpointId": ticket.endpoint_id,
                "remotePort": str(ticket.port),
                "privateIpAddress": ticket.address,
                "maxTunnelDuration": str(ticket.max_tunnel_duration),
            },
            expires=_URL_LIFETIME,
            now=_now(),
        )
        protocol = ClientProtocol(parse_uri(f"wss://{ticket.dns_name}/openTunnel?{query}"), max_size=None)
        protocol.send_request(protocol.connect())
        with _upgrading(ticket.dns_name):
            connection.settimeout(deadline.step())
            for data in protocol.data_to_send():
                connection.sendall(data)
            events: list[t.Any] = []
            while not events and not protocol.handshake_exc:
                connection.settimeout(deadline.step())
                if data := connection.recv(65536):
                    protocol.receive_data(data)
                else:
                    protocol.receive_eof()
                events = protocol.events_received()
                if not data and not events:
                    raise TunnelFailure("UpgradeReset", host=ticket.dns_name)
        if not events:
            raise TunnelFailure("HandshakeInvalid", host=ticket.dns_name)
        response: Response = events.pop(0)
        request_id = response.headers.get("x-amzn-RequestId")
        if protocol.handshake_exc:
            raise _refusal(ticket, response, request_id)
        return eic_pump.Websocket(connection, protocol, events, request_id)
    except BaseException:
        connection.close()
        raise


@contextlib.contextmanager
def _upgrading(host: str) -> t.Iterator[None]:
    """As :func:`explained`; an end at this point may be how the service refuses, not the network's doing."""
    try:
        with explained(host, "websocket handshake"):
            yield
    except TunnelFailure as error:
        if error.code == "ConnectionReset":
            raise TunnelFailure("UpgradeReset", host=host) from error
        raise


def _refusal(ticket: eic_ticket.Ticket, response: Response, request_id: str | None) -> TunnelFailure:
    """The failure for a handshake answer that is not a good 101; the body says why, as ``{"ErrorCode": ..., "Message": ...}``."""
    if response.status_code == 101:
        return TunnelFailure("HandshakeInvalid", host=ticket.dns_name, request_id=request_id)
    try:
        body = json.loads(response.body or b"")
        error_code, message = str(body.get("ErrorCode", "")), str(body.get("Message", ""))
    except (ValueError, AttributeError):
        error_code = message = ""
    code = eic_errors.code_of_refused_tunnel(response.status_code, error_code)
    return TunnelFailure(code, message or error_code or f"status {response.status_code}", host=ticket.dns_name, request_id=request_id)


def push_key(ticket: eic_ticket.Ticket, context: ssl.SSLContext, deadline: Deadline) -> None:
    """One attempt of SendSSHPublicKey; raises :class:`TunnelFailure`."""
    import http.client

    url = urllib.parse.urlsplit(ticket.key_push_url)
    host, path, secure = url.hostname or "", url.path or "/", url.scheme == "https"
    body = json.dumps({"InstanceId": ticket.instance_id, "InstanceOSUser": ticket.os_user, "SSHPublicKey": ticket.public_key}).encode()
    headers = sigv4.signed_headers(
        _credentials(ticket),
        service=_SERVICE,
        region=ticket.region,
        host=url.netloc,
        path=path,
        headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEC2InstanceConnectService.SendSSHPublicKey"},
        body=body,
        now=_now(),
    )
    connection: socket.socket = connect(host, url.port or (443 if secure else 80), deadline)
    if secure:
        connection = with_tls(connection, context, host, deadline)
    try:
        with explained(host, "key push"):
            connection.settimeout(deadline.step())
            http_connection = http.client.HTTPConnection(host)
            http_connection.sock = connection
            try:
                http_connection.request("POST", path, body, {**headers, "Connection": "close"})
                response = http_connection.getresponse()
                answer = response.read(65536)
            except http.client.HTTPException as error:
                raise TunnelFailure("ConnectionReset", "key push", host=host) from error
    finally:
        connection.close()
    request_id = response.headers.get("x-amzn-RequestId")
    try:
        content: dict[str, t.Any] = json.loads(answer)
        if response.status == 200 and content.get("Success", True):
            return
    except (ValueError, AttributeError):
        content = {}
    # "AuthException", or with the name space of the service before it or a documentation address behind it
    error_type = str(content.get("__type") or response.headers.get("x-amzn-ErrorType") or "").rsplit("#", 1)[-1].split(":", 1)[0]
    request_id = request_id or content.get("RequestId")
    code = eic_errors.code_of_refused_push(response.status, error_type)
    raise TunnelFailure(code, error_type or f"status {response.status}", host=host, request_id=request_id)


def _with_retries(attempt: t.Callable[[], _T], deadline: Deadline) -> _T:
    """Repeat ``attempt`` while its failure may pass by itself: a few times, with growing random pauses, within the deadline."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            return attempt()
        except TunnelFailure as error:
            pause = random.uniform(0.5, 1.0) * 2 ** (number - 1) / 2  # noqa: S311 - spreads load, guards nothing
            if number == _ATTEMPTS or not eic_errors.FAILURES[error.code].retryable or pause >= deadline.remaining():
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def _address(connect_to: str) -> tuple[str, int]:
    host, _colon, port = connect_to.rpartition(":")
    return host.strip("[]"), int(port)


def _credentials(ticket: eic_ticket.Ticket) -> sigv4.Credentials:
    return sigv4.Credentials(ticket.access_key, ticket.secret_key, ticket.session_token)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _report(status_path: str, report: eic_ticket.Report) -> int:
    eic_ticket.write_report(status_path, report)
    print(f"{PREFIX}{report.line()}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
