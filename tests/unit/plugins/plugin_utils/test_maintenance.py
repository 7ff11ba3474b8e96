# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maintenance container: for which containers it is made, what it may, and that it goes again."""
from __future__ import annotations

import contextlib
import json
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import docker_engine, maintenance

docker = pytest.importorskip("docker")

OPTIONS = docker_engine.EngineOptions(docker_host="tcp://192.0.2.1:2375")
FAILED = {"Status": "exited", "Running": False, "ExitCode": 1}
BACKEND = {"tier": "none", "container": None, "config_dir": None, "stopped": {"container": "ws-one", "config_dir": "/configs"}, "workspace_id": "one"}


class Engine(docker.APIClient):
    """The SDK's client with an engine in memory: what it would send is what counts."""

    def __init__(self, state: dict[str, t.Any]) -> None:
        super().__init__(base_url=OPTIONS.docker_host, version="1.41")
        self.state = state
        self.sent: list[tuple[str, str, t.Any]] = []
        self.answers: dict[str, int] = {}

    def _answer(self, method: str, url: str, **options: t.Any) -> t.Any:
        path = url.split("/v1.41", 1)[1]
        self.sent.append((method, path, json.loads(options["data"]) if options.get("data") else None))
        response = docker.api.client.requests.Response()
        response.status_code = self.answers.get(f"{method} {path}", 200)
        body: t.Any = {"message": "no"}
        if response.status_code == 200:
            body = {"Id": "new", "Warnings": [], "Image": "sha256:1", "State": self.state, "Config": {"Labels": {"molecule.platform.managed": "true"}}}
        response._content = json.dumps(body).encode()
        return response

    def get(self, url: str, **options: t.Any) -> t.Any:
        return self._answer("GET", url, **options)

    def post(self, url: str, **options: t.Any) -> t.Any:
        return self._answer("POST", url, **options)

    def delete(self, url: str, **options: t.Any) -> t.Any:
        return self._answer("DELETE", url, **options)


@pytest.fixture(name="engine")
def fixture_engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine(dict(FAILED))
    monkeypatch.setattr(docker_engine, "connect", lambda options: engine)
    return engine


def stopped(**parameters: t.Any) -> maintenance.Stopped:
    return maintenance.Stopped.resolve(parameters, BACKEND)


def test_it_has_the_volumes_and_nothing_else_of_the_workspace(engine: Engine) -> None:
    maintenance.open_container(stopped(), OPTIONS)
    (body,) = [body for method, path, body in engine.sent if path.startswith("/containers/create")]
    assert body["HostConfig"]["VolumesFrom"] == ["ws-one"] and body["HostConfig"]["NetworkMode"] == "none" and body["HostConfig"]["AutoRemove"] is True
    assert (body["Image"], body["User"], body["Healthcheck"]["Test"]) == ("sha256:1", "0:0", ["NONE"])
    assert body["Entrypoint"] == ["python3", "-c", "import time; time.sleep(3600)"] and not body.get("Env")
    assert body["Labels"] == {"molecule.platform.managed": "", maintenance.LABEL: "ws-one"}
    assert engine.sent[-1][:2] == ("POST", "/containers/molecule-maintenance-ws-one/start")


@pytest.mark.parametrize(
    "state", [FAILED, {"Status": "restarting", "Running": True, "Restarting": True}, {"Status": "exited", "ExitCode": 137, "OOMKilled": True}]
)
def test_a_container_that_failed_is_maintained(engine: Engine, state: dict[str, t.Any]) -> None:
    engine.state = state
    maintenance.open_container(stopped(), OPTIONS)


@pytest.mark.parametrize(
    ("state", "message"),
    [({"Status": "exited", "ExitCode": code}, f"is exited .exit code {code}., so somebody wants it to be down") for code in (0, 137, 143)]
    + [({"Status": "running", "Running": True}, "is running, so it needs no maintenance"), ({"Status": "created", "ExitCode": 0}, "is created")],
)
def test_a_container_that_somebody_stopped_is_not(engine: Engine, state: dict[str, t.Any], message: str) -> None:
    engine.state = state
    with pytest.raises(WorkspaceError, match=message):
        maintenance.open_container(stopped(), OPTIONS)
    assert not any(method == "POST" for method, _path, _body in engine.sent)
    maintenance.open_container(stopped(after_failed_restart=True), OPTIONS)


def test_two_runs_do_not_maintain_one_container(engine: Engine) -> None:
    engine.answers["POST /containers/create"] = 409
    with pytest.raises(WorkspaceError, match="ws-one is being maintained by another run .*docker rm -f molecule-maintenance-ws-one"):
        maintenance.open_container(stopped(), OPTIONS)
    assert not any(method == "DELETE" for method, _path, _body in engine.sent)


def test_one_that_does_not_start_is_removed(engine: Engine) -> None:
    engine.answers["POST /containers/molecule-maintenance-ws-one/start"] = 500
    with pytest.raises(WorkspaceError, match="cannot start container molecule-maintenance-ws-one"):
        maintenance.open_container(stopped(), OPTIONS)
    assert engine.sent[-1][:2] == ("DELETE", "/containers/molecule-maintenance-ws-one")


@pytest.mark.parametrize(("status", "changed"), [(200, True), (404, False), (409, True), (500, None)])
def test_it_is_removed_whatever_became_of_it(engine: Engine, status: int, changed: bool | None) -> None:
    engine.answers["DELETE /containers/molecule-maintenance-ws-one"] = status
    with contextlib.nullcontext() if changed is not None else pytest.raises(WorkspaceError, match="cannot remove container"):
        assert maintenance.close_container(stopped(), OPTIONS) is changed


def test_tasks_reach_it_and_the_restart_is_the_workspaces_own() -> None:
    opened = maintenance.fact(stopped(), BACKEND, OPTIONS, True)
    assert (opened["tier"], opened["connection"]["ansible_host"], opened["restart"]["container"]) == ("docker", "molecule-maintenance-ws-one", "ws-one")
    assert (opened["config_dir"], opened["maintenance"], opened["workspace_id"]) == ("/configs", "molecule-maintenance-ws-one", "one")
    closed = maintenance.fact(maintenance.Stopped.resolve({}, opened), opened, OPTIONS, False)
    assert (closed["connection"]["ansible_host"], closed["maintenance"]) == ("ws-one", None)


def test_it_must_be_known_which_one() -> None:
    with pytest.raises(InvalidInputError, match="which container is to be maintained is not known"):
        maintenance.Stopped.resolve({}, {"tier": "eic", "config_dir": "/configs", "stopped": None, "container": None})
