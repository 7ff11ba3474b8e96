# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's API over a real HTTP server in this process."""
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.platform_api import MAX_ATTEMPTS, Platform, PlatformError, PlatformOptions
from scripted_platform import Server, running

WORKSPACE = "7f3c2a10-0000-4000-8000-000000000001"
TOKEN = "tok-very-secret"


@pytest.fixture
def server() -> t.Iterator[Server]:
    with running() as scripted:
        yield scripted


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def platform(server: Server, time: Time, **more: t.Any) -> Platform:
    options = PlatformOptions.from_parameters({"platform_url": server.url + "/", "platform_token": TOKEN, **more})
    return Platform(options, sleep=time.sleep, clock=time.clock)


def test_restart_sends_token_and_organisation(server: Server, time: Time) -> None:
    server.will(200, {"status": "provisioning"})
    platform(server, time, platform_org_id="org-1").restart(WORKSPACE)
    [(method, path, headers)] = server.requests
    assert (method, path) == ("POST", f"/workspaces/{WORKSPACE}/restart")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-molecule-org-id"] == "org-1"


def test_waits_through_known_and_unknown_states_until_online(server: Server, time: Time) -> None:
    for status in ("provisioning", "offline", "degraded", "warming-up", "online"):
        server.will(200, {"status": status})
    assert platform(server, time).wait_until_online(WORKSPACE, timeout=60) == 8.0


@pytest.mark.parametrize(
    ("answer", "pauses"),
    [
        ((429, {"error": "slow down"}, {"Retry_After": "7"}), [7.0, 7.0]),
        ((429, None, {"Retry_After": "9999"}), [60.0, 60.0]),
        ((429, None, {}), [1.0, 2.0]),
        ((503, {"code": "platform_unavailable"}, {}), [1.0, 2.0]),
    ],
)
def test_tries_again_when_the_platform_asks_for_it(server: Server, time: Time, answer: t.Any, pauses: list[float]) -> None:
    status, body, headers = answer
    server.will(status, body, **headers).will(status, body, **headers).will(200, {"status": "provisioning"})
    platform(server, time).restart(WORKSPACE)
    assert time.pauses == pauses


@pytest.mark.parametrize(
    ("status", "body", "parts", "requests"),
    [
        (429, {"error": "slow"}, ["HTTP 429", "rate limit", "throttle"], MAX_ATTEMPTS),
        (503, {"code": "platform_unavailable"}, ["HTTP 503", "try again later"], MAX_ATTEMPTS),
        (503, {"error": "no backend"}, ["HTTP 503", "no backend"], 1),
        (500, b"<html>oops", ["HTTP 500"], 1),
        (404, None, ["404 without a body", "platform_org_id is not set"], 1),
        (404, {"error": "workspace not found"}, ["does not know", "workspace_id"], 1),
        (409, {"error": "ancestor paused"}, ["a workspace above it is paused"], 1),
        (400, {"error": "bad id"}, ["HTTP 400", "bad id"], 1),
        (401, {"error": f"bad token {TOKEN}\n"}, ["platform_token", "********"], 1),
        (403, b"", ["platform_token"], 1),
        (302, None, ["redirects", "platform_url"], 1),
        (200, b"<html>a portal</html>", ["not the platform's API"], 1),
        (200, [1], ["not the platform's API"], 1),
    ],
)
def test_every_error_is_one_sentence_without_the_token(
    server: Server, time: Time, status: int, body: t.Any, parts: list[str], requests: int
) -> None:
    server.will(status, body, **({"Location": "http://127.0.0.1:9/"} if status == 302 else {}))
    with pytest.raises(PlatformError) as caught:
        platform(server, time).restart(WORKSPACE)
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert TOKEN not in message and TOKEN not in repr(caught.value)
    assert "\n" not in message
    assert len(server.requests) == requests


def test_an_empty_404_with_an_organisation_says_that_it_is_the_wrong_one(server: Server, time: Time) -> None:
    server.will(404)
    with pytest.raises(PlatformError, match="not the workspace's"):
        platform(server, time, platform_org_id="org-2").workspace(WORKSPACE)


