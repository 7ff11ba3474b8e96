# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least-privilege IAM policy of the documentation: the very document allows all that the connection does, and each condition denies the rest."""
from __future__ import annotations

import copy
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from eic_connections import Controller, changed_world, fresh_controller
from lab.api import Lab

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "eic.md"
TUNNEL, PUSH = "ec2-instance-connect:OpenTunnel", "ec2-instance-connect:SendSSHPublicKey"


def documented_policy() -> dict[str, Any]:
    """The policy as it stands in the guide, untouched."""
    (document,) = re.findall(r"^```json\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    policy: dict[str, Any] = json.loads(document)
    return policy


def changed(statement: str, condition: str, key: str, value: str) -> dict[str, Any]:
    """The documented policy with another value of one condition."""
    policy = copy.deepcopy(documented_policy())
    (found,) = [each for each in policy["Statement"] if each["Sid"] == statement]
    assert key in found["Condition"][condition]
    found["Condition"][condition][key] = value
    return policy


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    with fresh_controller(lab) as made:
        lab.settings(policy=documented_policy())
        yield made


def assert_denied(controller: Controller, action: str) -> None:
    kind, message = controller.failure()
    assert kind == "authentication" and action in message and re.search(r"request [0-9a-f-]{36}", message), message


def test_the_documented_policy_is_enough(controller: Controller) -> None:
    assert controller.run("id -un") == (0, b"ubuntu\n")


def test_the_look_ups_can_be_denied_when_all_is_given(controller: Controller) -> None:
    policy = documented_policy()
    policy["Statement"] = [each for each in policy["Statement"] if each["Sid"] != "FindInstancesAndEndpoints"]
    controller.lab.settings(policy=policy)
    assert_denied(controller, "DescribeInstances")
    controller.give_target()
    assert controller.run("true")[0] == 0


def test_the_conditions_on_a_tunnel(controller: Controller) -> None:
    controller.give_target()
    for condition, key, value in (
        ("NumericEquals", "ec2-instance-connect:remotePort", "3389"),
        ("IpAddress", "ec2-instance-connect:privateIpAddress", "10.30.0.0/16"),
        ("NumericLessThanEquals", "ec2-instance-connect:maxTunnelDuration", "600"),
    ):
        controller.lab.settings(policy=changed("TunnelToSshOfTheFleet", condition, key, value))
        assert_denied(controller, TUNNEL)
    controller.variables["ansible_eic_max_tunnel_duration"] = 600
    assert controller.run("true")[0] == 0
    controller.close()
    controller.lab.settings(policy=documented_policy())
    controller.variables["ansible_port"] = 3389
    assert_denied(controller, TUNNEL)


def test_the_conditions_on_a_key(controller: Controller) -> None:
    controller.give_target()
    controller.variables["ansible_user"] = "root"
    assert_denied(controller, PUSH)
    controller.variables["ansible_user"] = "ubuntu"
    with changed_world(controller.lab) as world:
        instance = next(each for each in world["instances"] if each["instance_id"] == controller.instance_id)
        instance["tags"]["Role"] = "tenant"
        world.save()
        assert_denied(controller, PUSH)


def test_another_endpoint_and_another_region(controller: Controller) -> None:
    policy = documented_policy()
    for statement in policy["Statement"]:
        if statement["Sid"] == "TunnelToSshOfTheFleet":
            statement["Resource"] = statement["Resource"].replace("eice-0123456789abcdef0", "eice-0fedcba9876543210")
    controller.lab.settings(policy=policy)
    assert_denied(controller, TUNNEL)
    controller.lab.settings(policy=changed("FindInstancesAndEndpoints", "StringEquals", "aws:RequestedRegion", "eu-west-1"))
    for cache in (controller.directory / "state").glob("targets-*.json"):
        cache.unlink()
    assert_denied(controller, "DescribeInstances")
