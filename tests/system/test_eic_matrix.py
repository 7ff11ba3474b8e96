# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every failure of a connection through EC2 Instance Connect: its class, its hint, AWS's request id, in bounded time, and no command run twice."""
from __future__ import annotations

import os
import pathlib
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from eic_connections import Controller, Counted, Marker, changed_world, fresh_controller
from lab.api import Lab

CUTS = int(os.environ.get("EIC_TEST_CUTS", "5"))
"""Offsets at which a tunnel is cut, for each direction; 100 for the long run."""

PATIENCE = 25.0
"""Seconds within which every failure must be told, with a tunnel_timeout of 4 s."""

RAW_TEXT = ["kex_exchange", "UNKNOWN port", "Traceback", "X-Amz-", "debug1", "Permission denied ("]


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    with fresh_controller(lab) as made:
        made.variables["ansible_eic_tunnel_timeout"] = 4
        made.give_target()
        yield made


def assert_told(controller: Controller, kind: str, words: list[str], *, request_id: bool = False) -> str:
    """The connection fails as ``kind`` with one sentence that has ``words``, soon, and leaves nothing behind; returns the sentence."""
    started = time.monotonic()
    marker = Marker(controller)
    failed_as, message = controller.failure(marker.command)
    assert time.monotonic() - started < PATIENCE
    assert (failed_as, [word for word in words if word not in message]) == (kind, []), message
    assert controller.instance_id in message and "\n" not in message and not [text for text in RAW_TEXT if text in message], message
    assert not request_id or re.search(r"\(AWS request [0-9a-f-]{36}\)|, request [0-9a-f-]{36}", message), message
    assert marker.count() == 0
    assert controller.leftovers() == []
    return message


# -- before the login: repeated where that may help ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "parameters", "times"),
    [
        ("throttle_push", {}, 2),
        ("push_5xx", {"status": 503}, 2),
        ("refuse_tunnel", {"status": 503, "code": "ServiceUnavailable"}, 2),
        ("refuse_without_body", {"status": 502}, 1),
        ("reset_connection", {}, 2),
        ("reset_upgrade", {}, 2),
        ("target_unreachable", {}, 1),
        ("lose_key", {}, 1),
    ],
)
def test_what_passes_by_itself_is_repeated_before_the_login(controller: Controller, fault: str, parameters: dict[str, Any], times: int) -> None:
    controller.fault(fault, count=times, **parameters)
    controller.variables["ansible_eic_tunnel_timeout"] = 15
    marker = Marker(controller)
    assert controller.run(marker.command) == (0, b"")
    assert marker.count() == 1


