# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of look-ups, of what was remembered from them, and of connections without a tunnel: the same classes and sentences as with one."""
from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from eic_connections import Controller, Counted, Marker, changed_world, direct_address, fresh_controller
from lab.api import Lab

REQUEST_ID = re.compile(r"(\(AWS request |, request )[0-9a-f-]{36}")


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    with fresh_controller(lab) as made:
        yield made


@pytest.fixture
def direct(controller: Controller) -> Iterator[Controller]:
    """A controller that reaches the instance by itself."""
    with direct_address(controller.lab, controller.workspace) as (address, port):
        controller.variables.update(ansible_eic_tunnel="none", ansible_eic_private_address=address, ansible_port=port)
        yield controller


def assert_told(controller: Controller, kind: str, words: list[str], *, request_id: bool) -> None:
    """The connection fails as ``kind`` with one sentence that has ``words``; no command has started, and nothing is left."""
    marker = Marker(controller)
    failed_as, message = controller.failure(marker.command)
    assert (failed_as, [word for word in words if word not in message]) == (kind, []), message
    assert controller.instance_id in message and "\n" not in message and bool(REQUEST_ID.search(message)) == request_id, message
    assert marker.count() == 0 and controller.leftovers() == []


def assert_runs_once(controller: Controller) -> None:
    marker = Marker(controller)
    assert controller.run(marker.command)[0] == 0
    assert marker.count() == 1


def move(controller: Controller, world: Any, address: str) -> None:
    """Give the instance another address."""
    next(each for each in world["instances"] if each["instance_id"] == controller.instance_id)["private_ip"] = address
    world.save()


# -- look-ups ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "parameters", "kind", "words"),
    [
        ("deny_describe", {"action": "DescribeInstances"}, "authentication", ["cannot look up EC2 instance", "the action DescribeInstances"]),
        ("deny_describe", {"action": "DescribeInstanceConnectEndpoints"}, "authentication", ["Endpoint", "the action DescribeInstanceConnectEndpoints"]),
        ("throttle_describe", {}, "unreachable", ["RequestLimitExceeded", "try again later"]),
    ],
)
def test_a_look_up_that_fails_is_told_with_its_request_id(
    controller: Controller, fault: str, parameters: dict[str, Any], kind: str, words: list[str]
) -> None:
    controller.fault(fault, **parameters)
    counter = Counted(controller.lab)
    assert_told(controller, kind, words, request_id=True)
    assert counter["tunnels"] == counter["key_pushes"] == 0


def test_a_look_up_that_is_throttled_for_a_while_passes(controller: Controller) -> None:
    controller.fault("throttle_describe", count=2)
    counter = Counted(controller.lab)
    assert_runs_once(controller)
    assert counter["api_refused"] == 2


@pytest.mark.parametrize("fault", ["deny_push", "deny_tunnel"])
def test_what_was_looked_up_is_forgotten_when_iam_denies_it(controller: Controller, fault: str) -> None:
    """An id or endpoint that belongs to another account by now is denied, not missing."""
    assert_runs_once(controller)
    controller.close()
    controller.fault(fault)
    assert_told(controller, "authentication", ["the IAM identity may not"], request_id=True)
    controller.lab.clear_faults()
    counter = Counted(controller.lab)
    assert_runs_once(controller)
    assert (counter["describe_instances"], counter["describe_endpoints"]) == (1, 1)


def test_an_instance_whose_address_has_moved_is_looked_up_anew(controller: Controller) -> None:
    assert_runs_once(controller)
    controller.close()
    counter = Counted(controller.lab)
    with changed_world(controller.lab) as world:
        move(controller, world, "10.20.0.222")
        assert_runs_once(controller)
    assert (counter["describe_instances"], counter["tunnels"]) == (1, 2)


def test_an_instance_whose_address_has_moved_is_looked_up_anew_without_a_tunnel(controller: Controller) -> None:
    controller.variables["ansible_eic_tunnel"] = "none"
    with changed_world(controller.lab) as world:
        with direct_address(controller.lab, controller.workspace) as (address, port):
            controller.variables["ansible_port"] = port
            move(controller, world, address)
            assert_runs_once(controller)
            controller.close()
        counter = Counted(controller.lab)
        with direct_address(controller.lab, controller.workspace, "127.0.0.2", port) as (address, _port):
            move(controller, world, address)
            assert_runs_once(controller)
            controller.close()
    assert (counter["describe_instances"], counter["key_pushes"], counter["tunnels"]) == (1, 1, 0)


