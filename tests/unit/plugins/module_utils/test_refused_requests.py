# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are no good, and workspaces in which an agent has prepared a trap, are refused before anything is touched."""
from __future__ import annotations

import os

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from plugin_samples import OWNER, Workspace, contents

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def everything(workspace: Workspace):
    return contents(workspace.config)


@pytest.mark.parametrize("name", ["plugins", ".molecule_ai"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_our_directories_must_be_real_ones(workspace, name, kind):
    elsewhere = workspace.directory / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if kind == "link":
        (workspace.config / name).symlink_to(elsewhere)
    else:
        (workspace.config / name).write_bytes(b"x")
    for operation, fields in (("inspect", {"plugins": []}), ("apply", {"plugins": []}), ("pending_restarts", {}), ("confirm_restart", {"install_ids": {}})):
        with pytest.raises(WorkspaceError, match=f"{name} is a link or a file, not a directory"):
            workspace.handle(operation, **fields)
    assert os.listdir(elsewhere) == []


def test_a_link_as_config_dir_is_refused(workspace, tmp_path):
    (tmp_path / "link").symlink_to(workspace.config)
    with pytest.raises(WorkspaceError, match="is not a directory itself"):
        workspace.handle("inspect", plugins=[], config_dir=str(tmp_path / "link"))


@as_root
def test_a_state_directory_of_somebody_else_is_not_trusted(workspace):
    workspace.state.mkdir(mode=0o700)
    os.chown(workspace.state, 1000, 1000)
    for operation in ("inspect", "apply"):
        with pytest.raises(WorkspaceError, match="belongs to user 1000 instead of 0"):
            workspace.handle(operation, plugins=[])


def test_a_state_directory_that_others_can_enter_is_not_trusted(workspace):
    workspace.state.mkdir()
    workspace.state.chmod(0o755)
    with pytest.raises(WorkspaceError, match=r"can be entered by others \(mode 0755 instead of 0700\)"):
        workspace.handle("apply", plugins=[])


@pytest.mark.parametrize(
    "path, text",
    [
        ("plugin.yaml", "name: ecc\nversion: 1.0.0\n"),
        ("nothing", None),
        ("rules", None),
        ("link", None),
        ("linked/passwd", None),
        ("pipe", None),
        ("binary", None),
        ("latin1", None),
        ("large", None),
    ],
)
def test_read_gives_texts_and_never_follows(installed, path, text):
    tree = installed.plugins / "ecc"
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "linked").symlink_to("/etc")
    os.mkfifo(tree / "pipe")
    (tree / "binary").write_bytes(b"a\0b")
    (tree / "latin1").write_bytes(b"\xe9")
    (tree / "large").write_bytes(b"x" * 101)
    answer = installed.handle("read", files=[{"plugin": "ecc", "path": path}], max_bytes=100)
    assert answer == {"files": [{"plugin": "ecc", "path": path, "text": text}]}


def test_reading_where_nothing_is_installed(workspace):
    assert workspace.handle("read", files=[{"plugin": "ecc", "path": "x"}], max_bytes=9)["files"][0]["text"] is None


PLUGIN = {"name": "ecc", "state": "present", "digest": "sha256:" + "0" * 64}
BAD = {
    "version": {"version": 2},
    "version is true": {"version": True},
    "operation": {"operation": "delete"},
    "operation is a list": {"operation": []},
    "unknown field": {"command": "id"},
    "relative config dir": {"config_dir": "configs"},
    "system config dir": {"config_dir": "/etc"},
    "config dir with ..": {"config_dir": "/configs/../etc"},
    "no config dir": {"config_dir": None},
    "runtime config dir": {"runtime_config_dir": "x"},
    "owner": {"owner": [1000]},
    "owner as text": {"owner": ["root", "root"]},
    "negative owner": {"owner": [-1, 0]},
    "lock timeout": {"lock_timeout": -1},
    "lock timeout as text": {"lock_timeout": "60"},
    "job": {"job": {"id": ["x"]}},
    "large job": {"job": {"id": "x" * 5000}},
    "plugins": {"plugins": None},
    "plugin is text": {"plugins": ["ecc"]},
    "unknown key": {"plugins": [dict(PLUGIN, path="/etc")]},
    "doubled": {"plugins": [PLUGIN, PLUGIN]},
    "state": {"plugins": [dict(PLUGIN, state="latest")]},
    "no digest": {"plugins": [{"name": "ecc", "state": "present"}]},
    "digest": {"plugins": [dict(PLUGIN, digest="0" * 64)]},
    "digest of absent": {"plugins": [dict(PLUGIN, state="absent")]},
    "observed digest": {"plugins": [dict(PLUGIN, observed_digest="x")]},
    "source": {"plugins": [dict(PLUGIN, source=1)]},
    "shipment": {"shipment": "shipment.tar"},
}
BAD_NAMES = ("../x", ".", "..", "", "-rf", "a b", "$(id)", "a\n", "A", "a/b", None, "x" * 129)
BAD.update({f"name {name!r}": {"plugins": [dict(PLUGIN, name=name)]} for name in BAD_NAMES})


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_before_anything_is_touched(workspace, change):
    before = everything(workspace)
    request = {"version": 1, "operation": "apply", "config_dir": str(workspace.config), "owner": OWNER, "plugins": [PLUGIN], "shipment": None}
    with pytest.raises(InvalidInputError) as caught:
        plugin_request.handle(dict(request, **change))
    assert "\n" not in str(caught.value)
    assert everything(workspace) == before


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "", ".", "a//b", "a\0b", None, "a/"])
def test_read_refuses_paths_that_leave_the_plugin(workspace, path):
    with pytest.raises(InvalidInputError, match="use a relative path inside the plugin"):
        workspace.handle("read", files=[{"plugin": "ecc", "path": path}], max_bytes=10)


@pytest.mark.parametrize("install_ids", [None, [], {"../x": "0" * 32}, {"ecc": "x"}, {"ecc": None}])
def test_confirm_refuses_ids_that_are_none(workspace, install_ids):
    with pytest.raises(InvalidInputError):
        workspace.handle("confirm_restart", install_ids=install_ids)


@pytest.mark.parametrize("request_data", [None, [], "inspect"])
def test_what_is_no_request_is_refused(request_data):
    with pytest.raises(InvalidInputError):
        plugin_request.handle(request_data)
