# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated tunnel gateway, seen by the websockets library's client, with a plain command behind it."""
from __future__ import annotations

import json
import os
import pathlib
import ssl
import time
import uuid
from typing import Any

import pytest
from conftest import ENDPOINT_DNS, RunningLab
from tunnel_client import Refused
from websockets.frames import Opcode


def refusal(lab: RunningLab, url: str | None = None) -> tuple[int, str | None]:
    """The HTTP status and error code with which the gateway refuses."""
    with pytest.raises(Refused) as caught:
        lab.connect(url)
    response = caught.value.response
    uuid.UUID(response.headers["x-amzn-RequestId"])
    return response.status_code, json.loads(response.body)["ErrorCode"] if response.body else None


def wait_for_counter(lab: RunningLab, name: str, value: int) -> None:
    assert lab.eventually(lambda: lab.state.counters.as_dict()[name] == value)


def test_a_tunnel_carries_bytes_both_ways_and_is_counted(lab: RunningLab) -> None:
    payload = os.urandom(300_000)
    with lab.connect() as connection:
        uuid.UUID(connection.response.headers["x-amzn-RequestId"])
        assert lab.state.counters.as_dict()["tunnels_open"] == 1
        for start in range(0, len(payload), 65_000):
            connection.send(payload[start:start + 65_000])
        assert connection.receive(len(payload)) == payload
    wait_for_counter(lab, "tunnels_open", 0)
    counters = lab.state.counters.as_dict()
    assert (counters["tunnels"], counters["bytes_to_client"], counters["bytes_from_client"]) == (1, 300_000, 300_000)


def test_an_ipv6_target_and_the_fips_name_of_an_endpoint(lab: RunningLab) -> None:
    fips = ENDPOINT_DNS.replace("ec2-instance-connect-endpoint", "fips.ec2-instance-connect-endpoint")
    lab.world["instances"][0].update(private_ip=None, ipv6="fd00:ec2::1")
    lab.world["endpoints"][0]["fips_dns_name"] = fips
    lab.write_world()
    with lab.connect(lab.tunnel_url(host=fips, privateIpAddress="fd00:ec2:0::1")) as connection:
        connection.send(b"x")
        assert connection.receive(1) == b"x"


def test_pings_and_the_idle_limit_of_the_service(lab: RunningLab) -> None:
    lab.state.settings.change({"ping_interval": 0.05, "idle_limit": 0.5})
    with lab.connect() as connection:
        assert connection.end() == (1001, "Idle timeout")
        assert connection.pings > 3


def test_a_client_that_vanishes_ends_the_tunnel_and_its_backend(lab: RunningLab) -> None:
    lab.bridge_command = ["sh", "-c", "echo $$; exec cat"]
    connection = lab.connect()
    process_id = int(connection.frame().data)
    connection.socket.close()
    wait_for_counter(lab, "tunnels_open", 0)
    assert lab.eventually(lambda: not pathlib.Path(f"/proc/{process_id}").exists())


def test_a_reader_that_does_not_read_stops_the_backend_instead_of_filling_memory(lab: RunningLab) -> None:
    lab.bridge_command = ["cat", "/dev/zero"]
    with lab.connect() as connection:
        connection.receive(1)
        assert lab.eventually(lambda: counted(lab) == (time.sleep(0.2) or counted(lab)))
        assert counted(lab) < 16 * 1024 * 1024
        connection.socket.close()
    started = time.monotonic()
    lab.close()
    assert time.monotonic() - started < 10


def counted(lab: RunningLab) -> int:
    return int(lab.state.counters.as_dict()["bytes_to_client"])


def test_a_backend_that_ends_closes_the_tunnel_cleanly(lab: RunningLab) -> None:
    lab.bridge_command = ["echo", "SSH-2.0-x"]
    with lab.connect() as connection:
        assert connection.receive(10) == b"SSH-2.0-x\n"
        assert connection.end() == (1000, "")