@pytest.mark.parametrize(
    ("workspace", "parts"),
    [
        ({"status": "paused"}, ["paused", "resume"]),
        ({"status": "hibernated"}, ["hibernated", "wake"]),
        ({"status": "removed"}, ["removed"]),
        ({"status": "online", "runtime": "external"}, ["external", "where it runs"]),
    ],
)
def test_a_workspace_that_the_platform_would_skip_is_refused(server: Server, time: Time, workspace: t.Any, parts: list[str]) -> None:
    server.will(200, workspace)
    with pytest.raises(PlatformError) as caught:
        platform(server, time).ensure_restartable(WORKSPACE)
    assert all(part in str(caught.value) for part in parts)


@pytest.mark.parametrize(("status", "part"), [("failed", "failed"), ("paused", "became paused"), ("provisioning", "still provisioning 10 s")])
def test_a_restart_that_does_not_come_online(server: Server, time: Time, status: str, part: str) -> None:
    server.will(200, {"status": status})
    with pytest.raises(PlatformError, match=part):
        platform(server, time).wait_until_online(WORKSPACE, timeout=10)


@pytest.mark.parametrize(("call", "pauses"), [("workspace", MAX_ATTEMPTS - 1), ("restart", 0)])
def test_no_answer_repeats_only_what_has_no_effect(server: Server, time: Time, call: str, pauses: int) -> None:
    client = Platform(PlatformOptions(url="http://127.0.0.1:9", token=TOKEN), sleep=time.sleep, clock=time.clock)
    with pytest.raises(PlatformError, match="no answer from the platform") as caught:
        getattr(client, call)(WORKSPACE)
    assert TOKEN not in str(caught.value)
    assert len(time.pauses) == pauses


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"platform_url": "https://a.example"},
        {"platform_token": TOKEN},
        {"platform_url": "ftp://a.example", "platform_token": TOKEN},
        {"platform_url": "https://user:word@a.example", "platform_token": TOKEN},
        {"platform_url": "https://a.example/?x=1", "platform_token": TOKEN},
        {"platform_url": "https://[::1", "platform_token": TOKEN},
        {"platform_url": "https://a.example", "platform_token": f"{TOKEN}\n"},
        {"platform_url": "https://a.example", "platform_token": TOKEN, "platform_org_id": "a\r\nX-Evil: 1"},
    ],
)
def test_unusable_options_are_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        PlatformOptions.from_parameters(parameters)
    assert TOKEN not in str(caught.value) and "word" not in str(caught.value)


def test_the_token_is_not_in_the_options_representation() -> None:
    assert TOKEN not in repr(PlatformOptions(url="http://a.example", token=TOKEN))


def test_a_workspace_id_that_is_not_one_reaches_no_server(server: Server, time: Time) -> None:
    with pytest.raises(InvalidInputError):
        platform(server, time).restart("../admin")
    assert server.requests == []


def test_the_allowlist_is_asked_for_by_the_organisations_id(server: Server, time: Time) -> None:
    server.will(200, {"plugins": [], "allow_all": True})
    assert platform(server, time, platform_org_id="org-1").plugin_allowlist() == {"plugins": [], "allow_all": True}
    assert [request[:2] for request in server.requests] == [("GET", "/orgs/org-1/plugins/allowlist")]


@pytest.mark.parametrize("org_id", [None, "../x", "a/b", "a?b"])
def test_an_allowlist_without_a_usable_organisation_is_not_asked_for(server: Server, time: Time, org_id: str | None) -> None:
    with pytest.raises(InvalidInputError, match="platform_org_id"):
        platform(server, time, platform_org_id=org_id).plugin_allowlist()
    assert server.requests == []


def test_an_unknown_organisation_is_one_sentence(server: Server, time: Time) -> None:
    server.will(404, {"error": "not found"})
    with pytest.raises(PlatformError, match="not look up the allowlist of organisation org-1 .HTTP 404.*does not know this organisation: check"):
        platform(server, time, platform_org_id="org-1").plugin_allowlist()
