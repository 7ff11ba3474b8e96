# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server refuses, and what it takes.  ``AWX_TEST_URL`` and ``AWX_TEST_TOKEN`` ask an AWX instead, which must say the same."""
from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from awx_server import TOKEN, awx_server

Post = Callable[[str, dict[str, Any]], tuple[int, Any]]
TEXT = {"id": "token", "label": "Token", "type": "string"}
QUESTION = {"type": "text", "question_name": "Q", "variable": "q", "required": False, "default": ""}


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    def send_to(url: str, token: str) -> Post:
        def send(path: str, body: dict[str, Any]) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{url}/api/v2/{path}/", json.dumps(body).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.loads(answer.read() or "{}")
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read() or "{}")

        return send

    if os.environ.get("AWX_TEST_URL"):
        yield send_to(os.environ["AWX_TEST_URL"], os.environ["AWX_TEST_TOKEN"])
        return
    with awx_server() as (url, _awx):
        yield send_to(url, TOKEN)


@pytest.fixture(scope="module")
def organization(post: Post) -> int:
    status, made = post("organizations", {"name": f"rules {uuid.uuid4()}"})
    assert status == 201
    return int(made["id"])


@pytest.mark.parametrize(("taken", "given"), [
    (True, {"inputs": {"fields": [TEXT]}, "injectors": {"env": {"MOLECULE_API_TOKEN": "{{ token }}"}}}),
    (True, {"inputs": {"fields": [TEXT]}, "injectors": {"file": {"template.aws": "{{ token }}"}, "env": {"AWS_CONFIG_FILE": "{{ tower.filename.aws }}"}}}),
    (False, {"inputs": {"fields": [TEXT]}, "injectors": {"env": {"ANSIBLE_CALLBACKS_ENABLED": "drift"}}}),
    (False, {"inputs": {"fields": [TEXT]}, "injectors": {"env": {"PYTHONPATH": "/x"}}}),
    (False, {"inputs": {"fields": [TEXT]}, "injectors": {"env": {"TOKEN": "{{ other }}"}}}),
    (False, {"inputs": {"fields": [TEXT]}, "injectors": {"env": {"FILE": "{{ tower.filename.aws }}"}}}),
    (False, {"inputs": {"fields": [TEXT]}, "injectors": {"env": {"TOKEN": "{{ token"}}}),
    (False, {"inputs": {"fields": [TEXT]}, "injectors": {"file": {"template": "a", "template.b": "b"}}}),
    (False, {"inputs": {"fields": [{**TEXT, "colour": "red"}]}}),
    (False, {"inputs": {"fields": [{**TEXT, "type": "number"}]}}),
    (False, {"inputs": {"fields": [{**TEXT, "type": "boolean", "secret": True}]}}),
    (False, {"inputs": {"fields": [TEXT, TEXT]}}),
    (False, {"inputs": {"fields": [{"id": "token"}]}}),
    (False, {"kind": "vault"}),
])  # fmt: skip
def test_credential_types(post: Post, taken: bool, given: dict[str, Any]) -> None:
    status, answer = post("credential_types", {"name": str(uuid.uuid4()), "kind": "cloud", "inputs": {}, "injectors": {}, **given})
    assert status == (201 if taken else 400), answer


@pytest.mark.parametrize(("taken", "given"), [
    (True, {}),
    (False, {"default": "x", "type": "integer"}),
    (False, {"type": "colour"}),
    (False, {"required": "yes"}),
    (False, {"min": "1"}),
    (False, {"type": "multiplechoice"}),
    (False, {"type": "multiplechoice", "choices": ["a", "b"], "default": "c"}),
    (False, {"type": "multiplechoice", "choices": ["a", "b"], "default": "a\nb"}),
    (True, {"type": "multiselect", "choices": ["a", "b"], "default": "a\nb"}),
    (False, {"default": "$encrypted$"}),
])  # fmt: skip
def test_surveys(post: Post, organization: int, taken: bool, given: dict[str, Any]) -> None:
    _status, workflow = post("workflow_job_templates", {"name": str(uuid.uuid4()), "organization": organization})
    status, answer = post(f"workflow_job_templates/{workflow['id']}/survey_spec", {"name": "", "description": "", "spec": [{**QUESTION, **given}]})
    assert status == (200 if taken else 400), answer
    status, answer = post(f"workflow_job_templates/{workflow['id']}/survey_spec", {"name": "", "description": "", "spec": []})
    assert status == 400, answer


def test_required_fields_choices_and_references(post: Post, organization: int) -> None:
    refused: list[tuple[str, dict[str, Any]]] = [
        ("projects", {"organization": organization}),
        ("projects", {"name": "p", "organization": 999999}),
        ("projects", {"name": "p", "organization": organization, "scm_type": "cvs"}),
        ("inventories", {"name": "i"}),
        ("inventory_sources", {"name": "s", "source": "scm"}),
        ("execution_environments", {"name": "e"}),
        ("job_templates", {"name": "j", "inventory": 999999}),
        ("notification_templates", {"name": "n", "organization": organization, "notification_type": "slack", "notification_configuration": {"channels": []}}),
        ("notification_templates", {"name": "n", "organization": organization, "notification_type": "pigeon", "notification_configuration": {}}),
        ("workflow_job_template_nodes", {"identifier": "x"}),
    ]  # fmt: skip
    for path, body in refused:
        status, answer = post(path, body)
        assert status == 400, (path, body, answer)


@pytest.mark.parametrize(("taken", "rule"), [
    (True, "DTSTART;TZID=UTC:20260101T020000 RRULE:FREQ=DAILY;INTERVAL=1"),
    (True, "DTSTART:20260101T020000Z RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO"),
    (False, "RRULE:FREQ=DAILY;INTERVAL=1"),
    (False, "DTSTART;TZID=UTC:20260101T020000 RRULE:FREQ=DAILY"),
    (False, "DTSTART;TZID=UTC:20260101T020000 RRULE:FREQ=SECONDLY;INTERVAL=1"),
    (False, "every night"),
])  # fmt: skip
def test_schedules(post: Post, organization: int, taken: bool, rule: str) -> None:
    _status, workflow = post("workflow_job_templates", {"name": str(uuid.uuid4()), "organization": organization})
    status, answer = post("schedules", {"name": str(uuid.uuid4()), "unified_job_template": workflow["id"], "rrule": rule})
    assert status == (201 if taken else 400), answer


def test_a_required_answer_is_required_of_a_schedule(post: Post, organization: int) -> None:
    _status, workflow = post("workflow_job_templates", {"name": str(uuid.uuid4()), "organization": organization, "survey_enabled": True})
    spec = [{**QUESTION, "type": "multiplechoice", "choices": ["a", "b"], "default": "a", "required": True}]
    assert post(f"workflow_job_templates/{workflow['id']}/survey_spec", {"name": "", "description": "", "spec": spec})[0] == 200
    schedule = {"name": str(uuid.uuid4()), "unified_job_template": workflow["id"], "rrule": "DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"}
    assert post("schedules", schedule)[0] == 400
    assert post("schedules", {**schedule, "extra_data": {"q": "a"}})[0] == 201
