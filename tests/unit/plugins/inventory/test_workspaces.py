# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter in a real inventory manager: options, hosts, groups, failures and the cache. One fake engine, a file, no network."""
from __future__ import annotations

import hashlib
import json
import pathlib
import sys
import typing as t

import pytest
import yaml
from ansible import constants as C
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.doc_fragments import constructed, inventory_cache
from ansible_collections.molecule_ai.workspace.plugins.inventory import workspaces as plugin
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import fleet_sources
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_records import Answer, Record

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "plugin_utils"))

from fake_engine import FakeEngine

A, B = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b", "7d1e4a90-52c3-4f6b-a8e7-0b9c8d7e6f5a"
SECRET = "not-a-real-secret"


NAME = "molecule_ai.workspace.workspaces"


@pytest.fixture(scope="module", autouse=True)
def fixture_definitions() -> None:
    """The options of the plugin, with those of the fragments, as the plugin loader defines them."""
    options = yaml.safe_load(plugin.DOCUMENTATION)["options"]
    for fragment in (constructed, inventory_cache):
        options |= yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    C.config.initialize_plugin_configuration_definitions("inventory", NAME, options)


class Fleet:
    """A directory with a configuration, parsed as often as a test likes."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.warnings: list[str] = []
        self.data = InventoryData()

    def parse(
        self, sources: list[dict[str, t.Any]], read_cache: bool = True, before: InventoryData | None = None, **options: t.Any
    ) -> InventoryData:
        """``before``: what the inventories that were read before this one left."""
        path = self.directory / "fleet.workspaces.yml"
        path.write_text(yaml.safe_dump({"plugin": "molecule_ai.workspace.workspaces", "sources": sources, **options}))
        self.data, self.warnings = before or InventoryData(), []
        made = plugin.InventoryModule()
        made._load_name = made.ansible_name = NAME
        made._redirected_names = [NAME]
        assert made.verify_file(str(path)) and not made.verify_file(str(self.directory / "hosts.yml"))
        made.display = _Display(self.warnings)
        made.parse(self.data, DataLoader(), str(path), cache=read_cache)
        if options.get("cache"):
            made.update_cache_if_changed()
        return self.data

    def known(self, *entries: dict[str, str]) -> dict[str, str]:
        (self.directory / "known.yml").write_text(yaml.safe_dump(list(entries)))
        return {"type": "file", "path": "known.yml"}


class _Display:
    def __init__(self, warnings: list[str]) -> None:
        self.warning = warnings.append

    def __getattr__(self, name: str) -> t.Any:
        return lambda *arguments, **named: None


@pytest.fixture
def fleet(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return Fleet(tmp_path)


def test_hosts_variables_groups_and_constructed(fleet: Fleet) -> None:
    """What the peers can do with compose, groups and keyed_groups; texts of sources are no templates."""
    with FakeEngine({f"ws-{A[:12]}": "running", f"ws-{B}": "exited"}) as engine:
        data = fleet.parse(
            [
                fleet.known({"workspace_id": A, "name": "alpha", "runtime": "claude-code", "status": "on {{ 1 + 1 }}"}),
                {"type": "docker", "docker_host": engine.url},
            ],
            hostnames=["workspace_name"], compose={"rank": "workspace_tier | length"}, groups={"down": "workspace_tier == 'none'"},
            keyed_groups=[{"key": "workspace_runtime | default('unknown')", "prefix": "r"}],
        )
    assert set(data.hosts) == {"alpha", B}
    alpha = data.hosts["alpha"].get_vars()
    assert (alpha["workspace_id"], alpha["workspace_tier"], alpha["ansible_host"], int(alpha["rank"])) == (A, "docker", f"ws-{A[:12]}", 6)
    assert alpha["workspace_docker_host"] == alpha["ansible_docker_docker_host"] == alpha["workspace_backend"]["engine"]["docker_host"] == engine.url
    assert alpha["workspace_field_sources"]["runtime"] == "file" and alpha["workspace_sources"] == ["file", "docker"]
    from ansible.template import Templar
    templar = Templar(loader=DataLoader(), variables=alpha)
    assert templar.template(alpha["workspace_status"]) == "on {{ 1 + 1 }}"
    members = {name: {host.name for host in group.hosts} for name, group in data.groups.items()}
    assert members["tier_docker"] == {"alpha"} and members["tier_none"] == members["down"] == members["r_unknown"] == {B}
    assert members["r_claude_code"] == members["runtime_claude_code"] == {"alpha"}
    assert {group.name for group in data.groups["workspaces"].child_groups} == {"tier_docker", "tier_none"}
    assert not fleet.warnings
    data = fleet.parse([fleet.known({"workspace_id": A})], group_by=[])
    assert {host.name for host in data.groups["workspaces"].hosts} == {A} and set(data.groups) == {"all", "ungrouped", "workspaces"}


def test_hosts_and_groups_are_in_order(fleet: Fleet) -> None:
    """The order of ``ansible-inventory --graph`` and of a play, whatever the sources say first."""
    known = [
        {"workspace_id": workspace_id, "name": name, "runtime": runtime, "status": status}
        for workspace_id, name, runtime, status in [
            (B, "beta", "langgraph", "online"), (A, "alpha", "external", "offline"), (A.replace("3f2b", "0f2b"), "gamma", "claude-code", "online")]
    ]
    data = fleet.parse([fleet.known(*known)], hostnames=["workspace_name"])
    assert list(data.hosts) == ["alpha", "beta", "gamma"] and [host.name for host in data.groups["status_online"].hosts] == ["beta", "gamma"]
    assert [group.name for group in data.groups["workspaces"].child_groups] == ["tier_external", "tier_none"]
    names = [name for name in data.groups if name.startswith(("runtime_", "status_"))]
    assert names == sorted(names) and len(names) == 5


def test_values_are_templates_and_failures_fail(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a source that failed is the end, and the failure can be read all the same; secrets are in neither."""
    monkeypatch.setenv("PLATFORM", "http://127.0.0.1:9")
    monkeypatch.setattr(fleet_sources.fleet_platform.Platform, "_call", _refuse)
    source = {"type": "platform", "platform_url": "{{ lookup('env', 'PLATFORM') }}", "platform_token": SECRET}
    with pytest.raises(AnsibleParserError) as caught:
        fleet.parse([source, {"type": "docker", "docker_host": "unix:///nonexistent.sock"}])
    assert "source platform: no answer from http://127.0.0.1:9" in str(caught.value) and "source docker: " in str(caught.value)
    noted = fleet.data.groups["all"].get_vars()[plugin.FAILURES]
    assert [(each["source"], each["type"]) for each in noted] == [("platform", "platform"), ("docker", "docker")]
    assert SECRET not in str(caught.value) + json.dumps(noted)


