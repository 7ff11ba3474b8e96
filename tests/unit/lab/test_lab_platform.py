# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated platform API answers as the platform's public source does."""
from __future__ import annotations

import io
import tarfile
import time
from typing import Any

import requests
from conftest import RunningLab
from lab.plugin_listing import plugins_in

ALPHA, OUTSIDE = "a1fa0000-1111-4aaa-8bbb-000000000001", "0e7e0000-7777-4aaa-8bbb-000000000007"
HEADERS = {"Authorization": "Bearer platform-token", "X-Molecule-Org-Id": "org-1"}


def call(lab: RunningLab, method: str, path: str, headers: dict[str, str] | None = None) -> requests.Response:
    return requests.request(method, lab.addresses["platform_url"] + path, headers=HEADERS if headers is None else headers, timeout=10)


def test_organisation_comes_before_token(lab: RunningLab) -> None:
    for wrong in ({"Authorization": HEADERS["Authorization"]}, {**HEADERS, "X-Molecule-Org-Id": "other"}):
        answer = call(lab, "GET", "/workspaces", wrong)
        assert (answer.status_code, answer.content) == (404, b"")
    for wrong in ({"X-Molecule-Org-Id": "org-1"}, {**HEADERS, "Authorization": "Bearer other"}):
        assert call(lab, "GET", "/workspaces", wrong).status_code == 401


def test_an_organisations_allowlist_without_entries_allows_everything(lab: RunningLab) -> None:
    assert call(lab, "GET", "/orgs/org-1/plugins/allowlist").json() == {"org_id": "org-1", "plugins": [], "allow_all": True}
    lab.world["platform"]["plugin_allowlist"] = ["ecc"]
    lab.write_world()
    assert call(lab, "GET", "/orgs/org-1/plugins/allowlist").json() == {"org_id": "org-1", "plugins": [{"plugin_name": "ecc"}], "allow_all": False}
    assert call(lab, "GET", "/orgs/other/plugins/allowlist").status_code == 404


def test_workspaces_are_listed_without_removed_ones_and_without_instance_ids(lab: RunningLab) -> None:
    listed = call(lab, "GET", "/workspaces").json()
    assert [each["name"] for each in listed] == ["alpha", "outside"]
    assert set(listed[0]) == {"id", "name", "tier", "status", "url", "parent_id", "runtime", "role", "active_tasks"}
    assert call(lab, "GET", f"/workspaces/{ALPHA}").json() == listed[0]
    assert call(lab, "GET", "/workspaces/alpha").status_code == 400
    assert call(lab, "GET", f"/workspaces/{ALPHA[:-1]}f").status_code == 404


def test_a_restart_replaces_the_workspace_and_shows_its_progress(lab: RunningLab) -> None:
    answer = call(lab, "POST", f"/workspaces/{ALPHA}/restart")
    assert (answer.status_code, answer.json()["status"]) == (200, "provisioning")
    assert call(lab, "GET", f"/workspaces/{ALPHA}").json()["status"] == "provisioning"
    deadline = time.monotonic() + 5
    while call(lab, "GET", f"/workspaces/{ALPHA}").json()["status"] != "online" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert call(lab, "GET", f"/workspaces/{ALPHA}").json()["status"] == "online"
    assert lab.restarted == ["alpha"]
    assert lab.state.counters.as_dict()["by_id"][ALPHA] == {"platform_restarts": 1}


def test_external_workspaces_are_not_restarted_and_paused_ancestors_forbid_it(lab: RunningLab) -> None:
    assert call(lab, "POST", f"/workspaces/{OUTSIDE}/restart").status_code == 200
    lab.state.faults.add({"name": "platform_ancestor_paused", "count": 1})
    assert call(lab, "POST", f"/workspaces/{ALPHA}/restart").status_code == 409
    lab.world["workspaces"][0]["parent_id"] = OUTSIDE
    lab.world["workspaces"][1]["status"] = "paused"
    lab.write_world()
    assert call(lab, "POST", f"/workspaces/{ALPHA}/restart").status_code == 409
    assert lab.restarted == []


def test_rate_limit_and_unavailability(lab: RunningLab) -> None:
    lab.state.faults.add({"name": "platform_rate_limit", "count": 1, "retry_after": 7})
    lab.state.faults.add({"name": "platform_unavailable", "count": 1})
    limited, unavailable = call(lab, "GET", "/workspaces"), call(lab, "GET", "/workspaces")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    assert (unavailable.status_code, unavailable.json()["code"]) == (503, "platform_unavailable")
    assert call(lab, "GET", "/workspaces").status_code == 200


def test_plugins_of_a_workspace_that_cannot_be_looked_at_are_an_empty_list(lab: RunningLab) -> None:
    assert call(lab, "GET", f"/workspaces/{ALPHA}/plugins").json() == []


def test_plugin_records_come_from_the_directories() -> None:
    def entry(tar: tarfile.TarFile, name: str, content: str | None, **more: Any) -> None:
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
        member.size = len((content or "").encode())
        tar.addfile(member, io.BytesIO((content or "").encode()))

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("plugins", None), ("plugins/b", None), ("plugins/b/plugin.yaml", "name: other\nversion: 2\nruntimes: [claude_code]\n"),
                              ("plugins/a", None), ("plugins/a/plugin.yaml", "broken: ["), ("plugins/file", "x"), ("plugins/b/skills", None)):
            entry(tar, name, content)
    first, second = plugins_in(buffer.getvalue(), "claude-code")
    assert first == {"name": "a", "version": "", "description": "", "author": "", "tags": None, "skills": None, "runtimes": None, "supported_on_runtime": True}
    assert (second["name"], second["version"], second["supported_on_runtime"]) == ("b", "2", True)
    assert plugins_in(buffer.getvalue(), "hermes")[1]["supported_on_runtime"] is False