# -- what hangs and then passes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["hang_upgrade"])
def test_an_endpoint_that_is_silent_for_a_while_is_asked_again(controller: Controller, fault: str) -> None:
    controller.give_target()
    controller.variables["ansible_eic_tunnel_timeout"] = 40
    controller.fault(fault, count=1)
    assert_runs_once(controller)
    assert controller.lab.faults() == []


# -- without a tunnel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "parameters", "kind", "words"),
    [
        ("throttle_push", {}, "unreachable", ["throttles key pushes", "lower forks"]),
        ("push_5xx", {}, "unreachable", ["EC2 Instance Connect API", "server error"]),
        ("deny_push", {}, "authentication", ["ec2-instance-connect:SendSSHPublicKey", "ec2:osuser ubuntu"]),
        ("push_error", {"code": "EC2InstanceUnavailableException"}, "unreachable", ["cannot take an SSH key now"]),
        ("push_error", {"code": "EC2InstanceStateInvalidException"}, "unreachable", ["not running", "start it"]),
        ("push_error", {"code": "EC2InstanceNotFoundException"}, "unreachable", ["does not exist", "account"]),
        ("push_error", {"code": "InvalidArgsException"}, "authentication", ["OS user"]),
        ("expire_token", {"surface": "api"}, "authentication", ["have expired", "aws sso login"]),
    ],
)
def test_what_aws_refuses_without_a_tunnel_is_the_same_sentence(
    direct: Controller, fault: str, parameters: dict[str, Any], kind: str, words: list[str]
) -> None:
    direct.fault(fault, **parameters)
    direct.variables["ansible_eic_tunnel_timeout"] = 4
    counter = Counted(direct.lab)
    assert_told(direct, kind, words, request_id=True)
    assert counter["tunnels"] == counter["tunnels_refused"] == 0


@pytest.mark.parametrize(("fault", "times"), [("throttle_push", 2), ("push_5xx", 2), ("lose_key", 1)])
def test_what_passes_by_itself_is_repeated_without_a_tunnel(direct: Controller, fault: str, times: int) -> None:
    direct.fault(fault, count=times)
    direct.variables["ansible_eic_tunnel_timeout"] = 30
    assert_runs_once(direct)


def test_a_connection_without_a_tunnel_that_is_lost_in_a_command_leaves_the_outcome_unknown(direct: Controller) -> None:
    direct.variables["ansible_ssh_retries"] = 3
    marker = Marker(direct)
    # the shell's parent is the session's sshd
    failed_as, message = direct.failure(f"{marker.command}; kill -9 $PPID; sleep 60")
    assert failed_as == "unreachable" and "outcome is unknown" in message and "not repeated" in message, message
    assert marker.count() == 1
    assert_runs_once(direct)


def test_a_look_up_that_fails_without_a_tunnel_is_told_with_its_request_id(direct: Controller) -> None:
    del direct.variables["ansible_eic_private_address"]
    direct.fault("deny_describe")
    assert_told(direct, "authentication", ["the action DescribeInstances"], request_id=True)
    direct.lab.clear_faults()
    with changed_world(direct.lab) as world:
        next(each for each in world["instances"] if each["instance_id"] == direct.instance_id)["state"] = "stopped"
        world.save()
        assert_told(direct, "unreachable", ["the instance is stopped, not running"], request_id=False)


def test_an_address_without_a_tunnel_that_is_no_name_or_closes_at_once_is_told(direct: Controller) -> None:
    direct.variables["ansible_eic_private_address"] = "no-such-name.invalid"
    assert_told(direct, "unreachable", ["no-such-name.invalid port", "cannot be reached from the controller"], request_id=False)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=close_all, daemon=True)
        thread.start()
        direct.variables.update(ansible_eic_private_address="127.0.0.1", ansible_port=server.getsockname()[1])
        assert_told(direct, "unreachable", ["its sshd closed the connection before the login"], request_id=False)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