@pytest.mark.parametrize(
    ("fault", "parameters", "kind", "words", "counted", "attempts"),
    [
        ("throttle_push", {}, "unreachable", ["throttles key pushes", "lower forks"], "key_pushes_refused", (2, 5)),
        ("push_5xx", {}, "unreachable", ["EC2 Instance Connect API", "server error"], "key_pushes_refused", (2, 5)),
        ("deny_push", {}, "authentication", ["ec2-instance-connect:SendSSHPublicKey", "ec2:osuser ubuntu"], "key_pushes_refused", (1, 1)),
        ("push_error", {"code": "EC2InstanceUnavailableException"}, "unreachable", ["cannot take an SSH key now"], "key_pushes_refused", (1, 1)),
        ("push_error", {"code": "EC2InstanceStateInvalidException"}, "unreachable", ["not running", "start it"], "key_pushes_refused", (1, 1)),
        ("push_error", {"code": "EC2InstanceNotFoundException"}, "unreachable", ["does not exist", "account"], "key_pushes_refused", (1, 1)),
        ("push_error", {"code": "InvalidArgsException"}, "authentication", ["OS user"], "key_pushes_refused", (1, 1)),
        ("deny_tunnel", {}, "authentication", ["ec2-instance-connect:OpenTunnel", "eice-", "port 22"], "tunnels_refused", (1, 1)),
        ("refuse_tunnel", {"status": 400, "code": "InvalidParameter", "message": "The specified RemotePort is not valid."}, "unreachable",
         ["RemotePort is not valid", "22 or 3389"], "tunnels_refused", (1, 1)),
        ("refuse_tunnel", {"status": 404, "code": "ResourceNotFound"}, "unreachable", ["does not exist", "ansible_eic_endpoint_id"], "tunnels_refused", (1, 1)),
        ("refuse_tunnel", {"status": 500}, "unreachable", ["server error", "try again"], "tunnels_refused", (2, 5)),
        ("refuse_without_body", {"status": 403}, "authentication", ["OpenTunnel"], "tunnels_refused", (1, 1)),
        ("target_unreachable", {}, "unreachable", ["10.20.0.", "port 22", "security group"], "tunnels", (2, 2)),
        ("text_frame", {}, "unreachable", ["broke the tunnel's protocol", "text frame"], "tunnels", (1, 1)),
        ("expire_token", {"surface": "tunnel"}, "authentication", ["have expired", "aws sso login"], "tunnels_refused", (1, 1)),
        ("expire_token", {"surface": "api"}, "authentication", ["have expired", "aws sso login"], "tunnels", (1, 1)),
    ],
)
def test_what_aws_refuses_is_one_sentence_with_its_request_id(
    controller: Controller, fault: str, parameters: dict[str, Any], kind: str, words: list[str], counted: str, attempts: tuple[int, int]
) -> None:
    controller.fault(fault, **parameters)
    counter = Counted(controller.lab)
    assert_told(controller, kind, words, request_id=True)
    assert attempts[0] <= counter[counted] <= attempts[1]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("reset_connection", ["closed the connection"]),
        ("reset_upgrade", ["instead of opening a tunnel", "quota"]),
        ("hang_tls", ["did not answer in time (TLS handshake)"]),
        ("hang_upgrade", ["did not answer in time (websocket handshake)"]),
    ],
)
def test_an_endpoint_that_is_silent_or_resets_is_given_up_in_time(controller: Controller, fault: str, words: list[str]) -> None:
    controller.fault(fault)
    assert_told(controller, "unreachable", words)


@pytest.mark.parametrize(
    ("variables", "kind", "words"),
    [
        ({"ansible_eic_tunnel_address": "127.0.0.1:1"}, "unreachable", ["refuses connections", "proxy"]),
        ({"ansible_eic_tunnel_address": "no-such-name.invalid:443"}, "unreachable", ["cannot be resolved"]),
        ({"ansible_eic_ec2_endpoint_url": "https://127.0.0.1:1"}, "unreachable", ["AWS cannot be reached"]),
        ({"ansible_eic_instance_connect_endpoint_url": "https://127.0.0.1:1"}, "unreachable", ["127.0.0.1 refuses connections"]),
        ({"ansible_eic_secret_key": "wrong"}, "authentication", ["secret key"]),
        ({"ansible_eic_access_key": "AKIAUNKNOWNKEY000000"}, "authentication", ["access key"]),
        ({"ansible_eic_session_token": "unexpected"}, "authentication", ["access key is not known"]),
        ({"ansible_port": 2022}, "unreachable", ["22 or 3389"]),
        ({"ansible_user": "nobody-here"}, "authentication", ["nobody-here", "EC2 Instance Connect package", "clock"]),
    ],
)
def test_wrong_settings_are_named(controller: Controller, variables: dict[str, Any], kind: str, words: list[str]) -> None:
    controller.look_target_up()
    controller.variables.update(variables)
    assert_told(controller, kind, words)


@pytest.mark.parametrize(("refusal", "words"), [("http", ["no tunnel left"]), ("close", ["no tunnel left"]), ("reset", ["instead of opening a tunnel"])])
def test_the_21st_tunnel_is_explained_by_the_quota_however_it_is_refused(controller: Controller, refusal: str, words: list[str]) -> None:
    controller.lab.settings(tunnel_quota=0, quota_refusal=refusal)
    assert "20 tunnels" in assert_told(controller, "unreachable", words, request_id=refusal != "reset")