def _refuse(self: t.Any, *arguments: t.Any) -> t.Any:
    raise fleet_sources.fleet_platform.PlatformError(f"no answer from {self._options.url}")


def test_marked(fleet: Fleet) -> None:
    """Lookup failed is told from not found; where nothing is known of any host, the variable and a warning remain."""
    down = {"type": "docker", "docker_host": "unix:///nonexistent.sock"}
    data = fleet.parse([fleet.known({"workspace_id": A, "runtime": "hermes"}, {"workspace_id": B, "runtime": "external"}), down], on_error="mark")
    found = {name: host.get_vars()["workspace_backend"] for name, host in data.hosts.items()}
    assert (found[A]["tier"], found[A]["lookup"]) == ("none", "failed") and "/nonexistent.sock" in found[A]["reason"]
    assert found[B]["tier"] == "external" and data.hosts[A].get_vars()["ansible_host"] == f"{A}.invalid"
    data = fleet.parse([down], on_error="mark")
    assert not data.hosts and data.groups["all"].get_vars()[plugin.FAILURES][0]["source"] == "docker" and "/nonexistent.sock" in fleet.warnings[0]


def test_cache(fleet: Fleet) -> None:
    """Read when it is fresh, made for these very sources, and wanted; never written by a failed look; a failed source's workspaces are remembered."""
    options: dict[str, t.Any] = {
        "cache": True, "cache_plugin": "jsonfile", "cache_connection": str(fleet.directory / "cache"), "on_error": "mark",
    }
    file = fleet.known({"workspace_id": B, "runtime": "hermes"})
    with FakeEngine({f"ws-{A}": "running"}) as engine:
        docker = {"type": "docker", "docker_host": engine.url}
        first = fleet.parse([file, docker], **options).hosts[A].get_vars()["workspace_backend"]["looked_up_at"]
        engine.containers.clear()
        cached = fleet.parse([file, docker], **options)
        assert set(cached.hosts) == {A, B} and cached.hosts[A].get_vars()["workspace_backend"]["looked_up_at"] == first
        assert set(fleet.parse([file, {**docker, "timeout": 7}], **options).hosts) == {B}, "another configuration asks again"
        engine.containers[f"ws-{A}"] = "running"
        assert set(fleet.parse([file, docker], read_cache=False, **options).hosts) == {A, B}, "--flush-cache asks again"
    found = fleet.parse([file, docker], read_cache=False, **options)
    lost = found.hosts[A].get_vars()
    assert (lost["workspace_tier"], lost["workspace_backend"]["lookup"]) == ("none", "failed") and "earlier inventory" in lost["workspace_backend"]["reason"]
    assert lost["workspace_sources"] == ["docker"]
    assert set(fleet.parse([file, docker], **options).hosts) == {A, B} and not fleet.data.groups["all"].get_vars().get(plugin.FAILURES), "the good one stays"
    stored = "".join(path.read_text() for path in (fleet.directory / "cache").iterdir())
    assert A in stored


