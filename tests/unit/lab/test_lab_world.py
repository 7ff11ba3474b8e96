# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded world: complete, consistent, and changed atomically."""
from __future__ import annotations

import json
import pathlib
import stat

import pytest
from lab import inventory, world
from lab.api import Lab
from lab.paths import Paths


@pytest.fixture(name="built")
def fixture_built(tmp_path: pathlib.Path) -> world.World:
    made = world.build(Paths.of(tmp_path), "unix:///nowhere.sock")
    made.write()
    return made


def test_ids_are_unique_and_each_ec2_workspace_has_its_instance(built: world.World) -> None:
    workspaces, instances = built.data["workspaces"], built.data["instances"]
    assert len({workspace["id"] for workspace in workspaces}) == len({workspace["name"] for workspace in workspaces}) == len(workspaces)
    assert len({instance["instance_id"] for instance in instances}) == len({instance["private_ip"] for instance in instances}) == len(instances)
    for workspace in workspaces:
        instance = built.instance_of(workspace)
        assert (instance is not None) == (workspace["kind"] == "eic")
        if instance:
            assert instance["instance_id"] == workspace["instance_id"]


def test_the_short_container_name_has_twelve_characters_of_the_id(built: world.World) -> None:
    assert built.workspace("alpha")["container"] == "ws-" + built.workspace("alpha")["id"][:12]
    assert built.workspace("gamma")["container"] == "ws-" + built.workspace("gamma")["id"]


def test_a_transaction_is_written_at_its_end_only(built: world.World) -> None:
    with pytest.raises(ZeroDivisionError), built.transaction() as data:
        data["region"] = "lost"
        raise ZeroDivisionError
    assert world.World.load(built.paths.state).data["region"] == world.REGION
    with built.transaction() as data:
        data["region"] = "kept"
    assert world.World.load(built.paths.state).data["region"] == "kept"
    assert stat.S_IMODE(built.paths.world.stat().st_mode) == 0o600


def test_the_inventory_names_no_tier_and_no_secret(built: world.World) -> None:
    lab = Lab.__new__(Lab)  # a lab that does not run: only what the inventory is made of
    lab.world, lab.paths, lab.service = built, built.paths, {}
    text = json.dumps(inventory.build(lab))
    assert "tier" not in text and "ansible_connection" not in text
    assert built.data["credentials"]["secret_key"] not in text and built.data["platform"]["admin_token"] not in text
    hosts = {host for group in inventory.build(lab)["workspaces"]["children"].values() for host in group["hosts"]}
    assert hosts == {workspace["name"] for workspace in built.data["workspaces"]}