@pytest.mark.parametrize("refusal", ["http", "close", "reset"])
def test_a_tunnel_that_becomes_free_is_waited_for(controller: Controller, refusal: str) -> None:
    """It becomes free only after a whole attempt to connect, with all of its own repetitions, was refused."""
    controller.variables.update(ansible_eic_tunnel_wait=60, ansible_eic_tunnel_timeout=15)
    controller.lab.settings(tunnel_quota=0, quota_refusal=refusal)
    counter = Counted(controller.lab)
    # a refusal by a close is one attempt by itself, the others are repeated by the tunnel process
    enough = 2 if refusal == "close" else 5

    def free() -> None:
        for _attempt in range(600):
            if counter["tunnels_refused"] >= enough:
                break
            time.sleep(0.1)
        controller.lab.settings(tunnel_quota=20)

    thread = threading.Thread(target=free)
    thread.start()
    marker = Marker(controller)
    assert controller.run(marker.command)[0] == 0
    thread.join()
    assert counter["tunnels_refused"] >= enough and marker.count() == 1


def test_the_clock_of_aws_may_be_five_minutes_off(controller: Controller) -> None:
    for seconds in (301.0, -301.0):
        controller.fault("clock_skew", seconds=seconds)
        for prepare in (controller.give_target, controller.look_target_up):
            prepare()
            assert_told(controller, "authentication", ["clock"])
        controller.lab.clear_faults()


@pytest.mark.parametrize("seconds", [45.0, -290.0])
def test_a_smaller_difference_between_the_clocks_does_no_harm(controller: Controller, seconds: float) -> None:
    """The controller's clock is behind by less than the 60 s of a signed address, or ahead by less than the 5 minutes that AWS admits."""
    controller.fault("clock_skew", seconds=seconds)
    controller.look_target_up()
    assert controller.run("true")[0] == 0


@pytest.mark.parametrize(("seconds", "works"), [(300.0, False), (-300.0, True)])
def test_the_instances_clock_may_be_five_minutes_off(controller: Controller, seconds: float, works: bool) -> None:
    controller.fault("instance_clock_skew", seconds=seconds)
    counter = Counted(controller.lab)
    if works:
        assert controller.run("true")[0] == 0
    else:
        assert_told(controller, "authentication", ["does not accept the pushed key", "clock"])
    assert counter["key_pushes"] == (1 if works else 2)


def test_a_key_that_the_instance_finds_slowly_is_waited_for(controller: Controller) -> None:
    controller.fault("slow_authorized_keys", seconds=3.0)
    assert controller.run("echo in")[1] == b"in\n"


# -- host keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["accept-new", "strict", "console"])
def test_a_changed_host_key_is_refused_with_file_and_id(controller: Controller, policy: str) -> None:
    file = pathlib.Path(f"{controller.known_hosts}.console" if policy == "console" else controller.known_hosts)
    other = subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(controller.directory / "other")], check=True)
    assert other.returncode == 0
    key = (controller.directory / "other.pub").read_text().split()
    file.write_text(f"{controller.instance_id} {key[0]} {key[1]}\n")
    controller.variables["ansible_eic_host_key_policy"] = policy
    counter = Counted(controller.lab)
    assert_told(controller, "authentication", ["host key has changed", str(file), f"remove the line of {controller.instance_id}"])
    assert counter["tunnels"] == 1
    file.unlink()
    if policy == "strict":
        assert_told(controller, "authentication", ["host key is not known", str(file)])
    else:
        assert controller.run("true")[0] == 0
        assert controller.instance_id in file.read_text()