def test_the_cache_of_another_database_is_not_served(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are its workspaces remembered, when the new one does not answer. No secret is in the cache."""
    answers = {"one": Answer(records=[Record.of(A, {"runtime": "hermes"})]), "two": Answer(records=[Record.of(B, {"runtime": "hermes"})])}
    monkeypatch.setitem(
        fleet_sources._ASK, "database", lambda parameters: next(answer for name, answer in answers.items() if f"/{name}" in parameters["dsn"]))
    platform = {"type": "platform", "platform_url": "https://x.example", "platform_token": SECRET}
    monkeypatch.setitem(fleet_sources._ASK, "platform", lambda parameters: Answer())
    cache = fleet.directory / "cache"
    options: dict[str, t.Any] = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(cache), "on_error": "mark"}

    def hosts(dsn: str) -> dict[str, str]:
        found = fleet.parse([{"type": "database", "dsn": dsn}, platform], **options).hosts
        return {name: host.vars["workspace_backend"]["lookup"] for name, host in found.items()}

    assert set(hosts(f"postgresql://ops:{SECRET}@db.example/one")) == {A}
    assert set(hosts(f"postgresql://ops:{SECRET}@db.example/two")) == {B}
    answers["two"] = Answer(failure="it is down")
    assert set(hosts(f"host=db.example user=ops dbname=two password={SECRET} application_name=/two")) == {B}, "the same database, written otherwise"
    stored = "".join(path.read_text() for path in cache.iterdir())
    for secret in (SECRET, "db.example", hashlib.sha256(SECRET.encode()).hexdigest()):
        assert secret not in stored
    answers["three"] = answers.pop("two")
    assert not hosts("postgresql://ops@db.example/three")
    answers["two"] = answers.pop("three")
    # it was the last complete inventory, so what it knew is remembered for it, and for it alone
    for path in cache.iterdir():
        if "last_known" not in path.name:
            path.unlink()
    assert hosts(f"postgresql://ops:{SECRET}-2@db.example/two") == {B: "failed"}


def test_host_names(fleet: Fleet) -> None:
    """An expression is a name too; one that cannot be evaluated is passed over, unless strict; two of a name are warned of."""
    file = fleet.known({"workspace_id": A, "name": "Twin One"}, {"workspace_id": B, "name": "twin-one"})
    names = ["workspace_name | lower | replace(' ', '-')", "'w-' ~ workspace_id[:4]", "nothing.at.all"]
    assert set(fleet.parse([file], hostnames=names).hosts) == {"w-3f2b", "w-7d1e"} and "'twin-one'" in fleet.warnings[0]
    with pytest.raises(AnsibleParserError, match="cannot make a host name"):
        fleet.parse([file], hostnames=["nothing.at.all"], strict=True)


BUILT_IN = ["org_x", "tier_none", "runtime_hermes", "status_online", "workspaces"]
CONSTRUCTED = ["region_b", "hers", "parents", "_seen_tier", "theirs"]
MEANINGS = ["all", "ungrouped", "localhost", "LocalHost", "localhost.localdomain", "127.0.0.1", B, B[:12]]
PATTERNS = ["!a", "a:b", "a&b", "a*", "[a]", "-i", "~a", "@a", "a,b", "a/b", "..", "::1", "a b", "a\nb", ""]


@pytest.mark.parametrize("name", [*BUILT_IN, *CONSTRUCTED, *MEANINGS, *PATTERNS])
def test_a_workspace_cannot_name_itself_like_something_else(fleet: Fleet, name: str) -> None:
    """Its owner chooses the name; the inventory is the one without that name, and the name stays readable."""
    before = InventoryData()
    before.add_group("theirs")
    source = fleet.known(
        {"workspace_id": A, "name": name, "org_id": "x", "runtime": "hermes"}, {"workspace_id": B, "name": "b", "status": "online"}
    )
    data = fleet.parse(
        [source], before=before, hostnames=["workspace_name"], strict=True, groups={"hers": "workspace_id is defined"},
        compose={"seen": "'seen'"}, keyed_groups=[
            {"key": "workspace_name | default('none')", "prefix": "region", "parent_group": "parents"}, {"key": "{seen: 'tier'}", "separator": "_"}
        ] if name not in PATTERNS else [],
    )
    data.reconcile_inventory()
    assert set(data.hosts) == {A, "b"} and data.localhost is None
    assert data.hosts[A].vars["workspace_id"] == A and data.hosts[A].vars["ansible_host"] == f"{A}.invalid" and data.hosts[A].vars["seen"] == "seen"
    assert data.hosts[A].vars.get("workspace_name", "") == name
    members = {group.name: {host.name for host in group.hosts} for group in data.groups.values()}
    assert {A} == members["org_x"] == members["runtime_hermes"] and members["status_online"] == {"b"}
    assert members["tier_none"] == members["hers"] == {A, "b"} and members["all"] == members["ungrouped"] == members["workspaces"] == members["theirs"] == set()
    assert {group.name for group in data.groups["workspaces"].child_groups} == {"tier_none"}
    assert not any("workspace_id" in group.vars or "inventory_file" in group.vars for group in data.groups.values())
    if name not in PATTERNS:
        assert members["_seen_tier"] == {A, "b"} and members["region_b"] == {"b"}
        assert "region_b" in {group.name for group in data.groups["parents"].child_groups}
        assert len(fleet.warnings) == 1 and repr(name) in fleet.warnings[0] and "1 workspace" in fleet.warnings[0]


def test_names_that_mean_something_are_counted_in_one_warning(fleet: Fleet) -> None:
    """Also those that become a group's name only because another workspace has another name than it wanted."""
    third = "0" + A[1:]
    source = fleet.known({"workspace_id": A, "name": "all"}, {"workspace_id": B, "name": f"is_{A}".replace("-", "_")}, {"workspace_id": third, "name": "c"})
    data = fleet.parse(
        [source], hostnames=["workspace_name"], keyed_groups=[{"key": "inventory_hostname | replace('-', '_')", "prefix": "is"}], group_by=[]
    )
    assert set(data.hosts) == {A, B, "c"}
    assert {"is_c", *(f"is_{each}".replace("-", "_") for each in (A, B))} == set(data.groups) - {"all", "ungrouped", "workspaces"}
    assert len(fleet.warnings) == 1 and "2 workspaces" in fleet.warnings[0]


def test_other_inventories_hosts_are_not_taken_over(fleet: Fleet) -> None:
    """A workspace that calls itself like another machine would get what is meant for that; one that is known to be this one is added to."""
    before = InventoryData()
    for name, variables in {"bastion": {"ansible_host": "192.0.2.1"}, "beta": {"workspace_id": B, "rank": "1"}}.items():
        before.add_host(name)
        for key, value in variables.items():
            before.set_variable(name, key, value)
    data = fleet.parse(
        [fleet.known({"workspace_id": A, "name": "bastion"}, {"workspace_id": B, "name": "beta"})], before=before, hostnames=["workspace_name"],
        keyed_groups=[{"key": "rank", "prefix": "rank"}],
    )
    assert set(data.hosts) == {"bastion", "beta", A}
    assert data.hosts["bastion"].vars["ansible_host"] == "192.0.2.1" and "workspace_id" not in data.hosts["bastion"].vars
    assert data.hosts["beta"].vars["workspace_tier"] == "none" and {host.name for host in data.groups["rank_1"].hosts} == {"beta"}
    assert len(fleet.warnings) == 1 and "'bastion'" in fleet.warnings[0]


def test_an_id_that_is_no_host_name_fails(fleet: Fleet) -> None:
    """There is nothing left that the workspace could be called, and without it an audit would be of a part of the fleet; nothing was added."""
    for workspace_id, options in {"all": {}, "web": {"groups": {"web": "true"}}}.items():
        with pytest.raises(AnsibleParserError, match=f"workspace {workspace_id} cannot be a host"):
            fleet.parse([fleet.known({"workspace_id": A}, {"workspace_id": workspace_id})], **options)
        assert not fleet.data.hosts and set(fleet.data.groups) == {"all", "ungrouped"}
    before = InventoryData()
    before.add_host("w1")
    before.set_variable("w1", "workspace_id", A)
    with pytest.raises(AnsibleParserError, match="workspace w1 cannot be a host"):
        fleet.parse([fleet.known({"workspace_id": "w1"})], before=before)


@pytest.mark.parametrize(
    ("options", "message"), [({"sources": []}, "no sources"), ({"sources": [{"type": "file", "path": "gone.yml"}]}, "gone.yml"),
                             ({"sources": [{"type": "file", "path": "gone.yml"}], "runtime_config_dirs": {"x": "/etc"}}, "'/etc' is not allowed")],
)
def test_refused(fleet: Fleet, options: dict[str, t.Any], message: str) -> None:
    if "runtime_config_dirs" in options:
        fleet.known({"workspace_id": A})
        options = {**options, "sources": [{"type": "file", "path": "known.yml"}]}
    with pytest.raises(AnsibleParserError) as caught:
        fleet.parse(**options)
    assert message in str(caught.value)


def test_documentation_is_the_argument_spec() -> None:
    """Each option of each type of source, its type, default and aliases."""
    documented = yaml.safe_load(plugin.DOCUMENTATION)["options"]["sources"]["suboptions"]
    assert set(documented) == {name for spec in fleet_sources.ARGUMENT_SPECS.values() for name in spec}
    assert documented["type"]["choices"] == list(fleet_sources.ARGUMENT_SPECS)
    for kind, spec in fleet_sources.ARGUMENT_SPECS.items():
        for name, option in spec.items():
            shown = documented[name]
            assert (shown["type"], sorted(shown.get("aliases", [])), shown.get("elements")) == (
                option["type"], sorted(option.get("aliases", [])), option.get("elements")), (kind, name)
            # the two timeouts have one place for two defaults
            assert name == "timeout" or shown.get("default") == option.get("default"), (kind, name)


def test_examples_are_configurations() -> None:
    """They name options that exist."""
    options = set(yaml.safe_load(plugin.DOCUMENTATION)["options"])
    constructed = {"compose", "groups", "keyed_groups", "strict", "leading_separator", "cache", "cache_plugin", "cache_connection"}
    for example in yaml.safe_load_all(plugin.EXAMPLES):
        assert set(example) <= options | constructed
        fleet_sources.from_options(example["sources"])
