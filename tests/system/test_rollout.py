# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Canaries, batches, busy workspaces and tags: which workspaces a rollout touches, seen from outside."""
from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from ansible_run import Run
from expected import wanted
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from workspaces import at_work, platform_variables

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
SYNC = "molecule_ai.workspace.sync"
CANARY, *REST = WORKSPACES = ["alpha", "beta", "renamed"]
HEALTHY, LAST = REST
LIMIT = ",".join(WORKSPACES)


@pytest.fixture
def fresh(lab: Lab) -> dict[str, int]:
    """Fresh workspaces, and how often each has started."""
    for name in WORKSPACES:
        lab.reset(name)
    return {name: len(lab.starts(name)) for name in WORKSPACES}


def messages(run: Run, text: str) -> list[str]:
    return [result["msg"] for result in run.results("debug") if text in str(result.get("msg"))]


def test_a_canary_that_does_not_come_back_stops_the_rollout(
    lab: Lab, ansible: Callable[..., Run], fresh: dict[str, int], plugin_sources: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The healthy one beside it goes on to its end, the others are not touched and not failed; two that are healthy let them follow."""
    write_tree(tmp_path / "breaker", {"plugin.yaml": manifest("breaker", "1.0.0", "Keeps the runtime from starting"), "runtime-refuses-to-start": ""})
    variables = {"workspace_canary": 2, "restart_wait_timeout": 15, "plugins_rollback_on_failed_restart": True}
    lists = {"broken": wanted(tmp_path, "breaker"), "good": wanted(plugin_sources, "ecc")}
    choice = "{{ broken if inventory_hostname == '" + CANARY + "' else good }}"
    bad = ansible(INSTALL, limit=LIMIT, variables={**variables, **lists, "workspace_plugins": choice})
    assert bad.returncode != 0 and {name: bad.stats[name]["failures"] for name in WORKSPACES} == {CANARY: 1, HEALTHY: 0, LAST: 0}
    assert messages(bad, "left alone") == [f"{LAST}: left alone, because the rollout has stopped: 1 of 3 workspaces failed ({CANARY})"]
    assert lab.loaded_names(HEALTHY) == ["ecc"] and lab.loaded_names(CANARY) == []
    assert len(lab.starts(LAST)) == fresh[LAST] and not lab.snapshot(LAST, "plugins")

    good = ansible(INSTALL, limit=LIMIT, variables={**variables, "workspace_plugins": lists["good"]}).ok()
    assert good.output.count("PLAY [") == 2 and not messages(good, "left alone")
    for name in WORKSPACES:
        assert lab.loaded_names(name) == ["ecc"]


BATCHES: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    "one by one": ({"workspace_serial": 1}, {"b"}, {"c", "d", "e", "f"}),
    "two canaries": ({"workspace_canary": 2}, {"b"}, {"c", "d", "e", "f"}),
    "a survey without answers": ({"workspace_canary": "", "workspace_serial": "", "workspace_max_fail_percentage": None}, {"b"}, set()),
    "growing batches as a text": ({"workspace_serial": "1, 2,50%"}, {"d"}, set()),
    "a list": ({"workspace_serial": [2, "2", "100%"]}, {"c"}, {"e", "f"}),
    "a third may fail": ({"workspace_serial": 2, "workspace_max_fail_percentage": 34}, {"b", "d"}, set()),
    "not even a sixth may fail": ({"workspace_serial": 2, "workspace_max_fail_percentage": "16"}, {"a"}, {"c", "d", "e", "f"}),
}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """A play that goes through six hosts as the playbooks do, and their inventory; hosts that are named fail, or cannot be reached."""
    directory = tmp_path_factory.mktemp("rollout")
    playbooks = pathlib.Path(__file__).resolve().parents[2] / "playbooks"
    (play,) = yaml.safe_load((playbooks / "sync.yml").read_text())
    del play["roles"]
    play.update(hosts="all", vars_files=[str(playbooks / "vars" / "rollout.yml")], tasks=[
        {"name": "Not reached", "ansible.builtin.raw": "true", "when": "inventory_hostname in gone", "vars": {
            "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_retries": 0}},
        {"name": "Begun", "ansible.builtin.command": "true", "changed_when": False},
        {"name": "Failed", "ansible.builtin.fail": {"msg": "no"}, "when": "inventory_hostname in bad"},
        {"name": "Done", "ansible.builtin.command": "true", "changed_when": False},
    ])
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {
        "hosts": dict.fromkeys("abcdef"), "vars": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}}}))
    yield directory / "play.yml", directory / "hosts.yml"


@pytest.mark.parametrize(("variables", "bad", "untouched"), BATCHES.values(), ids=BATCHES)
def test_batches(
    ansible: Callable[..., Run], hosts: tuple[pathlib.Path, pathlib.Path], variables: dict[str, Any], bad: set[str], untouched: set[str]
) -> None:
    """Whoever began goes on to the end."""
    run = ansible(hosts[0], inventory=hosts[1], variables={**variables, "bad": sorted(bad), "gone": []})
    begun = {record["host"] for record in run.records if record.get("task") == "Begun"}
    assert begun == set("abcdef") - untouched, run.output
    assert {name for name, counts in run.stats.items() if counts["failures"]} == bad
    assert {record["host"] for record in run.records if record.get("task") == "Done" and record["status"] == "ok"} == begun - bad


@pytest.mark.parametrize("variables", [{"workspace_canary": "two"}, {"workspace_serial": "1,x%"}, {"workspace_max_fail_percentage": "101"}], ids=str)
def test_what_is_no_number_is_refused_first(
    ansible: Callable[..., Run], hosts: tuple[pathlib.Path, pathlib.Path], variables: dict[str, Any]
) -> None:
    run = ansible(hosts[0], inventory=hosts[1], variables={**variables, "bad": [], "gone": []})
    assert run.returncode != 0 and not run.records and "must be numbers above 0 or percentages" in run.output and "Traceback" not in run.output


def test_who_cannot_be_reached_counts(ansible: Callable[..., Run], hosts: tuple[pathlib.Path, pathlib.Path]) -> None:
    run = ansible(hosts[0], inventory=hosts[1], variables={"workspace_serial": 2, "bad": [], "gone": ["b"]})
    assert run.stats["b"]["unreachable"] == 1 and len(messages(run, "1 of 6 workspaces failed (b)")) == 4
    assert {record["host"] for record in run.records if record.get("task") == "Begun"} == {"a"}


def test_busy_workspaces_are_left_alone_and_tags(
    lab: Lab, ansible: Callable[..., Run], fresh: dict[str, int], plugin_sources: pathlib.Path
) -> None:
    """Before the plugins are looked at, and before the restart; what was put off is done when the agent is idle, by its tag alone."""
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc"), "plugins_skip_busy": True, "restart_skip_busy": True, **platform_variables(lab)}
    busy = f"{CANARY}: left alone, because its agent is working on 2 tasks"
    at_work(lab, CANARY, 2)
    try:
        run = ansible(SYNC, limit=f"{CANARY},{REST[0]}", variables=variables).ok()
        assert len(messages(run, busy)) == 1 and not lab.snapshot(CANARY, "plugins") and lab.loaded_names(REST[0]) == ["ecc"]

        at_work(lab, CANARY, 0)
        ansible(SYNC, "--skip-tags", "restart", limit=CANARY, variables=variables).ok()
        assert lab.snapshot(CANARY, "plugins/ecc") and lab.loaded_names(CANARY) == []

        at_work(lab, CANARY, 2)
        run = ansible("molecule_ai.workspace.restart", limit=CANARY, variables=variables).ok()
        assert len(messages(run, busy)) == 1 and len(lab.starts(CANARY)) == fresh[CANARY]
    finally:
        at_work(lab, CANARY, 0)
    run = ansible(SYNC, "--tags", "restart", limit=CANARY, variables=variables).ok()
    assert run.results("molecule_plugin") == [] and len(lab.starts(CANARY)) == fresh[CANARY] + 1 and lab.loaded_names(CANARY) == ["ecc"]


def test_tags_of_the_playbooks_that_include_the_role(
    lab: Lab, ansible: Callable[..., Run], fresh: dict[str, int], plugin_sources: pathlib.Path
) -> None:
    """With a tag of the role, install, remove and rollback do that part, and not silently nothing."""
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc"), "workspace_plugin_names": "ecc"}
    run = ansible(INSTALL, "--tags", "plugins", limit=CANARY, variables=variables).ok()
    assert run.result("molecule_plugin")["changed"] and lab.snapshot(CANARY, "plugins/ecc") and len(lab.starts(CANARY)) == fresh[CANARY]
    run = ansible(INSTALL, "--tags", "restart", limit=CANARY, variables=variables).ok()
    assert run.results("molecule_plugin") == [] and lab.loaded_names(CANARY) == ["ecc"]
    removed = {"workspace_plugin_names": "ecc"}
    ansible("molecule_ai.workspace.remove", "--skip-tags", "restart", limit=CANARY, variables=removed).ok()
    assert not lab.snapshot(CANARY, "plugins/ecc") and len(lab.starts(CANARY)) == fresh[CANARY] + 1
    ansible("molecule_ai.workspace.rollback", "--tags", "plugins", limit=CANARY, variables=removed).ok()
    assert lab.snapshot(CANARY, "plugins/ecc") and len(lab.starts(CANARY)) == fresh[CANARY] + 1


def test_skipping_a_tag_leaves_out_exactly_that_part(
    lab: Lab, ansible: Callable[..., Run], fresh: dict[str, int], plugin_sources: pathlib.Path
) -> None:
    """Without plugins, what waits for a restart gets it and no plugin is asked about; without restart, plugins change and nothing restarts."""
    named = {"workspace_plugin_names": "ecc"}
    ansible(SYNC, "--skip-tags", "restart", limit=CANARY, variables={"workspace_plugins": wanted(plugin_sources, "ecc")}).ok()
    assert lab.snapshot(CANARY, "plugins/ecc") and len(lab.starts(CANARY)) == fresh[CANARY]
    # the list does not name ecc any more, and what is in it is not installed either
    other = {"workspace_plugins": wanted(plugin_sources, "superpowers"), "plugins_exclusive": True}
    run = ansible(SYNC, "--skip-tags", "plugins", limit=CANARY, variables=other).ok()
    assert run.results("molecule_plugin") == [] and len(lab.starts(CANARY)) == fresh[CANARY] + 1 and lab.loaded_names(CANARY) == ["ecc"]
    for playbook in ("molecule_ai.workspace.remove", "molecule_ai.workspace.rollback"):
        run = ansible(playbook, "--skip-tags", "plugins", limit=CANARY, variables=named).ok()
        assert run.results("molecule_plugin") == [] and lab.snapshot(CANARY, "plugins/ecc") and len(lab.starts(CANARY)) == fresh[CANARY] + 1


def test_not_knowing_is_not_idle(lab: Lab, ansible: Callable[..., Run], fresh: dict[str, int], plugin_sources: pathlib.Path) -> None:
    """Without an answer of the platform nothing is touched."""
    wrong = {**platform_variables(lab), "workspace_platform_token": "wrong"}
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc"), "plugins_skip_busy": True, **wrong}
    run = ansible(SYNC, limit=CANARY, variables=variables)
    assert run.stats[CANARY]["failures"] == 1 and "check platform_token" in run.output and not lab.snapshot(CANARY, "plugins")
