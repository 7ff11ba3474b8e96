# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory manager, a real one, tells of the sources that it could not read."""
from __future__ import annotations

import pathlib

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_inventory import failures_of

NOT_READ = "Ansible could not read it as an inventory, and warned of it"


def failures(*sources: pathlib.Path | str, noted: list | None = None) -> list[dict[str, str]]:
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(source) for source in sources])
    if noted is not None:
        inventory.groups["all"].set_variable("workspace_inventory_failures", noted)
    return failures_of(VariableManager(loader=loader, inventory=inventory))


@pytest.fixture
def hosts(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "hosts.yml"
    path.write_text("workspaces: {hosts: {a: }}\n")
    return path


@pytest.fixture
def broken(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "broken.workspaces.yml"
    path.write_text("plugin: no.such.plugin\n")
    return path


def test_a_complete_inventory_has_no_failures(hosts: pathlib.Path) -> None:
    assert failures(hosts, "b,c") == []


def test_a_file_that_no_plugin_could_read(hosts: pathlib.Path, broken: pathlib.Path) -> None:
    expected = [{"inventory": "broken.workspaces.yml", "source": "", "type": "", "reason": NOT_READ}]
    assert failures(hosts, broken) == expected and failures(broken) == expected
    assert failures(hosts, hosts.with_name("missing.yml"))[0]["inventory"] == "missing.yml"


def test_a_directory_counts_by_its_files_but_not_those_that_ansible_ignores(hosts: pathlib.Path, broken: pathlib.Path) -> None:
    directory = hosts.parent
    (directory / "README.md").write_text("no inventory")
    (directory / "group_vars").mkdir()
    (directory / "group_vars" / "all.yml").write_text("x: 1\n")
    (directory / "more").mkdir()
    broken.rename(directory / "more" / broken.name)
    assert [failure["inventory"] for failure in failures(directory)] == [broken.name]


def test_what_the_inventory_plugin_has_noted_comes_first_and_once(hosts: pathlib.Path, broken: pathlib.Path) -> None:
    noted = [
        {"inventory": str(broken), "source": "rack-2", "type": "docker", "reason": "the engine did not answer"},
        {"inventory": str(hosts), "source": "ec2", "type": "ec2", "reason": "no credentials"},
    ]
    found = failures(hosts, broken, noted=noted)
    assert [(failure["inventory"], failure["source"]) for failure in found] == [("broken.workspaces.yml", "rack-2"), ("hosts.yml", "ec2")]


def test_a_note_that_nobody_understands_is_a_failure_too(hosts: pathlib.Path) -> None:
    for noted in ("the engine is down", [7], {"reason": "x"}):
        (failure,) = failures(hosts, noted=noted)
        assert set(failure) == {"inventory", "source", "type", "reason"} and failure["reason"]
    assert failures(hosts, noted=[]) == []


def test_an_inventory_that_cannot_be_asked_is_not_complete() -> None:
    (failure,) = failures_of(object())
    assert "cannot be asked" in failure["reason"]
