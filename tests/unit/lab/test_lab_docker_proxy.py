# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance sees of the lab's Docker engine: its one container under its usual name, and nothing else."""
from __future__ import annotations

import asyncio
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest
from aiohttp import web
from conftest import ELSEWHERE, RUNNING, STOPPED, RunningLab

OURS, THEIRS = "aa" * 32, "bb" * 32


class StandInEngine:
    """Answers like an engine with this instance's container and another one, and notes what it was asked."""

    def __init__(self, path: pathlib.Path) -> None:
        self.calls: list[str] = []
        self._path = path
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._runner = self._call(self._start())

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.UnixSite(runner, str(self._path)).start()
        return runner

    def close(self) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _answer(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} {request.path_qs}")
        name = f"runtime-{RUNNING}"
        path = request.path.split("/", 2)[2] if request.path.startswith("/v1") else request.path[1:]
        if path == "_ping":
            return web.Response(text="OK", headers={"Api-Version": "1.44"})
        if path == "version":
            return web.json_response({"ApiVersion": "1.44", "Version": "25"})
        if path == "containers/json":
            assert json.loads(request.query["filters"])["name"] == [f"^/{name}$"]
            return web.json_response([{"Id": OURS, "Names": [f"/{name}"], "Image": "i"}])
        if path == f"containers/{name}/json":
            return web.json_response({"Id": OURS, "Name": f"/{name}", "State": {"Status": "running"}, "Config": {"Tty": True}})
        if path == f"containers/{name}/restart":
            return web.Response(status=204)
        if path == f"containers/{name}/logs":
            return web.Response(body=b"line\n", content_type="application/vnd.docker.raw-stream")
        return web.json_response({"message": f"conflict of {name}"}, status=409)


@pytest.fixture()
def engine(lab: RunningLab) -> Iterator[StandInEngine]:
    stand_in = StandInEngine(lab.directory / "engine.sock")
    yield stand_in
    stand_in.close()


@pytest.fixture()
def client(lab: RunningLab, engine: StandInEngine) -> Iterator[docker.DockerClient]:
    connection = docker.DockerClient(base_url=f"unix://{lab.directory}/engines/{RUNNING}/docker.sock", version="auto")
    yield connection
    connection.close()


def test_the_container_is_seen_under_its_usual_name(client: docker.DockerClient) -> None:
    container, = client.containers.list()
    assert (container.name, container.id) == ("molecule-workspace", OURS)
    assert client.containers.get("molecule-workspace").attrs["Name"] == "/molecule-workspace"
    assert client.containers.get(OURS[:12]).name == "molecule-workspace"
    assert client.containers.list(filters={"name": "molecule"}) and not client.containers.list(filters={"name": "runtime"})
    assert client.containers.get("molecule-workspace").logs() == b"line\n"


def test_a_restart_is_passed_on_and_counted(lab: RunningLab, engine: StandInEngine, client: docker.DockerClient) -> None:
    client.containers.get("molecule-workspace").restart(timeout=3)
    assert f"POST /v1.44/containers/runtime-{RUNNING}/restart?t=3" in engine.calls
    assert lab.state.counters.as_dict()["by_id"][RUNNING] == {"docker_proxy_restarts": 1}
    with pytest.raises(docker.errors.APIError, match="conflict of molecule-workspace"):
        client.containers.get("molecule-workspace").kill()


def test_nothing_else_is_visible_or_allowed(engine: StandInEngine, client: docker.DockerClient) -> None:
    for name in (f"runtime-{RUNNING}", f"ec2-{RUNNING}", THEIRS, "..%2fversion"):
        with pytest.raises(docker.errors.NotFound):
            client.containers.get(name)
    before = list(engine.calls)
    for forbidden in (lambda: client.containers.get("molecule-workspace").exec_run("id"), lambda: client.containers.create("image"), client.volumes.prune):
        with pytest.raises(docker.errors.APIError) as caught:
            forbidden()
        assert caught.value.status_code == 403
    assert [call for call in engine.calls[len(before):] if "json" not in call] == []


def test_sockets_follow_the_world(lab: RunningLab) -> None:
    sockets = lab.directory / "engines"
    assert (sockets / RUNNING / "docker.sock").is_socket() and (sockets / ELSEWHERE / "docker.sock").is_socket()
    assert not (sockets / STOPPED).exists()
    lab.world["instances"][0]["state"], lab.world["instances"][1]["state"] = "terminated", "running"
    lab.write_world()
    assert lab.eventually(lambda: (sockets / STOPPED / "docker.sock").is_socket() and not (sockets / RUNNING / "docker.sock").exists())


def test_an_engine_that_is_down_is_an_error_answer(lab: RunningLab) -> None:
    with pytest.raises(docker.errors.DockerException):
        docker.DockerClient(base_url=f"unix://{lab.directory}/engines/{RUNNING}/docker.sock", version="auto")
