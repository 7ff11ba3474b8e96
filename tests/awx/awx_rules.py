# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX checks beyond the type of a field.  Each rule was seen in AWX's behaviour; ``test_awx_rules.py`` can be run against an AWX, too."""
from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.sandbox

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
INPUT_KEYS = {"type", "format", "choices", "id", "label", "help_text", "multiline", "secret", "ask_at_runtime", "default"}
RESERVED_ENVIRONMENT = {"VIRTUAL_ENV", "PATH", "PYTHONPATH", "JOB_ID", "INVENTORY_ID", "INVENTORY_UPDATE_ID", "REST_API_URL", "AWX_HOST", "CACHE"}
SURVEY_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,), "textarea": (str,), "password": (str,), "multiplechoice": (str,), "multiselect": (str,), "integer": (int,), "float": (int, float)}


class Refused(Exception):
    """The answer to a request that AWX would not take."""

    def __init__(self, answer: dict[str, Any], status: int = 400) -> None:
        super().__init__(str(answer))
        self.answer = answer
        self.status = status


def check(
    kind: str, item: dict[str, Any], objects: Mapping[str, Any], surveys: Mapping[int, Any], api: Mapping[str, Any], playbooks: Sequence[str]
) -> None:
    """Raise :class:`Refused` for an object that AWX would not take."""
    if kind == "credential_types":
        check_credential_type(item)
    elif kind == "credentials":
        check_inputs(item, objects["credential_types"][item["credential_type"]])
    elif kind == "notification_templates":
        check_notification(item, api["notification_configurations"])
    elif kind == "job_templates":
        check_job_template(item, objects, playbooks)
    elif kind == "inventory_sources" and item["source"] == "scm" and not item["source_project"]:
        raise Refused({"source_project": ["Project required for scm type sources."]})
    elif kind == "schedules":
        check_rule(item["rrule"])
        questions = surveys.get(item["unified_job_template"], {}).get("spec", [])
        missing = [question["variable"] for question in questions if question["required"] and question["variable"] not in (item["extra_data"] or {})]
        if missing:
            raise Refused({"variables_needed_to_start": [f"'{name}' value missing" for name in missing]})
    elif kind == "workflow_job_template_nodes" and item.get("identifier") in (None, ""):
        raise Refused({"identifier": ["an identifier is needed to find the node again"]})


def check_job_template(item: dict[str, Any], objects: Mapping[str, Any], playbooks: Sequence[str]) -> None:
    if not item["project"]:
        raise Refused({"project": ["Job Templates must have a project assigned."]})
    if item["playbook"] not in playbooks:
        raise Refused({"playbook": ["Playbook not found for project."]})
    if not item["inventory"] and not item["ask_inventory_on_launch"]:
        raise Refused({"inventory": ["Job Template must have an inventory or allow prompting for it."]})
    try:
        variables = json.loads(item["extra_vars"] or "{}")
    except ValueError:
        variables = None
    if not isinstance(variables, dict):
        raise Refused({"extra_vars": ["Cannot parse as JSON or YAML."]})


def secret_inputs(credential_type: Mapping[str, Any]) -> set[str]:
    return {field["id"] for field in credential_type["inputs"].get("fields", []) if field.get("secret")}


def check_inputs(item: dict[str, Any], credential_type: Mapping[str, Any]) -> None:
    fields = {field["id"]: field for field in credential_type["inputs"].get("fields", [])}
    for name, value in (item["inputs"] or {}).items():
        if name not in fields:
            raise Refused({"inputs": [f"Additional properties are not allowed ('{name}' was unexpected)"]})
        wanted = bool if fields[name].get("type") == "boolean" else str
        if not isinstance(value, wanted):
            raise Refused({"inputs": {name: [f"not a {wanted.__name__}"]}})
        if "choices" in fields[name] and value not in fields[name]["choices"]:
            raise Refused({"inputs": {name: [f"{value} is not one of the choices"]}})
        if fields[name].get("format") == "url" and not re.match(r"[a-z]+://[^/]+", value):
            raise Refused({"inputs": {name: ["no valid URL"]}})


