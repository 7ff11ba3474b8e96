# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets one sentence before anything is touched."""
from __future__ import annotations

import io
import os
import pathlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from ansible_run import Run
from lab.api import Lab

INSTALL = "molecule_ai.workspace.install"
REMOVE = "molecule_ai.workspace.remove"
Plugin = dict[str, Any]


@pytest.fixture
def good(plugin_sources: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of a good plugin, to be spoilt."""
    return pathlib.Path(shutil.copytree(plugin_sources / "browser-automation", tmp_path / "browser-automation"))


def archive(path: pathlib.Path, good: pathlib.Path, member: tarfile.TarInfo) -> pathlib.Path:
    """A tar.gz of the good plugin with one bad member."""
    with tarfile.open(path, "w:gz") as tar:
        tar.add(good, arcname=".")
        tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    """A tar member with these fields."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def repository(good: pathlib.Path) -> str:
    """The good plugin as a git repository whose only ref is a branch; its URL."""
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(good), *arguments], check=True)
    return f"git+file://{good}"


@pytest.mark.parametrize(
    ("name", "state"),
    [(name, "present") for name in ["../x", ".", "-rf", "a b", "$(id)", "line\nbreak", ""]] + [(name, "absent") for name in ["../x", ".", "-rf"]],
)
def test_names(lab: Lab, ansible: Callable[..., Run], workspace: str, good: pathlib.Path, name: str, state: str) -> None:
    plugin = {"name": name, "state": state, **({"source": str(good)} if state == "present" else {})}
    assert_refused(lab, ansible, workspace, [plugin], "name")


def spoil_source_missing(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": str(good / "nowhere")}, "nowhere"


def spoil_symlink(good: pathlib.Path) -> tuple[Plugin, str]:
    (good / "rules" / "link.md").symlink_to("/etc/passwd")
    return {}, "rules/link.md"


def spoil_device(good: pathlib.Path) -> tuple[Plugin, str]:
    os.mkfifo(good / "hooks-pipe")
    return {}, "hooks-pipe"


def spoil_tar_absolute(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": str(archive(good.parent / "absolute.tar.gz", good, member("/etc/evil", size=1)))}, "/etc/evil"


def spoil_tar_parent(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": str(archive(good.parent / "parent.tar.gz", good, member("../evil", size=1)))}, "../evil"


def spoil_tar_link(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": str(archive(good.parent / "link.tar.gz", good, member("l", type=tarfile.SYMTYPE, linkname="/etc/passwd")))}, "'l'"


def spoil_tar_device(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": str(archive(good.parent / "device.tar.gz", good, member("d", type=tarfile.CHRTYPE, devmajor=1, devminor=3)))}, "'d'"


def spoil_tar_truncated(good: pathlib.Path) -> tuple[Plugin, str]:
    path = archive(good.parent / "truncated.tar.gz", good, member("f", size=1))
    path.write_bytes(path.read_bytes()[:-40])
    return {"source": str(path)}, "truncated.tar.gz"


def spoil_size(good: pathlib.Path) -> tuple[Plugin, str]:
    with open(good / "big.bin", "wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    return {}, "104857600"


def spoil_yaml(good: pathlib.Path) -> tuple[Plugin, str]:
    (good / "plugin.yaml").write_text("name: [unclosed\n")
    return {}, "plugin.yaml"


def spoil_yaml_missing(good: pathlib.Path) -> tuple[Plugin, str]:
    (good / "plugin.yaml").unlink()
    return {}, "plugin.yaml"


def spoil_manifest_hash(good: pathlib.Path) -> tuple[Plugin, str]:
    (good / "manifest.json").write_text('{"sha256": "' + "0" * 64 + '"}')
    return {}, "manifest.json"


def spoil_request_hash(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"sha256": "0" * 64}, "plugin.yaml"


def spoil_digest(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"digest": "sha256:" + "0" * 64}, "digest"


def spoil_branch(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": repository(good) + "#main"}, "allow_unpinned"


def spoil_no_ref(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": repository(good)}, "allow_unpinned"


def spoil_ref_option(good: pathlib.Path) -> tuple[Plugin, str]:
    return {"source": repository(good) + "#--upload-pack=id"}, "--upload-pack=id"


def spoil_runtime(good: pathlib.Path) -> tuple[Plugin, str]:
    (good / "plugin.yaml").write_text("name: browser-automation\nruntimes: [hermes]\n")
    return {}, "any_runtime"


@pytest.mark.parametrize("spoil", [value for name, value in sorted(globals().items()) if name.startswith("spoil_")])
def test_sources(
    lab: Lab, ansible: Callable[..., Run], workspace: str, good: pathlib.Path, spoil: Callable[[pathlib.Path], tuple[Plugin, str]]
) -> None:
    changes, named = spoil(good)
    assert_refused(lab, ansible, workspace, [{"name": "browser-automation", "source": str(good), **changes}], named)


def test_one_bad_plugin_stops_the_whole_list(lab: Lab, ansible: Callable[..., Run], workspace: str, good: pathlib.Path) -> None:
    plugins = [{"name": "browser-automation", "source": str(good)}, {"name": "other", "source": str(good / "nowhere")}]
    assert_refused(lab, ansible, workspace, plugins, "nowhere")


@pytest.mark.parametrize("names", [{}, {"workspace_plugin_names": None}, {"workspace_plugin_names": 5}], ids=["unset", "null", "number"])
def test_remove_without_names(lab: Lab, ansible: Callable[..., Run], names: dict[str, Any]) -> None:
    run = ansible(REMOVE, limit="alpha", variables=names)
    assert run.returncode != 0
    assert [record["result"].get("msg", "").partition(":")[0] for record in run.records if record["status"] == "failed"] == ["No plugins to remove are named"]


def assert_refused(lab: Lab, ansible: Callable[..., Run], workspace: str, plugins: list[Plugin], named: str) -> None:
    """The run fails with one sentence that names what is wrong, and the workspace is as it was."""
    before, starts = lab.snapshot(workspace), len(lab.starts(workspace))
    run = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": plugins})
    assert run.returncode != 0
    messages = [record["result"].get("msg", "") for record in run.records if record["status"] == "failed"]
    assert len(messages) == 1, run.output
    assert named in messages[0], messages[0]
    assert "\n" not in messages[0] and "Traceback" not in run.output
    assert lab.snapshot(workspace) == before and len(lab.starts(workspace)) == starts
