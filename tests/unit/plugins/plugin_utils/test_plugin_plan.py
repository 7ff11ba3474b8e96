# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wanted, where it goes, and what is to be done."""
from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.plugin_tree import Entries, entry, tree_digest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import plugin_plan
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.plugin_plan import PluginPlan, Target, WantedPlugin
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.prepared_plugin import PreparedPlugin
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.workspace_answer import Observed, Placements, Previous

SINGLE: dict[str, Any] = {
    "name": None, "source": None, "state": "present", "allow_unpinned": False, "allow_unsigned": False,
    "digest": None, "sha256": None, "commit": None, "any_runtime": False,
    "include_repository_files": False, "plugins": None,
}
TERMS: dict[str, Any] = {
    "config_dir": None, "runtime_config_dir": None, "runtime": None, "owner": 1000, "group": 1000, "lock_timeout": 60, "max_bytes": 1000
}
TARGET = Target("/configs", "/configs", "claude-code", (1000, 1000), 60, 1000)
FILE = "0" * 64


def test_a_single_plugin() -> None:
    wanted = plugin_plan.wanted_plugins(SINGLE | {"name": "ecc", "source": "plugins/ecc"}, ["name", "source"])
    assert wanted == [WantedPlugin("ecc", "present", "plugins/ecc", False, False, None, None, None, False, False)]


def test_a_list_of_plugins() -> None:
    elements = [{"name": "ecc", "source": "x", "state": "present"}, {"name": "old", "state": "absent"}]
    wanted = plugin_plan.wanted_plugins(SINGLE | {"plugins": elements}, ["plugins"])
    assert [(plugin.name, plugin.state) for plugin in wanted] == [("ecc", "present"), ("old", "absent")]
    assert plugin_plan.wanted_plugins(SINGLE | {"plugins": []}, ["plugins"]) == []