def check_credential_type(item: dict[str, Any]) -> None:
    """Inputs and injectors: their form, reserved names, and templates that name nothing but inputs and files."""
    inputs, injectors = item["inputs"] or {}, item["injectors"] or {}
    if {*inputs} - {"fields", "required"} or {*injectors} - {"file", "env", "extra_vars"}:
        raise Refused({"inputs": ["Additional properties are not allowed"]})
    ids = [field.get("id") for field in inputs.get("fields", [])]
    for field in inputs.get("fields", []):
        text = field.setdefault("type", "string") == "string"
        if {*field} - INPUT_KEYS or not field.get("label") or not NAME.fullmatch(field.get("id") or "") or field["id"] == "tower":
            raise Refused({"inputs": [f"{field} is no input field"]})
        if field["type"] not in ("string", "boolean") or field.get("format", "url") not in ("url", "ssh_private_key"):
            raise Refused({"inputs": [f"{field['id']}: no such type or format"]})
        if not text and {*field} & {"choices", "multiline", "format", "secret"}:
            raise Refused({"inputs": [f"{field['id']}: only for strings"]})
        if "default" in field and not isinstance(field["default"], str if text else bool):
            raise Refused({"inputs": [f"{field['default']} is not a {field['type']}"]})
    if len({*ids}) < len(ids) or any(not isinstance(name, str) for name in inputs.get("required", [])):
        raise Refused({"inputs": ["field IDs must be unique"]})
    files = [name.partition(".")[2] for name in injectors.get("file", {})]
    if any(not re.fullmatch(r"template(\.[a-zA-Z_]\w*)?", name) for name in injectors.get("file", {})) or ("" in files and len(files) > 1):
        raise Refused({"injectors": ["file names are template, or template.NAME for several"]})
    for name, value in injectors.get("env", {}).items():
        if name.startswith("ANSIBLE_") or name in RESERVED_ENVIRONMENT or not NAME.fullmatch(name) or not str(value).isascii():
            raise Refused({"injectors": [f"Environment variable {name} is not allowed to be used in credentials."]})
    namespace = {**dict.fromkeys(ids, "EXAMPLE"), "tower": {"filename": "EXAMPLE" if "" in files else dict.fromkeys(files, "EXAMPLE")}}
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    for kind in ("file", "env", "extra_vars"):
        for name, template in injectors.get(kind, {}).items():
            try:
                environment.from_string(template).render(namespace)
            except jinja2.TemplateError as error:
                raise Refused({"injectors": [f"{name} uses an undefined field ({error})"]}) from error


def check_notification(item: dict[str, Any], kinds: Mapping[str, Any]) -> None:
    wanted, given = kinds[item["notification_type"]], item["notification_configuration"] or {}
    types = {"int": int, "bool": bool, "list": list, "object": dict, "string": str, "password": str}
    missing = [name for name, field in wanted.items() if field["required"] and name not in given]
    if missing:
        raise Refused({"notification_configuration": [f"Missing required fields for Notification Configuration: {', '.join(missing)}."]})
    for name, value in given.items():
        if name in wanted and not isinstance(value, types[wanted[name]["type"]]):
            raise Refused({"notification_configuration": [f"{name}: of a wrong type"]})
    for event, message in (item["messages"] or {}).items():
        known = event in ("started", "success", "error") and not {*(message or {})} - {"message", "body"}
        if not known and event != "workflow_approval":
            raise Refused({"messages": [f"{event} is no event"]})


def check_rule(rule: str) -> None:
    if not re.fullmatch(r"DTSTART(;TZID=[\w/+-]+:\d{8}T\d{6}|:\d{8}T\d{6}Z) RRULE:\S+", rule) or "FREQ=" not in rule:
        raise Refused({"rrule": ["Valid DTSTART and RRULE required in rrule."]})
    parts = dict(part.partition("=")[::2] for part in rule.partition("RRULE:")[2].split(";"))
    if "INTERVAL" not in parts or parts["FREQ"] == "SECONDLY" or ("COUNT" in parts and "UNTIL" in parts):
        raise Refused({"rrule": ["INTERVAL required in rrule; SECONDLY is not supported; not both COUNT and UNTIL."]})


def check_link(name: str, objects: Mapping[str, Any], linked: Sequence[int], new: int) -> None:
    """A job template takes one credential of each type."""
    if name == "credentials" and objects["credentials"][new]["credential_type"] in {objects["credentials"][each]["credential_type"] for each in linked}:
        raise Refused({"error": "Cannot assign multiple credentials of one type."})


def check_survey(spec: dict[str, Any]) -> None:
    """Raise :class:`Refused` for a survey that AWX would not take."""
    for name, kind in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(spec.get(name), kind):
            raise Refused({"error": f"Field '{name}' is missing from survey spec, or of a wrong type."})
    if not spec["spec"]:
        raise Refused({"error": "'spec' doesn't contain any items."})
    variables: set[str] = set()
    for number, question in enumerate(spec["spec"]):
        for name, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
            if not isinstance(question.get(name), kind):
                raise Refused({"error": f"'{name}' missing from survey question {number}, or of a wrong type."})
        if question["variable"] in variables:
            raise Refused({"error": f"'variable' '{question['variable']}' duplicated in survey question {number}."})
        variables.add(question["variable"])
        check_question(number, question)


def check_question(number: int, question: dict[str, Any]) -> None:
    kind, default = question["type"], question.get("default", "")
    if kind not in SURVEY_TYPES:
        raise Refused({"error": f"'{kind}' in survey question {number} is not one of the allowed question types."})
    if default != "" and not isinstance(default, SURVEY_TYPES[kind]):
        raise Refused({"error": f"Default value {default} in survey question {number} is of a wrong type."})
    if any(not isinstance(question.get(limit), (int, type(None))) for limit in ("min", "max")):
        raise Refused({"error": f"The limits in survey question {number} expected to be integer."})
    if kind in ("multiplechoice", "multiselect"):
        if "choices" not in question:
            raise Refused({"error": f"Survey question {number} of type {kind} must specify choices."})
        defaults = str(default).splitlines()
        if (kind == "multiplechoice" and len(defaults) > 1) or any(each not in question["choices"] for each in defaults):
            raise Refused({"error": "Default choice must be answered from the choices listed."})
    if str(default).startswith("$encrypted$"):
        raise Refused({"error": "$encrypted$ is a reserved keyword."})
