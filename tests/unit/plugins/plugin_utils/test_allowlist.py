# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may install what: by a list, a file or the platform, and never by something that is no list."""
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import allowlist, platform_api
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.platform_api import PlatformOptions
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache
from scripted_platform import Server, running

TOKEN = "tok-canary-1234"


@pytest.fixture(name="server")
def fixture_server() -> t.Iterator[Server]:
    with running() as server:
        yield server


def _ask(server: Server, tmp_path: Path) -> allowlist.Allowlist:
    options = PlatformOptions.from_parameters({"platform_url": server.url, "platform_token": TOKEN, "platform_org_id": "org-1"})
    return allowlist.from_platform(options, RunCache(tmp_path / "cache"))


def test_a_list() -> None:
    allowlist.from_names([]).require("ecc")
    allowlist.from_names(["ecc"]).require("ecc")
    with pytest.raises(InvalidInputError, match="plugin ecc is not on the allowlist: ask"):
        allowlist.from_names(["ecc2"]).require("ecc")
    with pytest.raises(InvalidInputError, match="there are no patterns"):
        allowlist.from_names(["*"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("- ecc\n- careful-bash\n", {"ecc", "careful-bash"}), ('["ecc"]', {"ecc"}), ("[]", None), ("plugins: [ecc]", {"ecc"}),
        ('{"org_id": "o", "plugins": [{"plugin_name": "ecc", "enabled_by": "x"}], "allow_all": false}', {"ecc"}),
        ('{"plugins": [], "allow_all": false}', None), ('{"plugins": null, "allow_all": true}', None),
    ],
)
def test_a_file(tmp_path: Path, text: str, names: set[str] | None) -> None:
    path = tmp_path / "allowed.yml"
    path.write_text(text, encoding="utf-8")
    allowed = allowlist.from_file(path)
    assert allowed.names == names
    if names:
        with pytest.raises(InvalidInputError, match=f"plugin other is not on the allowlist {path}"):
            allowed.require("other")


@pytest.mark.parametrize(
    "text",
    [
        "", "ecc", "42", "[1]", "- ecc: yes", "{}", "plugins: ecc", "plugins: [{name: ecc}]", "allow_all: 'no'", "plugins: null", "[ecc", "- 'a*'",
        "plugins: ['../x']",
    ],
)
def test_a_file_that_is_no_list_allows_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "allowed.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=f"allowlist {path}"):
        allowlist.from_file(path)


def test_a_file_that_cannot_be_read_allows_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read: Is a directory; nothing is installed without it"):
        allowlist.from_file(tmp_path)
    (tmp_path / "big").write_bytes(b"- ecc\n" * 200_000)
    with pytest.raises(InvalidInputError, match="is larger than"):
        allowlist.from_file(tmp_path / "big")


def test_the_platform_is_asked_once_per_run(server: Server, tmp_path: Path) -> None:
    server.will(200, {"org_id": "org-1", "plugins": [{"plugin_name": "ecc"}], "allow_all": False})
    for _host in range(3):
        allowed = _ask(server, tmp_path)
        allowed.require("ecc")
        with pytest.raises(InvalidInputError, match="plugin other is not on the allowlist of organisation org-1"):
            allowed.require("other")
    assert len(server.requests) == 1
    assert not [path for path in (tmp_path / "cache").rglob("*") if TOKEN in path.name or (path.is_file() and TOKEN in path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("answer", [{"plugins": [], "allow_all": False}, {"plugins": [{"plugin_name": "x"}], "allow_all": True}])
def test_what_the_platform_takes_for_everything(server: Server, tmp_path: Path, answer: dict[str, t.Any]) -> None:
    server.will(200, answer)
    _ask(server, tmp_path).require("ecc")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {}), (200, {"plugins": None, "allow_all": False}), (200, {"plugins": [{"name": "ecc"}]}), (200, {"plugins": [], "allow_all": "true"}), (200, []),
        (200, b"<html>"), (200, {"org_id": "other", "plugins": []}), (200, json.dumps({"plugins": ["x" * 100] * 20000}).encode()), (401, {"error": "no"}),
        (403, None), (404, None), (404, {"error": "org"}), (302, None), (500, {"error": TOKEN}),
    ],
)
def test_everything_else_allows_nothing(server: Server, tmp_path: Path, status: int, body: t.Any) -> None:
    server.will(status, body)
    with pytest.raises(WorkspaceError) as caught:
        _ask(server, tmp_path)
    assert TOKEN not in str(caught.value)


def test_a_platform_that_is_not_there_allows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_api, "MAX_ATTEMPTS", 1)
    with running() as server:
        pass
    with pytest.raises(WorkspaceError, match="no answer from the platform"):
        _ask(server, tmp_path)