@pytest.mark.parametrize("name", ["../x", ".", "..", "-rf", "a b", "$(id)", "a\n", "a\nb", "", "A", "a/b", "a..b", "a" * 129, None])
def test_bad_names_are_one_sentence(name: str | None) -> None:
    with pytest.raises(InvalidInputError, match="is not allowed: use 1 to 128 characters") as caught:
        plugin_plan.wanted_plugins(SINGLE | {"name": name, "source": "x"}, ["name"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"name": "ecc"}, ["name"], "plugin ecc has no source: set 'source', or state: absent"),
        ({"name": "ecc", "source": "x", "digest": "abc"}, ["name"], "digest 'abc' is not one"),
        ({"plugins": [{"name": "a", "state": "absent"}, {"name": "a", "state": "absent"}]}, ["plugins"], "plugin a is listed twice"),
        ({"plugins": []}, ["plugins", "state"], "state would be ignored beside 'plugins'"),
    ],
)
def test_bad_options_are_one_sentence(options: dict[str, Any], given: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        plugin_plan.wanted_plugins(SINGLE | options, given)


def test_the_target_comes_from_options_then_the_fact_then_variables() -> None:
    fact = {"tier": "eic", "config_dir": "/home/ubuntu/.hermes", "runtime_config_dir": "/configs", "runtime": "hermes"}
    variables = {"workspace_config_dir": "/opt/configs", "workspace_runtime": "langgraph"}
    assert plugin_plan.target_of(TERMS, fact, variables) == Target("/home/ubuntu/.hermes", "/configs", "hermes", (1000, 1000), 60, 1000)
    assert plugin_plan.target_of(TERMS | {"config_dir": "/srv/c", "runtime": "codex"}, fact, {}).config_dir == "/srv/c"
    assert plugin_plan.target_of(TERMS, {}, variables) == Target("/opt/configs", "/opt/configs", "langgraph", (1000, 1000), 60, 1000)
    assert plugin_plan.target_of(TERMS, {"tier": "docker", "config_dir": "/configs", "runtime": None}, {}).runtime is None


@pytest.mark.parametrize(
    ("options", "fact", "message"),
    [
        ({}, {}, "config dir is not known: run molecule_ai.workspace.workspace_backend_facts first"),
        ({}, {"tier": "docker", "config_dir": None}, "config dir is not known"),
        ({"config_dir": "configs"}, {}, "config dir 'configs' is not allowed"),
        ({"config_dir": "/etc"}, {}, "config dir '/etc' is not allowed"),
        ({"config_dir": "/configs"}, {"tier": "external", "download_hint": "GET /workspaces/1/plugins/<name>/download"}, "external .*: GET /workspaces/1"),
        ({"config_dir": "/configs"}, {"tier": "none", "reason": "the engine at tcp://x does not answer"}, "cannot be reached: the engine at tcp://x"),
    ],
)
def test_there_is_no_default_target(options: dict[str, Any], fact: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        plugin_plan.target_of(TERMS | options, fact, {})


def _entries(**files: str) -> Entries:
    return {"": entry("directory", 0o755)} | {name: entry("file", 0o644, 1, sha256) for name, sha256 in files.items()}


def _prepared(directory: Path, entries: Entries) -> PreparedPlugin:
    (directory / "entries.json").write_text(json.dumps(entries), encoding="utf-8")
    return PreparedPlugin("plugins/ecc", directory, tree_digest(entries), "ecc", "1.0.0", (), FILE, None, None, None, ())


def _observed(entries: Entries | None, receipt_digest: str | None = None, wrong_owner: tuple[str, ...] = ()) -> Observed:
    receipt = None if receipt_digest is None else {"digest": receipt_digest}
    return Observed(entries is not None, tree_digest(entries) if entries else None, wrong_owner, entries, receipt, None, Placements())


def _plan(prepared: PreparedPlugin | None, observed: Observed) -> PluginPlan:
    state = "present" if prepared else "absent"
    return plugin_plan.plan_plugin(_wanted("ecc", state), prepared, observed, TARGET)


def _wanted(name: str, state: str) -> WantedPlugin:
    return WantedPlugin(name, state, None, False, False, None, None, None, False, False)


def _previous(entries: Entries | None, rolled_back: bool = False, problem: str | None = None) -> Previous:
    return Previous(tree_digest(entries) if entries else None, entries, "plugins/ecc", "0.9", rolled_back, problem)


def _roll_back(observed: Observed, previous: Previous, **more: Any) -> PluginPlan:
    return plugin_plan.plan_plugin(_wanted("ecc", "rolled_back"), None, dataclasses.replace(observed, previous=previous, **more), TARGET)


def test_rollbacks() -> None:
    old, new = _entries(a=FILE), _entries(a=FILE, b=FILE)
    after_upgrade = _roll_back(_observed(new), _previous(old))
    assert (after_upgrade.action, after_upgrade.digest, after_upgrade.version) == ("rolled_back", tree_digest(old), "0.9")
    assert [(drift["kind"], drift["path"]) for drift in after_upgrade.drift] == [("extra", "b")]
    after_removal = _roll_back(_observed(None), _previous(old))
    assert (after_removal.action, after_removal.digest, after_removal.drift[0]["kind"]) == ("rolled_back", tree_digest(old), "missing")
    after_install = _roll_back(_observed(new), _previous(None))
    assert (after_install.action, after_install.digest, after_install.drift[0]["kind"]) == ("rolled_back", None, "extra")
    deleted_since = _roll_back(_observed(None), _previous(None), has_remains=True)
    assert (deleted_since.action, deleted_since.digest) == ("rolled_back", None)
    for observed, previous in (
        (_observed(old), _previous(old)), (_observed(None), _previous(None)), (_observed(old), _previous(None, rolled_back=True)),
        (_observed(new), _previous(None, problem="gone")),
    ):
        plan = _roll_back(observed, previous)
        assert (plan.action, plan.digest, plan.drift) == ("none", observed.digest, ())
    assert _roll_back(_observed(new), _previous(None, problem="gone")).problem == "gone"
    assert _roll_back(_observed(old, wrong_owner=("a",)), _previous(old)).action == "rolled_back"


def test_what_was_changed_since_a_rollback_is_said() -> None:
    observed = dataclasses.replace(_observed(_entries(a=FILE)), receipt={"state": "present", "digest": "sha256:1"})
    plan = _roll_back(observed, _previous(None, rolled_back=True))
    assert (plan.action, [drift["kind"] for drift in plan.drift]) == ("none", ["modified"])


def test_a_workspace_that_does_not_say_what_was_before_is_an_error() -> None:
    with pytest.raises(WorkspaceError, match="did not say what plugin ecc was before"):
        plugin_plan.plan_plugin(_wanted("ecc", "rolled_back"), None, _observed(None), TARGET)


def test_remains_of_a_deleted_plugin_are_drift_and_are_removed() -> None:
    observed = dataclasses.replace(_observed(None), has_remains=True, placements=Placements(("skills/a", "CLAUDE.md: rule b.md")))
    plan = _plan(None, observed)
    assert plan.action == "removed"
    assert [(drift["kind"], drift["path"]) for drift in plan.drift] == [("placement", "skills/a"), ("placement", "CLAUDE.md: rule b.md")]
    assert [drift["kind"] for drift in _plan(None, dataclasses.replace(observed, placements=Placements())).drift] == ["extra"]


def test_actions(tmp_path: Path) -> None:
    wanted, old = _entries(a=FILE, b=FILE), _entries(a=FILE)
    prepared = _prepared(tmp_path, wanted)
    expected = {
        "none": _plan(prepared, _observed(wanted)),
        "installed": _plan(prepared, _observed(None, tree_digest(old))),
        "upgraded": _plan(prepared, _observed(old, tree_digest(old))),
        "repaired": _plan(prepared, _observed(old, prepared.digest)),
        "removed": _plan(None, _observed(old)),
    }
    assert {action: plan.action for action, plan in expected.items()} == {action: action for action in expected}
    assert _plan(prepared, _observed(old)).action == "upgraded"
    deleted_by_hand = _plan(prepared, _observed(None, prepared.digest))
    assert (deleted_by_hand.action, [drift["kind"] for drift in deleted_by_hand.drift]) == ("repaired", ["missing"])
    assert _plan(None, _observed(None)).action == "none"
    assert [(drift["kind"], drift["path"]) for drift in expected["upgraded"].drift] == [("missing", "b")]
    assert [(drift["kind"], drift["path"]) for drift in expected["installed"].drift] == [("missing", "")]
    assert [(drift["kind"], drift["path"]) for drift in expected["removed"].drift] == [("extra", "")]
    assert expected["none"].drift == ()


def test_a_wrong_owner_alone_is_repaired(tmp_path: Path) -> None:
    wanted = _entries(a=FILE)
    plan = _plan(_prepared(tmp_path, wanted), _observed(wanted, wrong_owner=("a",)))
    assert (plan.action, [drift["kind"] for drift in plan.drift]) == ("repaired", ["owner"])


def test_only_what_changes_and_stays_is_sent(tmp_path: Path) -> None:
    wanted = _entries(a=FILE)
    prepared = _prepared(tmp_path, wanted)
    assert plugin_plan.needed_bundles([_plan(prepared, _observed(wanted)), _plan(None, _observed(wanted))]) == {}
    assert plugin_plan.needed_bundles([_plan(prepared, _observed(None))] * 2) == {prepared.digest: prepared}


def test_requests(tmp_path: Path) -> None:
    wanted = _entries(a=FILE)
    plan = _plan(_prepared(tmp_path, wanted), _observed(None))
    common = {"version": 1, "config_dir": "/configs", "runtime_config_dir": "/configs", "owner": [1000, 1000], "lock_timeout": 60, "max_plugin_bytes": 1000}
    asked = [_wanted("ecc", "present"), _wanted("old", "absent"), _wanted("bad", "rolled_back")]
    assert plugin_plan.inspect_request(TARGET, asked, {"ecc": "sha256:1"}, False) == common | {
        "operation": "inspect", "exclusive": False, "placements": False,
        "plugins": [{"name": "ecc", "state": "present", "digest": "sha256:1"}, {"name": "old", "state": "absent"}, {"name": "bad", "state": "rolled_back"}],
    }
    assert plugin_plan.apply_request(TARGET, [plan], "/tmp/shipment.tar", {"user": "ops"}) == common | {
        "operation": "apply", "shipment": "/tmp/shipment.tar", "job": {"user": "ops"}, "strays": [],
        "plugins": [
            {"name": "ecc", "state": "present", "digest": tree_digest(wanted), "observed_digest": None, "source": "plugins/ecc", "plugin_version": "1.0.0"}
        ],
    }
    assert plugin_plan.read_request(TARGET, [("ecc", "a", True)], 10) == common | {
        "operation": "read", "files": [{"plugin": "ecc", "path": "a", "previous": True}], "max_bytes": 10
    }


def test_changed_placements_of_an_unchanged_plugin_are_drift_when_asked_for_and_nothing_is_done_about_them(tmp_path: Path) -> None:
    wanted = _entries(a=FILE)
    prepared = _prepared(tmp_path, wanted)
    kept = ({"path": "skills/helper/SKILL.md", "reason": "changed since it was placed"}, {"path": "skills/x", "reason": "also placed by plugin b"})
    observed = dataclasses.replace(_observed(wanted), placements=Placements((), kept))
    (plugin,) = plugin_plan.wanted_plugins(SINGLE | {"name": "ecc", "source": "plugins/ecc"}, ["name", "source"])
    assert plugin_plan.plan_plugin(plugin, prepared, observed, TARGET).drift == ()
    plan = plugin_plan.plan_plugin(plugin, prepared, observed, TARGET, placements=True)
    assert (plan.action, [(item["kind"], item["path"]) for item in plan.drift]) == ("none", [("placement", "skills/helper/SKILL.md")])
