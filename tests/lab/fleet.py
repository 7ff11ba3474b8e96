# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many EC2 instances at no cost: records with ids and addresses of their own whose sshd runs in the containers of the lab's real instances."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .world import World

ROLE = "fleet"


@contextlib.contextmanager
def fleet(world: World, size: int) -> Iterator[list[dict[str, Any]]]:
    """Add ``size`` running instances in the lab's VPC to the world; yields their records, and takes them away at the end.

    They have the tag ``Role=fleet``, so nobody takes them for workspaces, and share config directories with the instances that carry them.
    """
    with world.transaction() as data:
        carriers = [each for each in data["instances"] if each["host_container"] and each["state"] == "running" and "host_instance_id" not in each]
        made = [_instance(number, carriers[number % len(carriers)]) for number in range(size)]
        data["instances"] += made
    try:
        yield made
    finally:
        gone = {each["instance_id"] for each in made}
        with world.transaction() as data:
            data["instances"] = [each for each in data["instances"] if each["instance_id"] not in gone]


def _instance(number: int, carrier: dict[str, Any]) -> dict[str, Any]:
    return {
        **carrier,
        "instance_id": f"i-0f1ee70000000{number:04x}",
        "host_instance_id": carrier["instance_id"],
        "private_ip": f"10.20.{8 + number // 200}.{10 + number % 200}",
        "tags": {"Name": f"fleet-{number:03d}", "Role": ROLE},
        "runtime_container": None,
        "unit": None,
    }