def test_console_keys_are_read_once_and_nothing_else_is_trusted(controller: Controller) -> None:
    controller.variables["ansible_eic_host_key_policy"] = "console"
    counter = Counted(controller.lab)
    for _connection in range(2):
        assert controller.run("true")[0] == 0
        controller.close()
    assert counter["console_outputs"] == 1
    assert not controller.known_hosts.exists()
    pathlib.Path(f"{controller.known_hosts}.console").unlink()
    controller.fault("deny_describe", action="GetConsoleOutput")
    assert_told(controller, "authentication", ["GetConsoleOutput"], request_id=True)
    controller.lab.clear_faults()
    with changed_world(controller.lab) as world:
        for instance in world["instances"]:
            instance["host_keys"] = []
        world.save()
        assert_told(controller, "authentication", ["console shows no SSH host keys"])


@pytest.mark.parametrize("policy", ["accept-new", "console"])
def test_a_recreated_instance_at_the_same_address_needs_nothing(controller: Controller, policy: str) -> None:
    controller.variables["ansible_eic_host_key_policy"] = policy
    assert controller.run("true")[0] == 0
    other = Controller(controller.lab, controller.directory, "eic-hermes")
    other.variables["ansible_eic_host_key_policy"] = policy
    with changed_world(controller.lab) as world:
        old, new = (next(each for each in world["instances"] if each["instance_id"] == made.instance_id) for made in (controller, other))
        new["private_ip"], old["state"] = old["private_ip"], "terminated"
        world.save()
        assert other.run("true")[0] == 0
        controller.close()
        controller.look_target_up()
        failed_as, message = controller.failure()
        assert failed_as == "unreachable" and "the instance is terminated, not running" in message


# -- the network's other shapes ------------------------------------------------------------------------------------------------


def test_an_instance_with_an_ipv6_address_alone(controller: Controller) -> None:
    controller.look_target_up()
    with changed_world(controller.lab) as world:
        instance = next(each for each in world["instances"] if each["instance_id"] == controller.instance_id)
        instance.update(private_ip=None, ipv6="2600:1f16:abc::17")
        world.save()
        assert controller.run("true")[0] == 0


@pytest.mark.parametrize("has_fips_name", [True, False])
def test_fips_uses_the_endpoints_fips_name_and_nothing_else(controller: Controller, monkeypatch: pytest.MonkeyPatch, has_fips_name: bool) -> None:
    controller.look_target_up()
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    with changed_world(controller.lab) as world:
        name = world["endpoints"][0]["dns_name"].replace("ec2-instance-connect-endpoint", "fips.ec2-instance-connect-endpoint")
        world["endpoints"][0].update({"fips_dns_name": name} if has_fips_name else {})
        world.save()
        if has_fips_name:
            assert controller.run("true")[0] == 0
        else:
            failed_as, message = controller.failure()
            assert failed_as == "unreachable" and "has no FIPS DNS name" in message


@pytest.mark.parametrize(("fault", "parameters"), [("one_byte_frames", {}), ("fragment_with_pings", {"size": 7}), ("fragment_with_pings", {"size": 1000})])
def test_frames_of_any_shape_carry_the_same_bytes(controller: Controller, fault: str, parameters: dict[str, Any]) -> None:
    controller.fault(fault, **parameters)
    content = random.Random(1).randbytes(20_000)
    assert controller.run("cat", content) == (0, content)


# -- after the login: nothing that started is repeated -------------------------------------------------------------------------


def test_a_master_that_died_between_tasks_and_a_stale_socket_heal(controller: Controller) -> None:
    assert controller.run("true")[0] == 0
    (socket,) = (controller.directory / "cp").glob("eic-*")
    answer = subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "check", "x"], capture_output=True, text=True, check=True)
    os.kill(int(re.findall(r"pid=(\d+)", answer.stderr + answer.stdout)[0]), 9)
    time.sleep(0.2)
    assert socket.exists(), "a killed master leaves its socket"
    marker = Marker(controller)
    assert controller.run(marker.command)[0] == 0
    assert marker.count() == 1


