# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watch reads out of an inventory, and what it does when there is none to read."""
from __future__ import annotations

import asyncio
import os
import pathlib
import textwrap
import typing as t
from unittest import mock

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import fleet_look, inventory_listing
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_watch import Sighting

INSTANCE = "i-0123456789abcdef0"


def host(workspace_id: str = "a", tier: str = "eic", lookup: str = "found", **more: t.Any) -> dict[str, t.Any]:
    backend = {"tier": tier, "lookup": lookup, "instance_id": INSTANCE if tier == "eic" else None}
    return {"workspace_id": workspace_id, "workspace_backend": backend, **more}


def read(groups: t.Sequence[str] = (), **hosts: t.Any) -> fleet_look.Look:
    return fleet_look.read({"_meta": {"hostvars": hosts}, **{group: {} for group in groups}})


HOSTS: dict[str, tuple[dict[str, t.Any], Sighting | None]] = {
    "an instance": (host(), Sighting("a", "h", "eic", True, INSTANCE, True)),
    "a container": (host(tier="docker", workspace_container_id="c1"), Sighting("a", "h", "docker", True, "c1", True)),
    "online": (host(workspace_status="Online "), Sighting("a", "h", "eic", True, INSTANCE, True)),
    "a status that is not known here": (host(workspace_status="pondering"), Sighting("a", "h", "eic", True, INSTANCE, True)),
    "provisioning": (host(workspace_status="provisioning"), Sighting("a", "h", "eic", True, INSTANCE, False)),
    "nothing there": (host(tier="none", lookup="not_found"), Sighting("a", "h", "none", True, None, True)),
    "could not look": (host(tier="none", lookup="failed"), Sighting("a", "h", "none", False, None, True)),
    "external": (host(tier="external"), None),
}


@pytest.mark.parametrize(("variables", "expected"), HOSTS.values(), ids=HOSTS)
def test_sightings(variables: dict[str, t.Any], expected: Sighting | None) -> None:
    look = read(h=variables)
    assert list(look.sightings) == ([expected] if expected else []) and not look.remarks


@pytest.mark.parametrize("name", ["tier_eic", "a:b", "~x", "x[1]", "all*", "{{ x }}", "-x"])
def test_names_that_would_widen_the_limit_are_left_out(name: str) -> None:
    """Users of the platform name their workspaces, and a host's name becomes the limit of a sync."""
    look = fleet_look.read({"_meta": {"hostvars": {name: host(), "h": host("b")}}, "tier_eic": {"hosts": [name]}})
    assert [each.host for each in look.sightings] == ["h"] and "cannot be synced" in look.remarks[0]


def test_failures_and_strangers() -> None:
    everything = {"vars": {"workspace_inventory_failures": [{"source": "ec2", "reason": "it is down"}]}}
    look = fleet_look.read({"_meta": {"hostvars": {"h": host(), "web": {"ansible_host": "x"}}}, "all": everything})
    assert look.failures == ["source ec2: it is down"] and "1 hosts are not from the inventory plugin" in look.remarks[0]
    assert fleet_look.read({"_meta": {"hostvars": {}}, "all": everything}).failures == look.failures


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="is no id"):
        read(h=host(tier="docker", workspace_container_id="{{ x }}"))


@pytest.fixture
def program(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[[str], None]]:
    """Write the body of an ``ansible-inventory`` that stands in for the real one."""
    path = tmp_path / "ansible-inventory"

    def write(body: str) -> None:
        path.write_text("#!/bin/sh\n" + textwrap.dedent(body))
        path.chmod(0o755)

    with mock.patch("sys.executable", str(tmp_path / "python")):
        yield write


def look(timeout: float = 30, *inventories: str) -> fleet_look.Look:
    return asyncio.run(fleet_look.look(inventories, timeout))


def test_the_command(program: t.Callable[[str], None], tmp_path: pathlib.Path) -> None:
    program(f"""
        echo "$@" "$ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED" "$ANSIBLE_CACHE_PLUGIN" > {tmp_path}/arguments
        echo '{{"_meta": {{"hostvars": {{}}}}}}'
    """)
    assert look(30, "a", "b").sightings == []
    assert (tmp_path / "arguments").read_text().split() == ["--list", "--export", "--flush-cache", "-i", "a", "-i", "b", "true", "ansible.builtin.memory"]


FAILURES = {
    "it fails": ("echo 'source ec2: it is down' >&2; exit 1", "ansible-inventory failed: source ec2: it is down"),
    "no JSON": ("echo hello", "did not answer with an inventory"),
    "another JSON": ("echo '[]'", "did not answer with an inventory"),
}


@pytest.mark.parametrize(("body", "sentence"), FAILURES.values(), ids=FAILURES)
def test_failures(program: t.Callable[[str], None], body: str, sentence: str) -> None:
    program(body)
    with pytest.raises(fleet_look.LookError, match=sentence):
        look()


def test_a_look_that_hangs_is_ended(program: t.Callable[[str], None], tmp_path: pathlib.Path) -> None:
    program(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(fleet_look.LookError, match="has not answered within 2 s"):
        look(2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_no_ansible(program: t.Callable[[str], None]) -> None:
    with mock.patch("shutil.which", return_value=None), pytest.raises(fleet_look.LookError, match="no ansible-inventory in PATH"):
        look()


def test_what_is_set_for_other_runs_does_not_spoil_the_answer(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "3")
    monkeypatch.setenv("ANSIBLE_DEBUG", "true")
    path = tmp_path / "hosts.yml"
    path.write_text("all: {hosts: {web: {ansible_host: x}}}\n")
    listing = asyncio.run(inventory_listing.list_inventory([str(path)]))
    assert listing["_meta"]["hostvars"] == {"web": {"ansible_host": "x"}}