def test_signatures_and_parameters_are_checked(lab: RunningLab) -> None:
    assert refusal(lab, lab.tunnel_url().replace("remotePort=22", "remotePort=3389")) == (403, "InvalidSignature")
    assert refusal(lab, lab.tunnel_url(access=("nobody", "x", None))) == (403, "InvalidClientTokenId")
    assert refusal(lab, lab.tunnel_url(expires=61)) == (403, "InvalidSignature")
    assert refusal(lab, lab.tunnel_url(remotePort="80")) == (400, "InvalidParameter")
    assert refusal(lab, lab.tunnel_url(privateIpAddress="localhost")) == (400, "InvalidParameter")
    assert refusal(lab, lab.tunnel_url(maxTunnelDuration="3601")) == (400, "InvalidParameter")
    assert refusal(lab, lab.tunnel_url(instanceConnectEndpointId="eice-0fedcba9876543210")) == (404, "ResourceNotFound")
    failed = ENDPOINT_DNS.replace("eice-0123456789abcdef0", "eice-0fedcba9876543210")
    assert refusal(lab, lab.tunnel_url(host=failed, instanceConnectEndpointId="eice-0fedcba9876543210")) == (400, "InvalidState")
    assert lab.state.counters.as_dict()["tunnels_refused"] == 8
    lab.state.settings.change({"require_max_tunnel_duration": True})
    assert refusal(lab) == (403, "AccessDenied")
    with lab.connect(lab.tunnel_url(maxTunnelDuration="60")):
        pass


def test_a_temporary_credential_opens_a_tunnel_and_an_old_url_does_not(lab: RunningLab) -> None:
    with lab.connect(lab.tunnel_url(access=("ASIALABLABLABLABLAB1", "temporary", "token/with+signs=="))):
        pass
    lab.state.faults.add({"name": "clock_skew", "seconds": 65})
    assert refusal(lab) == (403, "RequestExpired")
    lab.state.faults.remove()
    lab.state.faults.add({"name": "expire_token", "surface": "tunnel"})
    assert refusal(lab) == (403, "ExpiredToken")


def test_a_server_name_that_is_no_endpoint_gets_no_certificate(lab: RunningLab) -> None:
    context = ssl.create_default_context(cafile=lab.addresses["ca_file"])
    with lab.gateway_socket() as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("address", ["10.0.0.2", "10.0.0.3", "10.9.0.4", "10.0.0.250"], ids=["stopped", "terminated", "other VPC", "nobody"])
def test_an_address_that_is_no_running_instance_of_the_vpc_is_unreachable_after_101(lab: RunningLab, address: str) -> None:
    with lab.connect(lab.tunnel_url(privateIpAddress=address)) as connection:
        assert connection.end() == (1011, "Unable to connect to target")


def test_a_backend_that_never_answers_and_a_port_without_listener_are_unreachable(lab: RunningLab) -> None:
    with lab.connect(lab.tunnel_url(remotePort="3389")) as connection:
        assert connection.end()[1] == "Unable to connect to target"
    lab.bridge_command = ["false"]
    with lab.connect() as connection:
        assert connection.end()[1] == "Unable to connect to target"


def test_tunnel_21_is_refused_until_one_ends(lab: RunningLab) -> None:
    lab.state.settings.change({"tunnel_quota": 2})
    with lab.connect():
        with lab.connect():
            assert refusal(lab) == (429, "ServiceQuotaExceeded")
            lab.state.settings.change({"quota_refusal": "close"})
            with lab.connect() as third:
                assert third.end()[0] == 1013
            lab.state.settings.change({"quota_refusal": "reset"})
            with pytest.raises((ConnectionError, ssl.SSLError)):
                lab.connect()
        wait_for_counter(lab, "tunnels_open", 1)
        with lab.connect():
            pass
    wait_for_counter(lab, "tunnels_open", 0)
    assert lab.state.counters.as_dict()["tunnels_open_peak_by_endpoint"] == {"eice-0123456789abcdef0": 2}


def test_a_tunnel_ends_at_its_duration(lab: RunningLab) -> None:
    lab.state.settings.change({"duration_close_code": 1008, "duration_close_reason": "over"})
    started = time.monotonic()
    with lab.connect(lab.tunnel_url(maxTunnelDuration="1")) as connection:
        assert connection.end() == (1008, "over")
    assert 0.9 < time.monotonic() - started < 3
    lab.state.settings.change({"max_tunnel_duration": 0.2})
    with lab.connect() as connection:
        assert connection.end() == (1008, "over")


def fault(lab: RunningLab, name: str, **parameters: Any) -> None:
    lab.state.faults.remove()
    lab.state.faults.add({"name": name, **parameters})