@pytest.mark.parametrize("how", ["reset", "eof", "close"])
def test_a_tunnel_lost_in_a_command_leaves_the_outcome_unknown(controller: Controller, how: str) -> None:
    controller.fault("cut_after", bytes=60_000, direction="to_client", how=how, count=1)
    controller.variables["ansible_ssh_retries"] = 3
    marker, counter = Marker(controller), Counted(controller.lab)
    failed_as, message = controller.failure(f"{marker.command}; head -c 1000000 /dev/urandom")
    assert failed_as == "unreachable" and "outcome is unknown" in message and "not repeated" in message, message
    assert marker.count() == 1 and counter["tunnels"] == 1
    assert controller.run("true")[0] == 0


@pytest.mark.parametrize("method", ["sftp", "scp", "piped", "smart"])
def test_a_tunnel_lost_in_a_transfer_means_the_whole_file_once_more(controller: Controller, method: str) -> None:
    content = random.Random(2).randbytes(300_000)
    (controller.directory / "source").write_bytes(content)
    controller.variables.update(ansible_ssh_transfer_method=method, ansible_eic_tunnel_timeout=15)
    for direction in ("from_client", "to_client"):
        controller.fault("cut_after", bytes=100_000, direction=direction, count=1)
        counter = Counted(controller.lab)
        if direction == "from_client":
            controller.connection().put_file(str(controller.directory / "source"), "/tmp/transferred")
            assert controller.lab.exec(controller.workspace, "sha256sum", "/tmp/transferred").stdout.split()[0].decode() == _sha256(content)
        else:
            controller.connection().fetch_file("/tmp/transferred", str(controller.directory / "fetched"))
            assert (controller.directory / "fetched").read_bytes() == content
        assert counter["tunnels"] == 2
        controller.close()
    controller.fault("cut_after", bytes=100_000, direction="from_client")
    counter = Counted(controller.lab)
    with pytest.raises(Exception, match="outcome is unknown"):
        controller.connection().put_file(str(controller.directory / "source"), "/tmp/transferred")
    assert counter["tunnels"] == 2


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


@pytest.mark.timeout(600 + PATIENCE * CUTS)
@pytest.mark.parametrize("direction", ["to_client", "from_client"])
def test_a_cut_at_any_byte_never_runs_a_command_twice(controller: Controller, direction: str) -> None:
    """Cut at random offsets of a session: before the login the connection is opened once more, after it the host is unreachable."""
    counter = Counted(controller.lab)
    assert controller.run("true")[0] == 0
    controller.close()
    length = counter[f"bytes_{direction}"]
    generator = random.Random(f"{direction} {CUTS}")
    outcomes, longest = {"run": 0, "unreachable": 0, "started, outcome unknown": 0}, 0.0
    for _cut in range(CUTS):
        offset, how = generator.randrange(1, length), generator.choice(["reset", "eof", "close"])
        controller.fault("cut_after", bytes=offset, direction=direction, how=how, count=1)
        marker, started = Marker(controller), time.monotonic()
        try:
            assert controller.run(f"{marker.command}; echo whole")[1] == b"whole\n"
            outcomes["run"] += 1
            assert marker.count() == 1
        except Exception as error:
            assert "Unreachable" in type(error).__name__ or "ConnectionFailure" in type(error).__name__ or "ConnectionLost" in type(error).__name__, repr(error)
            assert "\n" not in str(error) and controller.instance_id in str(error), (offset, how, str(error))
            outcomes["unreachable"] += 1
            assert marker.count() <= 1, (offset, how)
            assert marker.count() == 0 or "outcome is unknown" in str(error), (offset, how, str(error))
            outcomes["started, outcome unknown"] += marker.count()
        longest = max(longest, time.monotonic() - started)
        assert longest < PATIENCE, (offset, how)
        controller.lab.clear_faults()
        controller.close()
    print(f"{direction}: {CUTS} cuts in {length} bytes: {outcomes}, the longest took {longest:.1f} s")
