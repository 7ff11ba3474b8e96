# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server that takes and refuses what AWX does, as far as the role awx_setup goes.

Fields, types, choices, lengths and defaults are those that an AWX has said of itself (``api.json``, made by ``record_api.py``); the rules beyond them,
for surveys, credential types, playbooks and references, are in ``awx_rules.py``.  Where AWX ignores what it does not know, this refuses it.
"""
from __future__ import annotations

import json
import pathlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import awx_rules
from awx_rules import Refused

API = json.loads(pathlib.Path(__file__).with_name("api.json").read_text(encoding="utf-8"))
TOKEN = "token-of-the-test"
PLAYBOOKS = [f"{name}.yml" for name in ("audit", "install", "remove", "restart", "rollback", "sync")]

# Which kind of object a field or a list of an object refers to.
REFERENCES = {
    "organization": "organizations", "credential": "credentials", "credentials": "credentials", "credential_type": "credential_types",
    "execution_environment": "execution_environments", "default_environment": "execution_environments", "project": "projects", "source_project": "projects",
    "inventory": "inventories", "instance_groups": "instance_groups", "workflow_job_template": "workflow_job_templates",
    "webhook_credential": "credentials", "signature_validation_credential": "credentials", "user": "users", "team": "teams",
    "success_nodes": "workflow_job_template_nodes", "failure_nodes": "workflow_job_template_nodes", "always_nodes": "workflow_job_template_nodes",
    **{f"notification_templates_{when}": "notification_templates" for when in ("started", "success", "error", "approvals")},
}
UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates", "workflow_approval_templates")
LISTS = {
    "organizations": ["instance_groups", "notification_templates_error"],
    "inventories": ["instance_groups"],
    "job_templates": ["credentials", "instance_groups", "notification_templates_error", "notification_templates_success", "notification_templates_started"],
    "workflow_job_templates": ["notification_templates_error", "notification_templates_approvals"],
    "workflow_job_template_nodes": ["success_nodes", "failure_nodes", "always_nodes"],
}
UNIQUE = {
    **dict.fromkeys(["projects", "inventories", "job_templates", "workflow_job_templates", "notification_templates"], ["name", "organization"]),
    "credentials": ["name", "organization", "credential_type"], "inventory_sources": ["name", "inventory"], "schedules": ["name", "unified_job_template"],
    "workflow_job_template_nodes": ["identifier", "workflow_job_template"],
}
IGNORED = ("type", "managed")
TYPES = {"inventories": "inventory"}
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "choice": (str, int), "boolean": (bool,), "integer": (int,), "id": (int,), "json": (dict, list, str),
    "nested object": (dict,), "list": (list,), "object": (dict,),
}  # fmt: skip


class AWX:
    """The objects, by kind and id, and what was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in [*API["endpoints"], "workflow_approval_templates", "users", "teams"]}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[int, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.next_id = 1

    # -- reading -------------------------------------------------------------------------------------------------------------

    def list(self, kind: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        if kind == "unified_job_templates":
            candidates = [item for unified in UNIFIED for item in self.objects[unified].values()]
        else:
            candidates = list(self.find(kind).values())
        either = {name[4:]: value for name, value in query.items() if name.startswith("or__")}
        every = {name: value for name, value in query.items() if not name.startswith("or__") and name not in ("page", "page_size")}
        known = {name for item in candidates for name in item} if candidates else {*either, *every}
        if unknown := {*either, *every} - known:
            raise Refused({"detail": f"{sorted(unknown)[0]} is no field to filter by"})
        found = [item for item in candidates if all(str(item.get(name)) == value for name, value in every.items())]
        return [self.shown(item) for item in found if not either or any(str(item.get(name)) == value for name, value in either.items())]

    def find(self, kind: str) -> dict[int, dict[str, Any]]:
        if kind not in self.objects:
            raise Refused({"detail": f"there is nothing at {kind}"}, 404)
        return self.objects[kind]

    def get(self, kind: str, number: int) -> dict[str, Any]:
        if number not in self.find(kind):
            raise Refused({"detail": "Not found."}, 404)
        return self.objects[kind][number]

    def shown(self, item: dict[str, Any]) -> dict[str, Any]:
        """As AWX shows an object: without its secrets."""
        secret: set[str] = set()
        if item["type"] == "credential":
            secret = awx_rules.secret_inputs(self.get("credential_types", item["credential_type"]))
            return {**item, "inputs": {name: "$encrypted$" if name in secret else value for name, value in item["inputs"].items()}}
        if item["type"] == "notification_template":
            secret = {name for name, field in API["notification_configurations"][item["notification_type"]].items() if field["type"] == "password"}
            shown = {name: "$encrypted$" if name in secret and value else value for name, value in item["notification_configuration"].items()}
            return {**item, "notification_configuration": shown}
        return item

    # -- writing -------------------------------------------------------------------------------------------------------------

    def create(self, kind: str, given: dict[str, Any]) -> dict[str, Any]:
        fields = API["endpoints"][kind]["write"]
        given = self.writable(kind, given)
        missing = {name: ["This field is required."] for name, field in fields.items() if field.get("required") and name not in given}
        if missing:
            raise Refused(missing)
        defaults = {name: field.get("default") for name, field in fields.items()}
        item = {**dict.fromkeys(API["endpoints"][kind]["read"]), **defaults, **given}
        return self.shown(self.store(kind, self.check(kind, given, item)))

    def store(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        number, self.next_id = self.next_id, self.next_id + 1
        url = f"/api/v2/{kind}/{number}/"
        related = {name: f"{url}{name}/" for name in [*LISTS.get(kind, []), *(["survey_spec"] if kind.endswith("job_templates") else [])]}
        item.update(id=number, type=TYPES.get(kind, kind[:-1]), url=url, related=related, summary_fields={})
        self.objects[kind][number] = item
        return item

    def change(self, kind: str, number: int, given: dict[str, Any]) -> dict[str, Any]:
        item = self.get(kind, number)
        given = self.writable(kind, given)
        if kind == "credentials" and "inputs" in given:
            given["inputs"] = {name: item["inputs"][name] if value == "$encrypted$" else value for name, value in given["inputs"].items()}
        item.update(self.check(kind, given, {**item, **given}))
        return self.shown(item)

    @staticmethod
    def writable(kind: str, given: dict[str, Any]) -> dict[str, Any]:
        """Without what AWX reads over, because it can only be read."""
        read, write = API["endpoints"][kind]["read"], API["endpoints"][kind]["write"]
        given = {name: value for name, value in given.items() if name not in read and name not in IGNORED}
        # "nothing" is no value of a choice or a text, so AWX keeps its own
        return {name: value for name, value in given.items() if value is not None or write.get(name, {}).get("type") not in ("choice", "string")}

    def check(self, kind: str, given: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        """The object ``item``, if AWX would take it with the fields ``given``."""
        fields = API["endpoints"][kind]["write"]
        for name, value in given.items():
            if name not in fields:
                raise Refused({name: [f"{kind} have no such field"]})
            self.check_field(name, fields[name], value)
        if kind == "job_templates" and item["project"]:
            item["organization"] = self.objects["projects"][item["project"]]["organization"]
        unique = UNIQUE.get(kind, ["name"])
        for other in self.objects[kind].values():
            if other["id"] != item.get("id") and all(other[each] == item[each] for each in unique):
                raise Refused({"__all__": [f"One with this {' and '.join(unique)} already exists."]})
        awx_rules.check(kind, item, self.objects, self.surveys, API, PLAYBOOKS)
        return item

    def check_field(self, name: str, field: dict[str, Any], value: Any) -> None:
        if value is None or (value == "" and field["type"] in ("id", "json")):
            return
        expected = PYTHON_TYPES.get(field["type"])
        if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
            raise Refused({name: [f"Not a valid {field['type']}."]})
        if "choices" in field and value not in [choice for choice, _label in field["choices"]]:
            raise Refused({name: [f'"{value}" is not a valid choice.']})
        if len(str(value)) > field.get("max_length", len(str(value))) or (isinstance(value, int) and not field.get("min_value", value) <= value):
            raise Refused({name: ["Too long, or too small."]})
        if field["type"] == "id":
            kinds = UNIFIED if name == "unified_job_template" else (REFERENCES[name],)
            if not any(value in self.objects[kind] for kind in kinds):
                raise Refused({name: [f'Invalid pk "{value}" - object does not exist.']})

    def associate(self, kind: str, number: int, name: str, given: dict[str, Any]) -> None:
        self.get(kind, number)
        if name not in LISTS.get(kind, []):
            raise Refused({"detail": "Not found."}, 404)
        if given.get("id") not in self.objects[REFERENCES[name]]:
            raise Refused({"msg": f"there is no {REFERENCES[name]} {given.get('id')}"})
        linked = self.links.setdefault((kind, number, name), [])
        if given.get("disassociate"):
            linked.remove(given["id"])
        else:
            awx_rules.check_link(name, self.objects, linked, given["id"])
            linked.append(given["id"])

    def approval(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        node = self.get("workflow_job_template_nodes", number)
        if unknown := {*given} - {"name", "description", "timeout"}:
            raise Refused({sorted(unknown)[0]: ["no such field"]})
        made = self.store("workflow_approval_templates", {"name": None, "description": "", "timeout": 0, "organization": None, **given})
        node["unified_job_template"] = made["id"]
        node["related"]["unified_job_template"] = made["url"]
        return made


class Handler(BaseHTTPRequestHandler):
    """HTTP to calls of :class:`AWX`."""

    awx: AWX
    lock = threading.Lock()

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def do_PATCH(self) -> None:
        self.serve()

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.lock:
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refused({"detail": "Authentication credentials were not provided."}, 401)
                status, answer = self.route(urlsplit(self.path), json.loads(body) if body else {})
            except Refused as refused:
                status, answer = refused.status, refused.answer
        content = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", API["version"])
        self.end_headers()
        self.wfile.write(content)

    def route(self, url: Any, given: dict[str, Any]) -> tuple[int, Any]:
        match = re.fullmatch(r"/api/v2/(\w+)/(?:(\d+)/)?(?:(\w+)/)?", url.path)
        if not match:
            raise Refused({"detail": "Not found."}, 404)
        kind, number, rest = match[1], int(match[2] or 0), match[3]
        awx = self.awx
        if self.command != "GET":
            awx.writes.append((self.command, url.path))
        if self.command == "PATCH" and number and not rest:
            return 200, awx.change(kind, number, given)
        if self.command == "POST" and not number:
            awx.find(kind)
            return 201, awx.create(kind, given)
        if rest == "survey_spec" and kind.endswith("job_templates"):
            awx.get(kind, number)
            if self.command == "POST":
                awx_rules.check_survey(given)
                awx.surveys[number] = given
            return 200, awx.surveys.get(number, {})
        if rest == "create_approval_template" and self.command == "POST":
            return 201, awx.approval(number, given)
        if rest and self.command == "POST":
            awx.associate(kind, number, rest, given)
            return 204, None
        if rest:
            if rest not in LISTS.get(kind, []):
                raise Refused({"detail": "Not found."}, 404)
            found = [awx.shown(awx.get(REFERENCES[rest], each)) for each in awx.links.get((kind, number, rest), [])]
        elif number:
            return 200, awx.shown(awx.get(kind, number))
        else:
            found = awx.list(kind, dict(parse_qsl(url.query)))
        return 200, {"count": len(found), "next": None, "previous": None, "results": found}

    def log_message(self, *_arguments: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def awx_server() -> Iterator[tuple[str, AWX]]:
    """The server's address and its objects."""
    awx = AWX()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("AWXHandler", (Handler,), {"awx": awx}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", awx
    finally:
        server.shutdown()
        server.server_close()