def test_refusals_on_demand(lab: RunningLab) -> None:
    fault(lab, "deny_tunnel")
    assert refusal(lab) == (403, "AccessDenied")
    fault(lab, "refuse_tunnel", status=503, code="Busy", message="later")
    assert refusal(lab) == (503, "Busy")
    fault(lab, "refuse_without_body", status=502)
    assert refusal(lab) == (502, None)
    fault(lab, "target_unreachable", instance_id="i-0a1b2c3d4e5f60001")
    with lab.connect() as connection:
        assert connection.end() == (1011, "Unable to connect to target")
    fault(lab, "target_unreachable", instance_id="i-0a1b2c3d4e5f60002")
    with lab.connect() as connection:
        connection.send(b"x")
        assert connection.receive(1) == b"x"


@pytest.mark.parametrize("name", ["reset_connection", "reset_upgrade"])
def test_resets_on_demand(lab: RunningLab, name: str) -> None:
    fault(lab, name)
    with pytest.raises((ConnectionError, ssl.SSLError)):
        lab.connect()


def test_hangs_on_demand(lab: RunningLab) -> None:
    context = ssl.create_default_context(cafile=lab.addresses["ca_file"])
    fault(lab, "hang_tls")
    with lab.gateway_socket() as plain:
        plain.settimeout(0.5)
        with pytest.raises(TimeoutError):
            context.wrap_socket(plain, server_hostname=ENDPOINT_DNS)
    fault(lab, "hang_upgrade")
    with lab.gateway_socket() as plain, context.wrap_socket(plain, server_hostname=ENDPOINT_DNS) as secure:
        target = lab.tunnel_url().split(ENDPOINT_DNS)[1]
        secure.sendall(f"GET {target} HTTP/1.1\r\nHost: {ENDPOINT_DNS}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
        secure.settimeout(0.5)
        with pytest.raises(TimeoutError):
            secure.recv(1)


def test_frames_take_the_shape_that_is_asked_for(lab: RunningLab) -> None:
    fault(lab, "one_byte_frames")
    with lab.connect() as connection:
        connection.send(b"abc")
        assert [connection.frame().data for _index in range(3)] == [b"a", b"b", b"c"]
    fault(lab, "fragment_with_pings", size=4)
    with lab.connect() as connection:
        connection.send(b"0123456789")
        frames = [connection.frame() for _index in range(3)]
        assert [(frame.data, frame.fin) for frame in frames] == [(b"0123", False), (b"4567", False), (b"89", True)]
        assert connection.pings == 2
    fault(lab, "text_frame")
    with lab.connect() as connection:
        assert connection.frame().opcode is Opcode.TEXT


@pytest.mark.parametrize("direction", ["to_client", "from_client"])
@pytest.mark.parametrize("how", ["reset", "eof", "close"])
def test_a_tunnel_is_cut_at_exactly_the_byte(lab: RunningLab, direction: str, how: str) -> None:
    fault(lab, "cut_after", bytes=5, direction=direction, how=how, close_reason="cut")
    with lab.connect() as connection:
        connection.send(b"abc")
        assert connection.receive(3) == b"abc"
        connection.send(b"defg")
        if direction == "to_client" and how != "reset":  # a reset overtakes data
            assert connection.receive(2) == b"de"
        if how == "reset":
            with pytest.raises(OSError):  # ssl hides which
                connection.end()
        else:
            assert connection.end() == ((1011, "cut") if how == "close" else (None, ""))
    assert lab.state.counters.as_dict()[f"bytes_{direction}"] == 5


def test_a_slow_tunnel_is_slow_and_takes_no_more_than_it_carries(lab: RunningLab) -> None:
    fault(lab, "slow", bytes_per_second=20_000, direction="to_client")
    with lab.connect() as connection:
        started = time.monotonic()
        connection.send(b"x" * 10_000)
        connection.receive(10_000)
        assert time.monotonic() - started > 0.35


def test_a_client_that_sends_text_or_too_much_is_disconnected(lab: RunningLab) -> None:
    with lab.connect() as connection:
        connection.send(b"text", Opcode.TEXT)
        assert connection.end()[0] == 1003
    with lab.connect() as connection:
        connection.send(b"x" * 65_001)
        assert connection.end()[0] == 1009
