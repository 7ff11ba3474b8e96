# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an EC2 instance sees as its own Docker engine: one unix socket per instance that speaks the Docker API.

The instance's only container is ``molecule-workspace``; on the lab's engine that is ``runtime-<instance id>``. The proxy translates the
name both ways, hides every other container, and allows just what an operator does with a workspace's runtime.
"""
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import re
from typing import Any

import aiohttp
from aiohttp import web

from .lab_state import LabState

log = logging.getLogger("lab.docker")
VISIBLE_NAME = "molecule-workspace"
# Per container action: the method that it takes.
_ACTIONS = {"json": "GET", "logs": "GET", "start": "POST", "stop": "POST", "restart": "POST", "kill": "POST"}
_HOP_HEADERS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})
_PATH = re.compile(r"(?P<version>/v[0-9.]+)?(?P<call>/.*)")


def engine_session(docker_host: str) -> tuple[aiohttp.ClientSession, str]:
    """A client of the lab's engine (``unix://`` or ``tcp://``) and the URL to put before paths."""
    timeout = aiohttp.ClientTimeout(total=None, connect=10)
    if docker_host.startswith("unix://"):
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(docker_host[len("unix://"):]), timeout=timeout, auto_decompress=False), "http://docker"
    return aiohttp.ClientSession(timeout=timeout, auto_decompress=False), docker_host.replace("tcp://", "http://", 1)


class InstanceEngine:
    """The Docker API of one instance."""

    def __init__(self, lab: LabState, session: aiohttp.ClientSession, base_url: str, instance_id: str, container: str | None) -> None:
        self._lab = lab
        self._session = session
        self._base_url = base_url
        self._instance_id = instance_id
        self._container = container

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one API call."""
        try:
            return await self._answer(request)
        except aiohttp.ClientError as error:
            return _message(502, f"the lab's engine does not answer: {error}")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _message(404, "page not found")
        version, call = match.group("version") or "", match.group("call")
        if call == "/_ping" and request.method in ("GET", "HEAD"):
            return await self._pass(request, call)
        if call == "/version" and request.method == "GET":
            return await self._pass(request, version + call)
        if call == "/containers/json" and request.method == "GET":
            return await self._list(request, version + call)
        found = re.fullmatch(r"/containers/([^/]+)/([a-z]+)", call)
        if found is None or _ACTIONS.get(found.group(2)) != request.method:
            if request.method == "GET":  # nothing else exists here, so that `docker inspect` can go on to its next guess
                return _message(404, f"No such object: {call}")
            return _message(403, f"this instance's engine does not allow {request.method} {call}")
        reference, action = found.groups()
        if self._container is None or not await self._is_ours(reference):
            return _message(404, f"No such container: {reference}")
        response = await self._pass(request, f"{version}/containers/{self._container}/{action}")
        if action == "restart" and response.status == 204:
            self._lab.counters.add("docker_proxy_restarts", scope=self._instance_id)
        return response

    async def _is_ours(self, reference: str) -> bool:
        """Whether a name or an id (or the beginning of one) is the instance's container."""
        if reference == VISIBLE_NAME:
            return True
        if not re.fullmatch(r"[0-9a-f]{1,64}", reference):
            return False
        async with self._session.get(f"{self._base_url}/containers/{self._container}/json") as response:
            return response.status == 200 and str((await response.json())["Id"]).startswith(reference)

    async def _list(self, request: web.Request, path: str) -> web.StreamResponse:
        """The container list with at most the one container; a filter by name looks at the visible name."""
        try:
            wanted = _filters(request.query.get("filters", "{}"))
        except ValueError:
            return _message(400, "invalid filter")
        names = wanted.pop("name", [])
        if self._container is None or (names and not any(re.search(name, f"/{VISIBLE_NAME}") for name in names)):
            return web.Response(body=b"[]", content_type="application/json")
        wanted["name"] = [f"^/{self._container}$"]
        query = {**request.query, "filters": json.dumps(wanted)}
        async with self._session.get(self._base_url + path, params=query) as response:
            body = await response.read()
            return web.Response(status=response.status, body=self._translate(body), content_type="application/json")

    async def _pass(self, request: web.Request, path: str) -> web.StreamResponse:
        """Pass the call on; JSON answers are translated, anything else (logs) is streamed as it comes."""
        body = await request.read() if request.body_exists else None
        headers = {"Content-Type": request.content_type} if body else {}
        async with self._session.request(request.method, self._base_url + path, params=request.query, data=body, headers=headers) as response:
            headers = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_HEADERS}
            if request.method == "HEAD" or response.status in (204, 304):
                return web.Response(status=response.status, headers=headers)
            if response.content_type == "application/json":
                return web.Response(status=response.status, headers=headers, body=self._translate(await response.read()))
            stream = web.StreamResponse(status=response.status, headers=headers)
            await stream.prepare(request)
            async for chunk in response.content.iter_any():
                await stream.write(chunk)
            await stream.write_eof()
            return stream

    def _translate(self, body: bytes) -> bytes:
        """The engine's name of the container becomes the visible one (names and error messages)."""
        return body if self._container is None else body.replace(self._container.encode(), VISIBLE_NAME.encode())


class DockerProxy:
    """Keeps one socket per running instance, as instances come and go."""

    def __init__(self, lab: LabState) -> None:
        self._lab = lab
        self._sites: dict[str, tuple[web.AppRunner, pathlib.Path]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._base_url = ""
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._session, self._base_url = engine_session(self._lab.world.docker_host)
        await self._adjust()
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for instance_id in list(self._sites):
            await self._remove(instance_id)
        if self._session is not None:
            await self._session.close()

    async def _follow(self) -> None:
        """Look at the world a few times a second: instances are replaced while the lab runs."""
        while True:
            await asyncio.sleep(0.25)
            await self._adjust()

    async def _adjust(self) -> None:
        wanted = {each["instance_id"]: each for each in self._lab.world.instances if each["state"] in ("pending", "running") and each.get("host_container")}
        for instance_id in set(self._sites) - set(wanted):
            await self._remove(instance_id)
        for instance_id in set(wanted) - set(self._sites):
            await self._add(wanted[instance_id])

    async def _add(self, instance: dict[str, Any]) -> None:
        assert self._session is not None
        instance_id = instance["instance_id"]
        directory = pathlib.Path(self._lab.world.content["engine_sockets"]) / instance_id
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "docker.sock"
        path.unlink(missing_ok=True)
        engine = InstanceEngine(self._lab, self._session, self._base_url, instance_id, instance.get("runtime_container"))
        runner = web.AppRunner(engine.application(), access_log=None)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        os.chmod(path, 0o660)
        self._sites[instance_id] = (runner, path)
        log.info("engine of %s: %s", instance_id, path)

    async def _remove(self, instance_id: str) -> None:
        runner, path = self._sites.pop(instance_id)
        await runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _filters(text: str) -> dict[str, list[str]]:
    """The engine's filter argument: lists, or (older clients) mappings to true.  Raises ValueError."""
    document = json.loads(text or "{}")
    if not isinstance(document, dict) or not all(isinstance(value, (list, dict)) for value in document.values()):
        raise ValueError("filters")
    return {name: [str(each) for each in value] for name, value in document.items()}


def _message(status: int, text: str) -> web.Response:
    # The Docker CLI takes the answer for JSON only without a charset.
    return web.Response(status=status, body=json.dumps({"message": text}).encode(), content_type="application/json")
