# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a workspace is restarted, whether at all, and what is confirmed afterwards."""
from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import container_readiness
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import docker_engine, platform_api, restart

DOCKER = {
    "tier": "docker",
    "workspace_id": "7f3c2a10-0000-4000-8000-000000000001",
    "config_dir": "/configs",
    "restart": {"method": "docker_engine", "container": "ws-7f3c2a10-000", "unit": None},
    "reason": "its container runs",
}
EIC = {**DOCKER, "tier": "eic", "config_dir": "/opt/configs", "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None}}
DEFAULTS = {"method": "in_place", "force": False, "settle": 0.0, "stop_timeout": 10}
PLATFORM = {"method": "platform", "platform_url": "http://127.0.0.1:9", "platform_token": "secret"}


class Workspace:
    """The workspace's receipts, its container on the engine and the platform, all in one; ``calls`` tells the order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.requests: list[dict[str, t.Any]] = []
        self.pending: dict[str, str] = {}
        self.problems: list[str] = []
        self.state = {"StartedAt": "one", "Running": True}
        self.after = {"StartedAt": "two", "Running": True}
        self.skipped: str | None = None

    def remote(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        self.calls.append(request["operation"])
        self.requests.append(request)
        if request["operation"] == "pending_restarts":
            return {"restart_pending": dict(self.pending), "problems": self.problems}
        if request["operation"] == "restart_host":
            needed = bool(self.pending or request["force"])
            done = needed and not request["dry_run"]
            outcome = {"restarted": done, "waited": 0.0, "started_at": "two" if done else None, "cleared": [], "restart_pending": []}
            return {"needed": needed, "problems": self.problems, **outcome}
        cleared = [name for name, install_id in request["install_ids"].items() if self.pending.get(name) == install_id]
        for name in cleared:
            del self.pending[name]
        return {"cleared": cleared, "restart_pending": sorted(self.pending)}

    def inspect(self, *_engine: t.Any) -> dict[str, t.Any]:
        self.calls.append("inspect")
        return {"State": self.state}

    def restart(self, _client: t.Any, _options: t.Any, name: str, stop_timeout: int) -> None:
        self.calls.append(f"restart {name} within {stop_timeout}")
        self.state = self.after

    def ensure_restartable(self, _workspace_id: str) -> None:
        self.calls.append("ask platform")
        if self.skipped:
            raise WorkspaceError(self.skipped)

    def run(self, backend: dict[str, t.Any] | None = None, check_mode: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
        return restart.run({**DEFAULTS, **parameters}, DOCKER if backend is None else backend, self.remote, check_mode)


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Workspace:
    made = Workspace()
    monkeypatch.setattr(docker_engine, "connect", lambda _options: object())
    monkeypatch.setattr(docker_engine, "inspect_container", made.inspect)
    monkeypatch.setattr(docker_engine, "restart_container", made.restart)
    monkeypatch.setattr(platform_api.Platform, "ensure_restartable", lambda _platform, workspace_id: made.ensure_restartable(workspace_id))
    monkeypatch.setattr(platform_api.Platform, "restart", lambda _platform, workspace_id: made.calls.append(f"platform restarts {workspace_id}"))
    monkeypatch.setattr(platform_api.Platform, "wait_until_online", lambda _platform, _id, timeout: made.calls.append(f"online within {timeout}") or 3.0)
    return made


def test_nothing_pending_changes_nothing_and_asks_no_engine(workspace: Workspace) -> None:
    result = workspace.run()
    assert (result["changed"], result["restarted"], result["restart_pending"]) == (False, False, [])
    assert workspace.calls == ["pending_restarts"]


def test_pending_restarts_the_container_and_confirms(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "1"}
    result = workspace.run(stop_timeout=3)
    assert workspace.calls == ["pending_restarts", "inspect", "restart ws-7f3c2a10-000 within 3", "inspect", "confirm_restart"]
    assert (result["changed"], result["restarted"], result["started_at"]) == (True, True, "two")
    assert (result["cleared"], result["restart_pending"]) == (["ecc"], [])
    assert all(request["config_dir"] == "/configs" and request["version"] == 1 for request in workspace.requests)


def test_force_restarts_without_anything_to_confirm(workspace: Workspace) -> None:
    result = workspace.run(force=True)
    assert (result["changed"], result["restarted"], result["cleared"]) == (True, True, [])
    assert "confirm_restart" not in workspace.calls


@pytest.mark.parametrize(("pending", "force", "changed"), [({}, False, False), ({"ecc": "1"}, False, True), ({}, True, True)])
@pytest.mark.parametrize("backend", [DOCKER, EIC])
@pytest.mark.parametrize("method", [{}, PLATFORM])
def test_check_mode_predicts_and_restarts_nothing(
    workspace: Workspace, backend: dict[str, t.Any], method: dict[str, t.Any], pending: dict[str, str], force: bool, changed: bool
) -> None:
    workspace.pending = dict(pending)
    result = workspace.run(backend, check_mode=True, force=force, **method)
    assert (result["changed"], result["restarted"]) == (changed, False)
    assert workspace.pending == pending
    assert not any("restarts" in call or call.startswith("restart ") for call in workspace.calls if call != "pending_restarts")
    assert "confirm_restart" not in workspace.calls
    assert all(request.get("dry_run", True) for request in workspace.requests)


def test_a_container_that_does_not_come_back_stays_pending(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "1"}
    workspace.after = {"StartedAt": "two", "Running": False, "ExitCode": 9}
    with pytest.raises(WorkspaceError, match="exit code 9.* run the playbook molecule_ai.workspace.rollback with its name, .* container that is down$"):
        workspace.run()
    assert workspace.pending == {"ecc": "1"}


def test_the_ec2_host_does_everything_in_one_execution(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "1"}
    result = workspace.run(EIC)
    assert workspace.calls == ["restart_host"]
    [request] = workspace.requests
    assert (request["container"], request["unit"], request["config_dir"]) == ("molecule-workspace", None, "/opt/configs")
    assert (request["wait_timeout"], request["dry_run"]) == (120, False)
    assert (result["changed"], result["restarted"], result["method"]) == (True, True, "in_place")


def test_an_option_for_the_target_replaces_the_facts_target(workspace: Workspace) -> None:
    workspace.run(EIC, unit="hermes.service")
    assert (workspace.requests[0]["container"], workspace.requests[0]["unit"]) == (None, "hermes.service")


def test_platform_leaves_the_confirmation_to_who_has_looked_it_up_again(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "1"}
    result = workspace.run(EIC, **PLATFORM)
    assert workspace.calls == ["pending_restarts", "ask platform", f"platform restarts {EIC['workspace_id']}", "online within 900"]
    assert (result["restarted"], result["awaiting_confirmation"], result["restart_pending"]) == (True, {"ecc": "1"}, ["ecc"])
    again = workspace.run(EIC, method="none", confirm=result["awaiting_confirmation"])
    assert (again["changed"], again["cleared"], again["restart_pending"]) == (True, ["ecc"], [])


def test_platform_says_in_check_mode_too_that_it_would_skip(workspace: Workspace) -> None:
    workspace.skipped = "because it is paused"
    with pytest.raises(WorkspaceError, match="paused"):
        workspace.run(EIC, check_mode=True, force=True, **PLATFORM)


@pytest.mark.parametrize("backend", [DOCKER, EIC])
def test_a_receipt_that_cannot_be_read_is_a_warning(workspace: Workspace, backend: dict[str, t.Any]) -> None:
    assert "warnings" not in workspace.run(backend)
    workspace.problems = ["the receipt ecc.json is ignored: it is not JSON"]
    assert workspace.run(backend)["warnings"] == workspace.problems


def test_none_only_reports(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "1", "browser-automation": "2"}
    result = workspace.run(method="none")
    assert (result["changed"], result["restarted"], result["restart_pending"]) == (False, False, ["browser-automation", "ecc"])
    assert workspace.calls == ["pending_restarts"]


def test_a_newer_install_is_not_confirmed(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "2"}
    result = workspace.run(method="none", confirm={"ecc": "1"})
    assert (result["changed"], result["restart_pending"]) == (False, ["ecc"])
    assert workspace.calls == ["pending_restarts"]


def test_confirmation_is_only_predicted_in_check_mode(workspace: Workspace) -> None:
    workspace.pending = {"ecc": "1"}
    result = workspace.run(check_mode=True, method="none", confirm={"ecc": "1"})
    assert (result["changed"], workspace.pending) == (True, {"ecc": "1"})


@pytest.mark.parametrize(
    ("backend", "parameters", "part"),
    [
        ({}, {}, "workspace_backend_facts"),
        ({}, {"tier": "docker"}, "config_dir"),
        ({}, {"tier": "docker", "config_dir": "/configs"}, "container"),
        ({}, {"tier": "docker", "config_dir": "/etc", "container": "ws-1"}, "/etc"),
        (DOCKER, {"container": "-rf"}, "-rf"),
        (EIC, {"unit": "hermes;id"}, "hermes;id"),
        (DOCKER, {"workspace_id": "../x"}, "../x"),
        (DOCKER, {"method": "platform"}, "platform_url"),
        ({**DOCKER, "workspace_id": None}, PLATFORM, "workspace_id"),
        (DOCKER, {"confirm": {"ecc": "1"}}, "method 'none'"),
    ],
)
def test_bad_input_is_one_sentence_and_touches_nothing(workspace: Workspace, backend: dict[str, t.Any], parameters: dict[str, t.Any], part: str) -> None:
    workspace.pending = {"ecc": "1"}
    with pytest.raises(InvalidInputError) as caught:
        workspace.run(backend, **parameters)
    assert part in str(caught.value)
    assert workspace.calls == []


@pytest.mark.parametrize("tier", ["external", "none"])
def test_what_cannot_be_reached_fails_with_its_reason(workspace: Workspace, tier: str) -> None:
    with pytest.raises(WorkspaceError, match="because the sky is cloudy"):
        workspace.run({**DOCKER, "tier": tier, "reason": "because the sky is cloudy"})
    assert workspace.calls == []


@pytest.mark.parametrize("advice", [container_readiness.STILL_PENDING, restart._OUT_OF_REACH])
def test_the_role_leaves_out_what_it_has_done_already_after_a_failed_restart(advice: str) -> None:
    tasks = (pathlib.Path(__file__).parents[4] / "roles/plugins/tasks/failed_restart.yml").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"regex_replace\('(.*)', ''\)", tasks)
    reason = "container x was not ready 20 s after its restart, because it is paused: read 'docker logs x'"
    assert re.sub(pattern, "", f"{reason}; {advice}") == reason
