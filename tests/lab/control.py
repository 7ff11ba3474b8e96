# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own switchboard (control_url): counters, faults and settings for tests and for people."""
from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from . import faults, settings
from .lab_state import LabState

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A ValueError is the caller's mistake; say which."""
    try:
        return await handler(request)
    except ValueError as error:
        return web.json_response({"error": str(error)}, status=400)


async def _object(request: web.Request) -> dict[str, Any]:
    document = json.loads(await request.text() or "{}")
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    return document


class Control:
    """The routes of the switchboard."""

    def __init__(self, lab: LabState) -> None:
        self._lab = lab

    def application(self) -> web.Application:
        application = web.Application(middlewares=[_explain])
        application.add_routes([
            web.get("/counters", self.counters), web.post("/counters/reset", self.reset_counters),
            web.get("/faults", self.list_faults), web.post("/faults", self.add_fault),
            web.delete("/faults", self.remove_faults), web.delete("/faults/{number}", self.remove_fault),
            web.get("/settings", self.show_settings), web.put("/settings", self.change_settings), web.delete("/settings", self.reset_settings),
        ])
        return application

    async def counters(self, _request: web.Request) -> web.Response:
        """GET /counters: see counters.py."""
        return web.json_response(self._lab.counters.as_dict())

    async def reset_counters(self, _request: web.Request) -> web.Response:
        """POST /counters/reset"""
        self._lab.counters.reset()
        return web.json_response(self._lab.counters.as_dict())

    async def list_faults(self, _request: web.Request) -> web.Response:
        """GET /faults: those that are on, and the kinds that there are."""
        kinds = {name: {"description": kind.description, "parameters": kind.parameters} for name, kind in faults.KINDS.items()}
        return web.json_response({"faults": self._lab.faults.as_list(), "kinds": kinds})

    async def add_fault(self, request: web.Request) -> web.Response:
        """POST /faults with a description (see faults.py): switch it on; 201 with its number."""
        return web.json_response(self._lab.faults.add(await _object(request)).as_dict(), status=201)

    async def remove_faults(self, request: web.Request) -> web.Response:
        """DELETE /faults: all, or those of ``?name=``."""
        return web.json_response({"removed": self._lab.faults.remove(name=request.query.get("name"))})

    async def remove_fault(self, request: web.Request) -> web.Response:
        """DELETE /faults/<number>"""
        return web.json_response({"removed": self._lab.faults.remove(number=int(request.match_info["number"]))})

    async def show_settings(self, _request: web.Request) -> web.Response:
        """GET /settings: the values and their defaults, see settings.py."""
        return web.json_response({"settings": self._lab.settings.as_dict(), "defaults": settings.DEFAULTS})

    async def change_settings(self, request: web.Request) -> web.Response:
        """PUT /settings with the values to change."""
        self._lab.settings.change(await _object(request))
        return web.json_response({"settings": self._lab.settings.as_dict()})

    async def reset_settings(self, _request: web.Request) -> web.Response:
        """DELETE /settings: back to the defaults."""
        self._lab.settings.reset()
        return web.json_response({"settings": self._lab.settings.as_dict()})
