# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maintenance container: for which containers it is made, what it may, and that it goes again."""
from __future__ import annotations

import contextlib
import json
import os
import typing as t

import pytest
from ansible import constants as C
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import docker_engine, maintenance, processes

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
        self.maintained: list[dict[str, str]] = []
        """The labels of the maintenance container at one look after the other; without one, it is not there."""

    def _answer(self, method: str, url: str, **options: t.Any) -> t.Any:
        path = url.split("/v1.41", 1)[1]
        self.sent.append((method, path, json.loads(options["data"]) if options.get("data") else None))
        response = docker.api.client.requests.Response()
        response.status_code = self.answers.get(f"{method} {path}", 200)
        labels = {"molecule.platform.managed": "true"}
        if (method, path) == ("GET", "/containers/molecule-maintenance-ws-one/json"):
            response.status_code, labels = (200, self.maintained.pop(0)) if self.maintained else (404, labels)
        body: t.Any = {"message": "no"}
        if response.status_code == 200:
            body = {"Id": "new", "Warnings": [], "Image": "sha256:1", "State": self.state, "Config": {"Labels": labels}}
        response._content = json.dumps(body).encode()
        return response

    def get(self, url: str, **options: t.Any) -> t.Any:
        return self._answer("GET", url, **options)

    def post(self, url: str, **options: t.Any) -> t.Any:
        return self._answer("POST", url, **options)

    def delete(self, url: str, **options: t.Any) -> t.Any:
        return self._answer("DELETE", url, **options)


def labels_of(run: str, process: str, container: str = "ws-one") -> dict[str, str]:
    return {maintenance.LABEL: container, maintenance.RUN_LABEL: run, maintenance.PROCESS_LABEL: process}


OWN_RUN = "ansible-local-1ourshere"
LIVING = processes.name_of(os.getpid())
ENDED = f"{LIVING.partition('-')[0]}-999999999-1"
ELSEWHERE = f"{'0' * 16}-999999999-1"


@pytest.fixture(name="engine")
def fixture_engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", f"/tmp/{OWN_RUN}")
    monkeypatch.setattr(maintenance.time, "sleep", lambda seconds: None)
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
    assert body["Labels"] == {"molecule.platform.managed": "", **labels_of(OWN_RUN, LIVING)}
    assert engine.sent[-1][:2] == ("POST", "/containers/new/start")


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


@pytest.mark.parametrize(
    "labels", [labels_of("another", LIVING), labels_of("another", ELSEWHERE), labels_of("another", ""), labels_of("another", ENDED, "ws-two"), {}],
    ids=["living", "on another controller", "unknown", "of another container", "without labels"],
)
def test_two_runs_do_not_maintain_one_container(engine: Engine, monkeypatch: pytest.MonkeyPatch, labels: dict[str, str]) -> None:
    engine.answers["POST /containers/create"] = 409
    engine.maintained = [labels] * 1000
    waits: list[float] = []
    monkeypatch.setattr(maintenance.time, "sleep", waits.append)
    with pytest.raises(WorkspaceError, match="ws-one is being maintained by another run .*docker rm -f molecule-maintenance-ws-one"):
        maintenance.open_container(stopped(), OPTIONS)
    assert waits == [1] * maintenance.PATIENCE
    assert not any(method == "DELETE" for method, _path, _body in engine.sent)


def test_another_runs_maintenance_is_waited_for_and_then_looked_at_anew(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.answers["POST /containers/create"] = 409
    engine.maintained = [labels_of("another", LIVING)] * 3
    waits: list[float] = []

    def another_run_ends(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            engine.answers.clear()

    monkeypatch.setattr(maintenance.time, "sleep", another_run_ends)
    maintenance.open_container(stopped(), OPTIONS)
    assert waits == [1, 1, 1] and engine.sent[-1][:2] == ("POST", "/containers/new/start")
    waits.clear()
    engine.answers["POST /containers/create"] = 409
    engine.maintained = [labels_of("another", LIVING)]
    monkeypatch.setattr(maintenance.time, "sleep", lambda seconds: engine.state.update(Status="running", Running=True))
    with pytest.raises(WorkspaceError, match="ws-one is running, so it needs no maintenance"):
        maintenance.open_container(stopped(), OPTIONS)


def test_what_a_run_that_has_ended_left_is_removed_by_its_id_and_replaced(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.answers["POST /containers/create"] = 409
    engine.maintained = [labels_of("another", ENDED)]
    monkeypatch.setattr(engine, "delete", lambda url, **options: engine.answers.clear() or engine._answer("DELETE", url, **options))
    monkeypatch.setattr(maintenance.time, "sleep", lambda seconds: pytest.fail("there is nobody to wait for"))
    maintenance.open_container(stopped(), OPTIONS)
    assert [path for method, path, _body in engine.sent if method == "DELETE"] == ["/containers/new"]
    assert engine.sent[-1][:2] == ("POST", "/containers/new/start")


def test_one_that_does_not_start_is_removed(engine: Engine) -> None:
    engine.answers["POST /containers/new/start"] = 500
    with pytest.raises(WorkspaceError, match="cannot start container molecule-maintenance-ws-one"):
        maintenance.open_container(stopped(), OPTIONS)
    assert engine.sent[-1][:2] == ("DELETE", "/containers/new")


@pytest.mark.parametrize(("status", "changed"), [(200, True), (404, False), (409, True), (500, None)])
@pytest.mark.parametrize("labels", [labels_of(OWN_RUN, ""), labels_of("another", ENDED)], ids=["our own", "of a run that has ended"])
def test_it_is_removed_whatever_became_of_it(engine: Engine, status: int, changed: bool | None, labels: dict[str, str]) -> None:
    engine.answers["DELETE /containers/new"] = status
    engine.maintained = [labels]
    with contextlib.nullcontext() if changed is not None else pytest.raises(WorkspaceError, match="cannot remove container"):
        assert maintenance.close_container(stopped(), OPTIONS) == (changed, "")
    assert maintenance.close_container(stopped(), OPTIONS) == (False, "")


@pytest.mark.parametrize("process", [LIVING, ELSEWHERE, ""], ids=["living", "on another controller", "unknown"])
def test_another_runs_is_left_alone(engine: Engine, process: str) -> None:
    for labels in (labels_of("another", process), labels_of(OWN_RUN, process, "ws-two")):
        engine.maintained = [labels]
        changed, left = maintenance.close_container(stopped(), OPTIONS)
        assert not changed and "molecule-maintenance-ws-one is another run's" in left
    assert not any(method == "DELETE" for method, _path, _body in engine.sent)


def test_tasks_reach_it_and_the_restart_is_the_workspaces_own() -> None:
    opened = maintenance.fact(stopped(), BACKEND, OPTIONS, True)
    assert (opened["tier"], opened["connection"]["ansible_host"], opened["restart"]["container"]) == ("docker", "molecule-maintenance-ws-one", "ws-one")
    assert (opened["config_dir"], opened["maintenance"], opened["workspace_id"]) == ("/configs", "molecule-maintenance-ws-one", "one")
    closed = maintenance.fact(maintenance.Stopped.resolve({}, opened), opened, OPTIONS, False)
    assert (closed["connection"]["ansible_host"], closed["maintenance"]) == ("ws-one", None)


def test_it_must_be_known_which_one() -> None:
    with pytest.raises(InvalidInputError, match="which container is to be maintained is not known"):
        maintenance.Stopped.resolve({}, {"tier": "eic", "config_dir": "/configs", "stopped": None, "container": None})
