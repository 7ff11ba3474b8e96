# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's HTTP API, as far as an operator's tool calls it: workspaces, the plugins it sees in them, and its destructive restart.

Behaviour as in the platform's public source (May 2026): a restart removes and re-creates a container with its volumes, or terminates the
EC2 instance and provisions a new one with an empty disk; meanwhile the status is ``provisioning``.
"""
from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .lab_state import LabState
from .plugin_listing import PluginListing

log = logging.getLogger("lab.platform")
Record = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Replaces a workspace's container or instance; blocking, called in a thread.
Restart = Callable[[Record], None]
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NEVER_RESTARTED = frozenset({"paused", "hibernated", "removed"})


class PlatformApi:
    """The routes, and the restarts that are under way."""

    def __init__(self, lab: LabState, restart: Restart) -> None:
        self._lab = lab
        self._restart = restart
        self._plugins = PluginListing(lab.world)
        self._statuses: dict[str, str] = {}
        self._restarts: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard])
        application.add_routes([
            web.get("/workspaces", self.list_workspaces), web.get("/workspaces/{id}", self.show_workspace),
            web.get("/workspaces/{id}/plugins", self.list_plugins), web.post("/workspaces/{id}/restart", self.restart_workspace),
            web.get("/orgs/{id}/plugins/allowlist", self.show_allowlist),
        ])
        return application

    async def close(self) -> None:
        """Wait for the restarts that are under way, so that no container is left half made."""
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await self._plugins.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Rate limit, availability, organisation and token, in the platform's order."""
        self._lab.counters.add("platform_requests")
        limited = self._lab.faults.take("platform_rate_limit")
        if limited:
            return web.json_response({"error": "rate limit exceeded"}, status=429, headers={"Retry-After": str(limited["retry_after"])})
        if self._lab.faults.take("platform_unavailable"):
            return web.json_response({"error": "platform unavailable, retry", "code": "platform_unavailable"}, status=503)
        platform = self._lab.world.content["platform"]
        if platform.get("org_id") and request.headers.get("X-Molecule-Org-Id") != platform["org_id"]:
            return web.Response(status=404)
        scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(token.encode(), platform["admin_token"].encode()):
            return web.json_response({"error": "invalid or missing token"}, status=401)
        return await handler(request)

    async def list_workspaces(self, _request: web.Request) -> web.Response:
        """GET /workspaces: all but the removed ones."""
        shown = [self._describe(each) for each in self._lab.world.workspaces]
        return web.json_response([each for each in shown if each["status"] != "removed"])

    async def show_workspace(self, request: web.Request) -> web.Response:
        """GET /workspaces/:id"""
        return web.json_response(self._describe(self._find(request)))

    async def list_plugins(self, request: web.Request) -> web.Response:
        """GET /workspaces/:id/plugins: also ``[]`` when it could not look."""
        return web.json_response(await self._plugins.of(self._find(request)))

    async def restart_workspace(self, request: web.Request) -> web.Response:
        """POST /workspaces/:id/restart"""
        workspace = self._find(request)
        status = self._status(workspace)
        if workspace["runtime"] == "external" or status in _NEVER_RESTARTED:
            return web.json_response({"status": status, "id": workspace["id"]})
        if self._lab.faults.take("platform_ancestor_paused") or self._ancestor_paused(workspace):
            return web.json_response({"error": "an ancestor of this workspace is paused"}, status=409)
        if not workspace.get("container") and not (workspace.get("instance_id") and self._lab.world.instance(workspace["instance_id"])):
            return web.json_response({"error": "provisioner not available for this workspace"}, status=503)
        self._lab.counters.add("platform_restarts", scope=workspace["id"])
        if status != "provisioning":
            self._statuses[workspace["id"]] = "provisioning"
            task = asyncio.create_task(self._provision(workspace))
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)
        return web.json_response({"status": "provisioning", "id": workspace["id"]})

    async def show_allowlist(self, request: web.Request) -> web.Response:
        """GET /orgs/:id/plugins/allowlist: no entries allow everything."""
        platform = self._lab.world.content["platform"]
        if request.match_info["id"] != platform.get("org_id"):
            return web.json_response({"error": "organisation not found"}, status=404)
        names = platform.get("plugin_allowlist", [])
        return web.json_response({"org_id": platform["org_id"], "plugins": [{"plugin_name": name} for name in names], "allow_all": not names})

    async def _provision(self, workspace: Record) -> None:
        """Replace what the workspace runs on; it is online, or failed, afterwards."""
        started = time.monotonic()
        try:
            await asyncio.to_thread(self._restart, workspace)
            outcome = "online"
        except Exception:
            log.exception("restart of workspace %s failed", workspace["name"])
            outcome = "failed"
        await asyncio.sleep(max(0.0, started + self._lab.settings.platform_provisioning_time - time.monotonic()))
        self._statuses[workspace["id"]] = outcome

    def _find(self, request: web.Request) -> Record:
        workspace_id = request.match_info["id"]
        if not _UUID.fullmatch(workspace_id):
            raise web.HTTPBadRequest(text=json.dumps({"error": "invalid workspace id"}), content_type="application/json")
        workspace = self._lab.world.workspace(workspace_id.lower())
        if workspace is None:
            raise web.HTTPNotFound(text=json.dumps({"error": "workspace not found"}), content_type="application/json")
        return workspace

    def _status(self, workspace: Record) -> str:
        return self._statuses.get(workspace["id"]) or str(workspace["status"])

    def _ancestor_paused(self, workspace: Record) -> bool:
        seen = {workspace["id"]}
        parent_id = workspace.get("parent_id")
        while parent_id and parent_id not in seen:
            seen.add(parent_id)
            parent = self._lab.world.workspace(parent_id)
            if parent is None:
                return False
            if self._status(parent) == "paused":
                return True
            parent_id = parent.get("parent_id")
        return False

    def _describe(self, workspace: Record) -> Record:
        """A workspace as the API shows it: ``tier`` is a resource size, and an instance id is in no answer."""
        return {
            "id": workspace["id"], "name": workspace["name"], "tier": workspace.get("tier", 2), "status": self._status(workspace), "url": "",
            "parent_id": workspace.get("parent_id"), "runtime": workspace["runtime"], "role": workspace.get("role", "agent"),
            "active_tasks": workspace.get("active_tasks", 0),
        }
