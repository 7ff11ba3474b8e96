# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter: options to facts, refusals in one sentence, and documentation that says what the code does."""
from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
from unittest import mock

import pytest
import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task
from ansible_collections.molecule_ai.workspace.plugins.action import workspace_backend_facts as action
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import aws, docker_engine
from ansible_collections.molecule_ai.workspace.plugins.modules import workspace_backend_facts as module

REPOSITORY = pathlib.Path(__file__).resolve().parents[4]
ID = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"
INSTANCE = "i-0123456789abcdef0"
SECRET = "not-a-real-secret"


@pytest.fixture(autouse=True)
def fixture_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Docker or AWS variables but the test's own."""
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def run(variables: dict[str, t.Any] | None = None, /, **arguments: t.Any) -> dict[str, t.Any]:
    """Run the action as a task does, in check mode, for a host with ``variables``; nothing but the given lookups is reachable."""
    task = mock.MagicMock(spec=Task, args=arguments, async_val=0, check_mode=True, action="workspace_backend_facts", environment=None)
    plugin = action.ActionModule(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock())
    plugin._templar.template.side_effect = _template
    return plugin.run(task_vars=variables or {})


def _template(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {name: _template(each) for name, each in value.items()}
    return value[3:-3] if isinstance(value, str) and value.startswith("{{ ") else value


def test_one_workspace() -> None:
    """A fact named in the singular, complete, and plain JSON."""
    result = run(workspace_id=ID, instance_id=INSTANCE, runtime="hermes", lookups=["ec2"], profile="", unit="")
    assert result["changed"] is False
    fact = result["ansible_facts"]["workspace_backend"]
    assert json.loads(json.dumps(fact)) == fact
    assert (fact["tier"], fact["config_dir"], fact["instance_id"]) == ("eic", "/home/ubuntu/.hermes", INSTANCE)
    assert fact["connection"]["ansible_eic_region"] == "us-east-2"


def test_several_workspaces() -> None:
    """Facts by id; suboptions have their own defaults."""
    workspaces = [{"workspace_id": "a", "runtime": "External"}, {"workspace_id": "b", "instance_id": INSTANCE, "runtime": "x", "unit": "x.service"}]
    facts = run(workspaces=workspaces, lookups=["ec2"], region="eu-west-1", os_user="admin")["ansible_facts"]["workspace_backends"]
    assert {name: fact["tier"] for name, fact in facts.items()} == {"a": "external", "b": "eic"}
    assert facts["b"]["restart"] == {"method": "ec2_host", "container": None, "unit": "x.service"}
    assert facts["b"]["connection"]["ansible_eic_region"] == "eu-west-1"
    assert facts["b"]["connection"]["ansible_user"] == "admin"
    assert run(workspaces=[])["ansible_facts"] == {"workspace_backends": {}}


VARIABLES = {
    "workspace_id": ID, "workspace_runtime": "{{ hermes }}", "workspace_instance_id": INSTANCE, "workspace_region": "eu-west-1", "workspace_lookups": ["ec2"],
}


def test_options_of_the_hosts_variables() -> None:
    """Templated; what the task gives counts before them, and what is null is not given."""
    fact = run({**VARIABLES, "workspace_unit": None}, from_variables=True, region="eu-west-2")["ansible_facts"]["workspace_backend"]
    assert (fact["tier"], fact["config_dir"]) == ("eic", "/home/ubuntu/.hermes")
    assert fact["connection"]["ansible_eic_region"] == "eu-west-2"
    external = {**VARIABLES, "workspace_runtime": "external"}
    assert run(external, from_variables=True, instance_id="")["ansible_facts"]["workspace_backend"]["instance_id"] is None


def test_variables_are_read_only_where_they_are_asked_for() -> None:
    """A task of one's own says everything itself."""
    with pytest.raises(AnsibleActionFail, match="workspace_id, workspaces"):
        run(VARIABLES)


@pytest.mark.parametrize(("name", "value"), [("workspace_lookups", ["gcp"]), ("workspace_docker_tls", "perhaps"), ("workspace_runtime_config_dirs", "x")])
def test_a_wrong_variable_is_named(name: str, value: object) -> None:
    """The user has written a variable, and not an option of this task."""
    with pytest.raises(AnsibleActionFail, match=name):
        run({**VARIABLES, name: value}, from_variables=True)


def test_the_variables_are_those_of_the_role() -> None:
    """Each has an option, and the other way round, except what the role says in its task."""
    role = yaml.safe_load((REPOSITORY / "roles/backend/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    said = {"workspace_backend"}
    assert set(action.VARIABLES.values()) == {name for name in role if name.startswith("workspace_")} - said
    assert set(action.VARIABLES) <= set(action.ARGUMENT_SPEC)


def test_failed_lookup_is_a_fact() -> None:
    """The task is ok; what to make of it is the user's choice."""
    fact = run(workspace_id=ID, docker_host="tcp://127.0.0.1:1", timeout=2)["ansible_facts"]["workspace_backend"]
    assert (fact["tier"], fact["lookup"], fact["connection"]) == ("none", "failed", {})


def test_secrets_do_not_enter_the_facts() -> None:
    """Facts are cached and logged."""
    result = run(workspace_id=ID, instance_id=INSTANCE, runtime="x", lookups=["ec2"], access_key="AKID", secret_key=SECRET, session_token=SECRET)
    assert SECRET not in json.dumps(result) and "AKID" not in json.dumps(result)


REFUSED = {
    "neither id nor list": ({}, "workspace_id, workspaces"),
    "both": ({"workspace_id": ID, "workspaces": []}, "mutually exclusive"),
    "id": ({"workspace_id": "../x"}, "is not a workspace id"),
    "id with a wildcard": ({"workspace_id": "*"}, "is not a workspace id"),
    "container": ({"workspace_id": ID, "container": "a b"}, f"workspace {ID}: 'a b' is not a container name"),
    "runtime container": ({"workspace_id": ID, "runtime_container": "-rf"}, "is not a container name"),
    "unit": ({"workspace_id": ID, "unit": "x; reboot"}, "is not a systemd service"),
    "config dir": ({"workspace_id": ID, "config_dir": "/etc"}, "config dir '/etc' is not allowed"),
    "config dir in the list": ({"workspaces": [{"workspace_id": "a", "config_dir": "x/../y"}]}, "workspace a: config dir"),
    "config dir in the map": ({"workspace_id": ID, "runtime_config_dirs": {"x": "relative"}}, "config dir 'relative' is not allowed"),
    "listed twice": ({"workspaces": [{"workspace_id": "a"}, {"workspace_id": "a"}]}, "workspace a is listed twice"),
    "unknown lookup": ({"workspace_id": ID, "lookups": ["gcp"]}, "gcp"),
    "profile and keys": ({"workspace_id": ID, "lookups": ["ec2"], "profile": "p", "access_key": "A", "secret_key": SECRET}, "not both"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_input(arguments: dict[str, t.Any], message: str) -> None:
    """One sentence that names what is wrong."""
    with pytest.raises(AnsibleActionFail) as caught:
        run(**arguments)
    assert message in str(caught.value) and SECRET not in str(caught.value)


def test_documentation_is_the_argument_spec() -> None:
    """Names, types, defaults, choices and aliases, the fragments' included."""
    documented = {}
    for text in (module.DOCUMENTATION, docker_engine.ModuleDocFragment.DOCUMENTATION, aws.ModuleDocFragment.DOCUMENTATION):
        documented.update(yaml.safe_load(text)["options"])
    assert _shape(documented, "suboptions") == _shape(action.ARGUMENT_SPEC, "options")


def _shape(options: dict[str, t.Any], below: str) -> dict[str, t.Any]:
    """The parts of options that documentation and code share."""
    shape: dict[str, t.Any] = {}
    for name, option in options.items():
        shape[name] = {key: option.get(key) for key in ("type", "default", "choices", "elements", "required")}
        shape[name]["aliases"] = sorted(option.get("aliases", []))
        shape[name]["below"] = _shape(option[below], below) if below in option else None
    return shape


def test_return_values_are_documented() -> None:
    """Each key of the fact, and no other."""
    documented = yaml.safe_load(module.RETURN)["ansible_facts"]["contains"]["workspace_backend"]["contains"]
    fact = run(workspace_id=ID, runtime="external")["ansible_facts"]["workspace_backend"]
    assert set(documented) == set(fact)
    assert set(documented["restart"]["contains"]) == set(fact["restart"])


NOW = 1_780_000_000
KNOWN = {"workspace_id": ID, "tier": "eic", "lookup": "found", "looked_up_at": NOW - 100}
RUN = "ansible-local-1"
TAKEN = {**KNOWN, "run": RUN}


@pytest.mark.parametrize(
    ("known", "before", "max_age", "used"),
    [
        (KNOWN, {}, 100, True), (KNOWN, {}, 99, False), (KNOWN, {}, 0, False), ({**KNOWN, "lookup": "failed"}, {}, 100, False),
        ({**KNOWN, "lookup": "not_found"}, {}, 100, False), ({**KNOWN, "looked_up_at": None}, {}, 100, False), (None, {}, 100, False),
        # the role has returned it before
        (KNOWN, {"workspace_backend": KNOWN}, 100, True),
        # a task has looked since, as after a restart by the platform
        (KNOWN, {"workspace_backend": {**KNOWN, "looked_up_at": None}}, 100, False),
        # as a fact it hides the inventory's variable: of this run it is the same, a cache's of an earlier one may be anything
        (TAKEN, {"workspace_backend": TAKEN}, 100, True), (KNOWN, {"workspace_backend": TAKEN}, 100, True),
        ({**TAKEN, "run": "another"}, {"workspace_backend": {**TAKEN, "run": "another"}}, 100, False),
        (KNOWN, {"workspace_backend": {**TAKEN, "run": "another", "tier": "docker"}}, 100, False),
    ],
)
def test_what_the_inventory_knows_is_used_while_it_can_be(known: t.Any, before: dict[str, t.Any], max_age: int, used: bool) -> None:
    found = action.known_backend({"workspace_id": f" {ID} ", "known": known, "max_age": max_age}, before, NOW, RUN)
    assert found == (known if used else None)


def test_what_is_known_of_another_workspace_is_refused() -> None:
    with pytest.raises(AnsibleActionFail, match="known is about workspace other"):
        run(workspace_id=ID, known={**KNOWN, "workspace_id": "other"})


def test_a_fresh_answer_of_the_inventory_asks_nobody() -> None:
    known = {**KNOWN, "looked_up_at": 1 << 40}
    assert run(workspace_id=ID, known=known, docker_host="tcp://127.0.0.1:1")["ansible_facts"] == {
        "workspace_backend": {**known, "run": pathlib.Path(C.DEFAULT_LOCAL_TMP).name}}


def test_a_fact_cache_does_not_hide_what_the_inventory_says_by_now(tmp_path: pathlib.Path) -> None:
    """Two runs with one persistent cache; in between the workspace has moved, and the inventory says so."""
    repository = pathlib.Path(__file__).resolve().parents[4]
    inventory, play = tmp_path / "hosts.json", tmp_path / "play.yml"
    find = {"ansible.builtin.include_role": {"name": "molecule_ai.workspace.backend"}}
    show = {"ansible.builtin.debug": {"msg": "it is {{ ansible_facts.workspace_backend.download_hint }}"}}
    # twice, because in one run what was taken once is taken again
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [find, find, show]}]))

    def run_play(hint: str, looked_up_at: int) -> str:
        known = {"workspace_id": ID, "tier": "external", "lookup": "found", "reason": "", "download_hint": hint, "connection": {}, "looked_up_at": looked_up_at}
        host = {"workspace_id": ID, "workspace_runtime": "external", "workspace_backend": known}
        inventory.write_text(json.dumps({"all": {"hosts": {"w": host}}}))
        completed = subprocess.run(
            [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(play)],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
                "ANSIBLE_COLLECTIONS_PATH": str(repository / ".cache" / "collections"), "ANSIBLE_NOCOLOR": "true",
                "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "facts"),
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    now = int(time.time())
    assert "it is where it was" in run_play("where it was", now - 100)
    assert len(list((tmp_path / "facts").iterdir())) == 1
    second = run_play("elsewhere", now)
    # it has looked by itself, and so knows what is true
    assert "where it was" not in second and f"/workspaces/{ID}/plugins/" in second, second
