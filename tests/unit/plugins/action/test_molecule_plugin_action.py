# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action with the real workspace half behind it, but without a connection: what is asked, what is sent, and what is said."""
from __future__ import annotations

import functools
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.molecule_ai.workspace.plugins.action import molecule_plugin
from ansible_collections.molecule_ai.workspace.plugins.action.molecule_plugin import ActionModule
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request, plugin_slot
from ansible_collections.molecule_ai.workspace.plugins.module_utils.carried_program import MARK
from ansible_collections.molecule_ai.workspace.plugins.module_utils.request_answer import answer_to
from ansible_collections.molecule_ai.workspace.plugins.modules.molecule_plugin import RETURN
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import workspace_call

OWNER = {"owner": 0, "group": 0}


class Workspace:
    """A config dir and the action's way to it, carried on standard input or by a module; counts what goes there."""

    def __init__(self, directory: Path, pipelines: bool) -> None:
        self.directory = directory
        self.pipelines = pipelines
        self.config_dir = directory / "configs"
        self.config_dir.mkdir()
        self.operations: list[str] = []
        self.remote_tmp = "~/.ansible/tmp"
        self.temporary_directories: list[Path] = []
        self.attached: bytes | None = None
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def trips_of_a_change(self) -> list[str]:
        """What is done where something is to be sent."""
        return ["inspect", "apply"] if self.pipelines else ["inspect", "mkdir", "send", "apply", "rmdir"]

    @property
    def plugins(self) -> Path:
        return self.config_dir / "plugins"

    def run(self, check: bool = False, diff: bool = False, variables: dict[str, Any] | None = None, no_log: bool = False, **options: Any) -> dict[str, Any]:
        """Run one task; ``config_dir`` and the owner are set unless given."""
        self.operations.clear()
        arguments = {"config_dir": str(self.config_dir), **OWNER, **options}
        loader = DataLoader()
        loader.set_basedir(str(self.directory))
        task = SimpleNamespace(
            args={name: value for name, value in arguments.items() if value is not KeyError},
            check_mode=check, diff=diff, no_log=no_log, async_val=0, delegate_to=None, action="molecule_plugin", get_search_path=lambda: [str(self.directory)],
        )
        shell = SimpleNamespace(tmpdir=None, get_option={"remote_tmp": self.remote_tmp}.__getitem__, join_path=lambda *parts: "/".join(parts))
        action = ActionModule(
            task=task, connection=SimpleNamespace(_shell=shell), play_context=SimpleNamespace(remote_addr="test", remote_user="ubuntu"), loader=loader,
            templar=SimpleNamespace(template=lambda value: value), shared_loader_obj=None,
        )
        action._load_name = "molecule_plugin"  # core's plugin loader sets it
        action._is_pipelining_enabled = lambda style: self.pipelines
        action._compute_environment_string = lambda: ""
        action._execute_module = self._execute_module
        action._low_level_execute_command = self._execute_command
        action._make_tmp_path = lambda: self._make_tmp_path(shell)
        action._remove_tmp_path = lambda path: self._remove_tmp_path(shell, path)
        action._transfer_file = self._transfer_file
        action._fixup_perms2 = lambda paths, execute: None
        known = {"inventory_hostname": "test", "ansible_python_interpreter": sys.executable}
        return action.run(task_vars={**known, **(variables or {})})

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert module_name == "molecule_ai.workspace.molecule_plugin"
        request = module_args["_request"]
        self.operations.append(request["operation"])
        return (self.answer or self.handle)(request)

    def _execute_command(self, command: str, in_data: bytes) -> dict[str, Any]:
        stream = io.BytesIO(in_data)
        stream.read(int(stream.readline()))
        sizes = json.loads(stream.readline())["sizes"]
        request = json.loads(stream.read()[sizes[0] : sizes[0] + sizes[1]])
        self.operations.append(request["operation"])
        if self.answer is None:
            done = subprocess.run(["/bin/sh", "-c", command], input=in_data, capture_output=True, check=False)
            return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}
        self.attached = stream.getvalue()[-sizes[2] :] if sizes[2] else None
        answered = self.answer(request)
        if answered.get("unreachable"):
            raise AnsibleConnectionFailure(answered["msg"])
        if "module_stdout" in answered or "module_stderr" in answered:
            return {"rc": 1, "stdout": answered.get("module_stdout", ""), "stderr": answered.get("module_stderr", "")}
        return {"rc": 0, "stdout": MARK + json.dumps(answered), "stderr": ""}

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer as the module does."""
        attached = io.BytesIO(self.attached) if self.attached else None
        return answer_to(request, False, plugin_request.changes, functools.partial(plugin_request.handle, attached=attached))

    def _make_tmp_path(self, shell: SimpleNamespace) -> None:
        self.operations.append("mkdir")
        directory = self.directory / f"tmp-{len(self.temporary_directories)}"
        directory.mkdir()
        self.temporary_directories.append(directory)
        shell.tmpdir = str(directory)

    def _remove_tmp_path(self, shell: SimpleNamespace, path: str | None) -> None:
        if path is not None:
            self.operations.append("rmdir")
            shutil.rmtree(path)
            shell.tmpdir = None

    def _transfer_file(self, local: str, remote: str) -> None:
        self.operations.append("send")
        shutil.copyfile(local, remote)


@pytest.fixture(name="workspace", params=[True, False], ids=["carried", "module"])
def fixture_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Workspace:
    (tmp_path / "local_tmp").mkdir()
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path / "local_tmp"))
    monkeypatch.setattr(workspace_call, "PAUSES", (0, 0, 0))
    plugin(tmp_path / "ecc", **{"rules/a.md": "# a\n", "hooks/h": "#!/bin/sh\n"})
    (tmp_path / "ecc/hooks/h").chmod(0o755)
    return Workspace(tmp_path, request.param)


def plugin(root: Path, **files: str) -> Path:
    """Write a plugin."""
    for path, text in ({"plugin.yaml": f"name: {root.name}\nversion: 1.0.0\n"} | files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def test_install_then_nothing_to_do(workspace: Workspace) -> None:
    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == workspace.trips_of_a_change
    assert (result["changed"], result["restart_required"], result["plugins"][0]["action"]) == (True, True, "installed")
    assert result["transferred_bytes"] > 0
    assert (workspace.plugins / "ecc/hooks/h").stat().st_mode & 0o777 == 0o755

    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect"]
    assert (result["changed"], result["restart_required"], result["transferred_bytes"]) == (False, True, 0)
    assert [drift["kind"] for drift in result["drift"]] == ["restart_pending"]


def test_a_full_disk_while_sending_is_no_unreachable_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.pipelines = False

    def fail(_workspace: Workspace, local: str, remote: str) -> None:
        raise AnsibleConnectionFailure(f"500 Server Error: Error processing tar file: write {remote}: no space left on device")

    monkeypatch.setattr(Workspace, "_transfer_file", fail)
    with pytest.raises(AnsibleActionFail, match=r"^the workspace has no space left for the \d+ bytes of the plugins in .*: nothing was changed; make room"):
        workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", "mkdir", "rmdir"]


def test_a_connection_that_breaks_while_sending_stays_unreachable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.pipelines = False

    def fail(_workspace: Workspace, local: str, remote: str) -> None:
        raise AnsibleConnectionFailure("connection closed")

    monkeypatch.setattr(Workspace, "_transfer_file", fail)
    with pytest.raises(AnsibleConnectionFailure, match="connection closed"):
        workspace.run(name="ecc", source="./ecc")


def test_ten_plugins_are_one_inspection_one_transfer_and_one_change(workspace: Workspace) -> None:
    names = [f"p{number}" for number in range(10)]
    for name in names:
        plugin(workspace.directory / name, **{"rules/a.md": name})
    elements = [{"name": name, "source": f"./{name}"} for name in names]
    result = workspace.run(plugins=elements)
    assert workspace.operations == workspace.trips_of_a_change
    assert [plugin["action"] for plugin in result["plugins"]] == ["installed"] * 10
    (workspace.plugins / "p3/rules/a.md").write_text("tampered", encoding="utf-8")
    result = workspace.run(plugins=elements)
    assert {plugin["name"] for plugin in result["plugins"] if plugin["action"] != "none"} == {"p3"}
    assert workspace.operations == workspace.trips_of_a_change


def test_check_mode_predicts_and_touches_nothing(workspace: Workspace) -> None:
    predicted = workspace.run(check=True, name="ecc", source="./ecc")
    assert workspace.operations == ["inspect"]
    assert not any(workspace.config_dir.iterdir())
    done = workspace.run(name="ecc", source="./ecc")
    for key in ("changed", "restart_required", "plugins", "drift", "unmanaged"):
        assert predicted[key] == done[key], key
    assert predicted["transferred_bytes"] == 0


def test_a_rollback_is_predicted_and_done_in_one_change_without_any_transfer(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    plugin(workspace.directory / "new/ecc", **{"rules/a.md": "# new\n"})
    upgraded = workspace.run(name="ecc", source="./new/ecc")["plugins"][0]
    predicted = workspace.run(check=True, diff=True, name="ecc", state="rolled_back")
    assert workspace.operations == ["inspect", "read"]
    assert any({"before": "# new\n", "after": "# a\n"}.items() <= diff.items() for diff in predicted["diff"])
    done = workspace.run(name="ecc", state="rolled_back")
    assert workspace.operations == ["inspect", "apply"]
    for key in ("changed", "restart_required", "plugins", "drift", "unmanaged"):
        assert predicted[key] == done[key], key
    restored = done["plugins"][0]
    assert (restored["action"], restored["digest"], restored["version"]) == ("rolled_back", upgraded["previous_digest"], "1.0.0")
    assert (workspace.plugins / "ecc/rules/a.md").read_text(encoding="utf-8") == "# a\n"
    again = workspace.run(name="ecc", state="rolled_back")
    assert workspace.operations == ["inspect"] and again["changed"] is False and again["plugins"][0]["action"] == "none"


def test_a_key_without_a_value_is_no_list(workspace: Workspace) -> None:
    with pytest.raises(AnsibleActionFail, match=r"^plugins is null, .*: give a list, or \[\] for no plugins$"):
        workspace.run(plugins=None)
    assert workspace.operations == []


def test_nothing_is_changed_where_one_plugin_cannot_be_rolled_back(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for check in (True, False):
        with pytest.raises(AnsibleActionFail, match="^plugin other has no previous version in .*: install the version you want; nothing was changed$"):
            workspace.run(check=check, plugins=[{"name": "ecc", "state": "rolled_back"}, {"name": "other", "state": "rolled_back"}])
    assert (workspace.plugins / "ecc").exists()


def test_a_rollback_that_died_is_finished_by_the_next_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.answer = workspace.handle  # in this process, where it can be made to die
    workspace.run(name="ecc", source="./ecc")
    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_keep_old", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workspace.run(name="ecc", state="rolled_back")
    result = workspace.run(name="ecc", state="rolled_back")
    assert result["recovered"] == ["finished an interrupted change of plugin 'ecc'"] and result["plugins"][0]["action"] == "none"


def test_what_a_person_changed_is_told_by_the_run_that_finishes_an_interrupted_upgrade(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.answer = workspace.handle  # in this process, where it can be made to die
    workspace.attached = None
    workspace.run(name="ecc", source="./ecc")
    placed = workspace.config_dir / ".claude/hooks/h"
    placed.parent.mkdir(parents=True)
    placed.write_text("#!/bin/sh\n# A person wrote this.\n", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_finish", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workspace.run(name="ecc", state="absent")
    (told,) = workspace.run(plugins=[])["recovered_placements"]
    assert (told["plugin"], told["removed_placements"]) == ("ecc", [])
    assert told["kept"] == [{"path": ".claude/hooks/h", "reason": "changed since it was placed"}] and placed.exists()
    assert workspace.run(plugins=[])["recovered_placements"] == []


def test_every_kind_of_drift_is_found_and_repaired(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    live = workspace.plugins / "ecc"
    (live / "rules/a.md").write_text("tampered\n", encoding="utf-8")
    (live / "plugin.yaml").unlink()
    (live / "extra").write_text("x", encoding="utf-8")
    (live / "hooks/h").chmod(0o644)
    audit = workspace.run(check=True, diff=True, name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", "read"]
    kinds = {(drift["kind"], drift["path"]) for drift in audit["drift"]}
    assert kinds == {("modified", "rules/a.md"), ("missing", "plugin.yaml"), ("extra", "extra"), ("mode", "hooks/h"), ("restart_pending", "")}
    assert audit["plugins"][0]["action"] == "repaired"
    diffs = {diff["before_header"]: diff for diff in audit["diff"]}
    assert (diffs["plugins/ecc/rules/a.md"]["before"], diffs["plugins/ecc/rules/a.md"]["after"]) == ("tampered\n", "# a\n")
    assert "hooks/h: file 0644\n" in diffs["plugins/ecc (modes, owners and directories)"]["before"]
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "repaired"
    assert workspace.run(name="ecc", source="./ecc")["changed"] is False


def test_what_is_returned_is_what_is_documented(workspace: Workspace) -> None:
    documented = yaml.safe_load(RETURN)
    result = workspace.run(name="ecc", source="./ecc")
    assert set(result) == {*documented, "changed"}
    assert set(result["plugins"][0]) == set(documented["plugins"]["contains"])
    assert set(result["drift"][0]) == set(documented["drift"]["contains"])


def test_max_drift_shortens_the_list_and_not_the_count(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for number in range(5):
        (workspace.plugins / "ecc" / f"extra-{number}").write_text("x", encoding="utf-8")
    audit = workspace.run(check=True, name="ecc", source="./ecc", max_drift=2)
    assert [drift["kind"] for drift in audit["drift"]] == ["extra", "extra", "restart_pending"]
    assert (audit["plugins"][0]["drift_count"], audit["drift_count"]) == (5, 6)
    assert [drift["kind"] for drift in workspace.run(check=True, name="ecc", source="./ecc", max_drift=0)["drift"]] == ["extra", "restart_pending"]


def test_upgrade_and_removal(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    (workspace.directory / "ecc/rules/a.md").write_text("# b\n", encoding="utf-8")
    shutil.rmtree(C.DEFAULT_LOCAL_TMP)
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "upgraded"
    predicted = workspace.run(check=True, name="ecc", state="absent")
    result = workspace.run(name="ecc", state="absent")
    assert workspace.operations == ["inspect", "apply"]
    assert result["plugins"] == predicted["plugins"]
    assert (result["plugins"][0]["action"], result["plugins"][0]["digest"], result["restart_required"]) == ("removed", None, True)
    assert not (workspace.plugins / "ecc").exists()
    result = workspace.run(name="ecc", state="absent")
    assert (result["changed"], workspace.operations) == (False, ["inspect"])


def test_a_removal_in_diff_mode_shows_what_goes(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    result = workspace.run(check=True, diff=True, name="ecc", state="absent")
    diffs = {diff["before_header"]: diff["before"] for diff in result["diff"] if "before" in diff}
    assert diffs["plugins/ecc/rules/a.md"] == "# a\n"


def test_unmanaged_plugins_are_reported_or_removed(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    for name in ("stranger", "No plugin"):
        plugin(workspace.plugins / name)
    result = workspace.run(name="ecc", source="./ecc")
    assert (result["changed"], result["unmanaged"]) == (False, ["No plugin", "stranger"])
    assert {drift["plugin"] for drift in result["drift"] if drift["kind"] == "unmanaged"} == {"stranger", "No plugin"}
    predicted = workspace.run(check=True, diff=True, name="ecc", source="./ecc", exclusive=True)
    result = workspace.run(name="ecc", source="./ecc", exclusive=True)
    assert workspace.operations == ["inspect", "apply"]
    assert result["plugins"] == predicted["plugins"]
    assert {plugin["name"]: plugin["action"] for plugin in result["plugins"]} == {"ecc": "none", "stranger": "removed", "No plugin": "removed"}
    assert [path.name for path in workspace.plugins.iterdir()] == ["ecc"]
    assert workspace.run(name="ecc", source="./ecc", exclusive=True)["changed"] is False


def test_a_change_between_inspection_and_apply_is_reported_and_not_overwritten(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    live = workspace.plugins / "ecc/rules/a.md"
    live.write_text("first", encoding="utf-8")

    def interfere(request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] == "apply":
            live.write_text("second", encoding="utf-8")
        return workspace.handle(request)

    workspace.answer = interfere
    with pytest.raises(AnsibleActionFail, match="ecc"):
        workspace.run(name="ecc", source="./ecc")
    assert live.read_text(encoding="utf-8") == "second"
    assert workspace.operations == workspace.trips_of_a_change


def test_an_interrupted_run_is_finished_first(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    calls: list[list[Any]] = []

    def recovering(request: dict[str, Any]) -> dict[str, Any]:
        answer = workspace.handle(request)
        if request["operation"] == "inspect":
            answer["result"]["interrupted"] = [] if calls else ["ecc"]
        else:
            calls.append(request["plugins"])
            answer["result"]["recovered"] = ["finished an interrupted change of plugin 'ecc'"]
        return answer

    workspace.answer = recovering
    predicted = workspace.run(check=True, name="ecc", source="./ecc")
    assert (predicted["changed"], workspace.operations) == (True, ["inspect"])
    assert "an interrupted run has left a change of ecc" in predicted["warnings"][0]
    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", "apply", "inspect"] and "warnings" not in result
    assert (result["changed"], result["recovered"], calls) == (True, ["finished an interrupted change of plugin 'ecc'"], [[]])


def test_the_receipt_says_who_did_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_ID", "17")
    requests: list[dict[str, Any]] = []

    def record(request: dict[str, Any]) -> dict[str, Any]:
        requests.append(request)
        return workspace.handle(request)

    workspace.answer = record
    workspace.run(name="ecc", source="./ecc", variables={"ansible_play_name": "Install"})
    job = requests[-1]["job"]
    assert (job["play"], job["awx_job_id"]) == ("Install", "17") and job["controller"] and job["user"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../x", "source": "./ecc"}, "plugin name '../x' is not allowed"),
        ({"name": ".", "source": "./ecc"}, "plugin name '.' is not allowed"),
        ({"name": "ecc", "source": "./none"}, "source './none' does not exist on the controller"),
        ({"name": "ecc", "source": "ecc"}, "set 'registry'"),
        ({"name": "ecc", "source": "./linked"}, "contains 'link', which is a symbolic link"),
        ({"name": "ecc", "source": "./broken"}, "is not valid YAML"),
        ({"name": "ecc", "source": "./ecc", "max_bytes": 10}, "more than 10 bytes"),
        ({"name": "ecc", "source": "./ecc", "sha256": "0" * 64}, "but " + "0" * 64 + " was asked for"),
        ({"name": "ecc", "source": "./ecc", "digest": "sha256:" + "0" * 64}, "but sha256:" + "0" * 64 + " was asked for"),
        ({"name": "ecc", "source": "./hermes", "runtime": "claude-code"}, "made for hermes, not for this workspace's runtime claude-code"),
        ({"name": "ecc", "source": "./hermes"}, "runtime is not known"),
        ({"name": "ecc", "source": "./ecc", "allowlist": ["other"]}, "not on the allowlist"),
        ({"name": "ecc", "source": "github://owner/x"}, "is not pinned"),
        ({"name": "ecc", "source": "./ecc", "config_dir": KeyError}, "config dir is not known"),
        ({"name": "ecc", "source": "./ecc", "config_dir": "/etc"}, "config dir '/etc' is not allowed"),
        ({"name": "ecc"}, "has no source"),
        ({"name": "ecc", "plugins": []}, "mutually exclusive"),
        ({}, "one of the following is required: name, plugins"),
        ({"name": "ecc", "source": "./ecc", "surprise": 1}, "surprise"),
        ({"plugins": [{"name": "ecc", "source": "./ecc"}, {"name": "ecc", "state": "absent"}]}, "listed twice"),
        ({"plugins": [{"name": "ecc", "source": "./ecc"}, {"name": "other", "source": "./none"}]}, "'./none' does not exist"),
        ({"plugins": [{"name": "ecc", "source": "./ecc"}], "allow_unpinned": True}, "allow_unpinned would be ignored"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_asked(workspace: Workspace, options: dict[str, Any], message: str) -> None:
    plugin(workspace.directory / "linked").joinpath("link").symlink_to("/etc")
    plugin(workspace.directory / "broken", **{"plugin.yaml": "name: [x\n"})
    plugin(workspace.directory / "hermes", **{"plugin.yaml": "name: x\nruntimes: [hermes]\n"})
    with pytest.raises(AnsibleActionFail) as caught:
        workspace.run(**options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert workspace.operations == []
    assert not any(workspace.config_dir.iterdir())


def test_a_relative_source_is_also_looked_for_beside_the_inventory(workspace: Workspace) -> None:
    plugin(workspace.directory / "fleet" / "plugins" / "fleet-plugin")
    variables = {"inventory_dir": str(workspace.directory / "fleet")}
    for options in ({"source": "plugins/fleet-plugin"}, {"source": "fleet-plugin", "registry": "plugins"}):
        assert workspace.run(check=True, name="fleet-plugin", variables=variables, **options)["plugins"][0]["action"] == "installed"
    with pytest.raises(AnsibleActionFail, match="registry 'none' does not exist on the controller: .*looked at ") as caught:
        workspace.run(name="fleet-plugin", source="fleet-plugin", registry="none", variables=variables)
    for place in (workspace.directory / "files/none", workspace.directory / "none", workspace.directory / "fleet/none", Path.cwd() / "none"):
        assert f" {place}" in str(caught.value)


def test_a_relative_source_is_looked_for_in_the_current_directory_last(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = workspace.directory / "elsewhere"
    plugin(elsewhere / "here" / "mine")
    monkeypatch.chdir(elsewhere)
    assert workspace.run(check=True, name="mine", source="here/mine")["plugins"][0]["action"] == "installed"
    plugin(workspace.directory / "here" / "mine", **{"rules/a.md": "beside the playbook"})
    assert workspace.run(check=True, name="mine", source="here/mine")["plugins"][0]["digest"] != workspace.run(
        check=True, name="mine", source=str(elsewhere / "here/mine")
    )["plugins"][0]["digest"]


def test_a_plugin_must_be_on_every_allowlist(workspace: Workspace) -> None:
    (workspace.directory / "allowed.yml").write_text("[other]", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match=r"plugin ecc is not on the allowlist .*/allowed\.yml"):
        workspace.run(name="ecc", source="./ecc", allowlist=["ecc"], allowlist_file="allowed.yml")
    with pytest.raises(AnsibleActionFail, match="both platform_url and platform_token"):
        workspace.run(name="ecc", source="./ecc", allowlist_from_platform=True)
    assert workspace.operations == []
    workspace.run(name="ecc", source="./ecc")
    workspace.run(name="ecc", source=str(plugin(workspace.directory / "second/ecc", **{"rules/a.md": "second"})))
    for check in (True, False):
        with pytest.raises(AnsibleActionFail, match="plugin ecc is not on the allowlist"):
            workspace.run(check=check, name="ecc", state="rolled_back", allowlist=["other"])
    workspace.run(name="ecc", state="absent")
    with pytest.raises(AnsibleActionFail, match="plugin ecc is not on the allowlist"):
        workspace.run(name="ecc", state="rolled_back", allowlist=["other"])
    # what undoes a first install is a removal
    plugin(workspace.directory / "first")
    workspace.run(name="first", source="./first")
    assert workspace.run(name="first", state="rolled_back", allowlist=["other"])["plugins"][0]["action"] == "rolled_back"
    assert not (workspace.plugins / "first").exists()
    workspace.run(name="ecc", state="absent", allowlist_from_platform=True)  # a removal needs no permission


def test_only_signed_sources_where_signers_are_given(workspace: Workspace) -> None:
    for who in ("alice", "bob"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(workspace.directory / who)], check=True)
    (workspace.directory / "signers").write_text(f"alice@example.com {(workspace.directory / 'alice.pub').read_text()}", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match=r"\./ecc .* has no good signature of an allowed signer") as caught:
        workspace.run(name="ecc", source="./ecc", allowed_signers="signers")
    assert workspace.operations == []
    digest = str(caught.value).partition("its digest is ")[2].partition(")")[0]
    for who, good in (("bob", False), ("alice", True)):
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", "plugin-digest@moleculesai.app", "-f", str(workspace.directory / who)],
            input=f"{digest}\n", text=True, check=True, stdout=(workspace.directory / "ecc.sig").open("w", encoding="ascii"),
        )
        if good:
            result = workspace.run(name="ecc", source="./ecc", allowed_signers="signers", revoked_signers="bob.pub")
            assert result["plugins"][0]["signed_by"].startswith("alice@example.com (ED25519 SHA256:")
        else:
            with pytest.raises(AnsibleActionFail, match="has no good signature"):
                workspace.run(name="ecc", source="./ecc", allowed_signers="signers")
    plugin(workspace.directory / "theirs")
    elements = [{"name": "ecc", "source": "./ecc"}, {"name": "theirs", "source": "./theirs", "allow_unsigned": True}]
    assert [entry["signed_by"] is None for entry in workspace.run(plugins=elements, allowed_signers="signers")["plugins"]] == [False, True]
    with pytest.raises(AnsibleActionFail, match="allowed_signers 'nobody' does not exist"):
        workspace.run(name="ecc", source="./ecc", allowed_signers="nobody")


def test_a_plugin_with_a_secret_in_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "AKIA" + "QWERTYUIOPASDFGH"
    plugin(workspace.directory / "leaky", **{"rules/a.md": f"use {secret}\n"})
    result = workspace.run(check=True, name="leaky", source="./leaky")
    assert result["plugins"][0]["possible_secrets"] == [{"path": "rules/a.md", "line": 1, "kind": "AWS Access Key"}]
    assert [warning for warning in result["warnings"] if "rules/a.md line 1 (AWS Access Key)" in warning]
    assert secret not in str(result)
    with pytest.raises(AnsibleActionFail, match="seems to contain secrets") as caught:
        workspace.run(name="leaky", source="./leaky", secret_scan="fail")
    assert secret not in str(caught.value)
    assert workspace.operations == []
    result = workspace.run(check=True, name="leaky", source="./leaky", secret_scan="none")
    assert (result["plugins"][0]["possible_secrets"], "warnings" in result) == (None, False)

    monkeypatch.setattr("ansible_collections.molecule_ai.workspace.plugins.plugin_utils.secret_scan.scan_bundle", lambda _bundle: None)
    shutil.rmtree(C.DEFAULT_LOCAL_TMP)  # the next run
    assert "detect-secrets is not installed" in workspace.run(check=True, name="leaky", source="./leaky")["warnings"][0]


def test_an_empty_allowlist_file_allows_nothing(workspace: Workspace) -> None:
    with pytest.raises(AnsibleActionFail, match="allowlist"):
        workspace.run(name="ecc", source="./ecc", allowlist_file="")
    assert workspace.operations == []


def test_a_current_directory_of_everybody_is_not_looked_into(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    everybodys = workspace.directory / "everybodys"
    plugin(everybodys / "here" / "mine")
    everybodys.chmod(0o1777)
    monkeypatch.chdir(everybodys)
    with pytest.raises(AnsibleActionFail, match="does not exist on the controller"):
        workspace.run(check=True, name="mine", source="here/mine")


def test_a_tag_that_was_moved_since_the_install_is_noticed(workspace: Workspace) -> None:
    repository = plugin(workspace.directory / "moving")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(repository)]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "1"], ["tag", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    source = f"git+file://{repository}#v1"
    first = workspace.run(name="moving", source=source)["plugins"][0]["revision"]
    plugin(repository, **{"rules/a.md": "other"})
    for arguments in (["add", "-A"], ["commit", "-q", "-m", "2"], ["tag", "-f", "v1"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    shutil.rmtree(C.DEFAULT_LOCAL_TMP)  # the next run
    result = workspace.run(check=True, name="moving", source=source)
    assert [warning for warning in result["warnings"] if "its tag was moved" in warning]
    with pytest.raises(AnsibleActionFail, match=f"but {first} was asked for: its tag was moved"):
        workspace.run(name="moving", source=source, commit=first)
    assert "warnings" not in workspace.run(name="moving", source=source, allow_unpinned=True)


def test_the_fact_of_the_backend_is_used(workspace: Workspace) -> None:
    plugin(workspace.directory / "hermes", **{"plugin.yaml": "name: hermes\nruntimes: [hermes]\n"})
    fact = {"tier": "eic", "config_dir": str(workspace.config_dir), "runtime": "hermes"}
    for variables in ({"workspace_backend": fact}, {"ansible_facts": {"workspace_backend": fact}}):
        result = workspace.run(check=True, name="hermes", source="./hermes", config_dir=KeyError, variables=variables)
        assert result["plugins"][0]["action"] == "installed"


def test_an_override_of_the_runtime(workspace: Workspace) -> None:
    plugin(workspace.directory / "hermes", **{"plugin.yaml": "name: hermes\nruntimes: [hermes]\n"})
    assert workspace.run(name="hermes", source="./hermes", runtime="codex", any_runtime=True)["changed"] is True


def test_external_workspaces_get_the_hint(workspace: Workspace) -> None:
    fact = {"tier": "external", "download_hint": "GET /workspaces/1/plugins/<name>/download"}
    with pytest.raises(AnsibleActionFail, match="nothing is pushed: GET /workspaces/1/plugins/<name>/download"):
        workspace.run(name="ecc", source="./ecc", variables={"workspace_backend": fact})


def test_a_plugin_that_calls_itself_differently_is_a_warning(workspace: Workspace) -> None:
    assert "calls itself 'ecc'" in workspace.run(name="other", source="./ecc")["warnings"][0]


def test_secrets_have_no_diff(workspace: Workspace) -> None:
    assert "diff" not in workspace.run(check=True, diff=True, no_log=True, name="ecc", source="./ecc")


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ({"failed": True, "msg": "/configs is not a directory"}, AnsibleActionFail, "^/configs is not a directory$"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": "sh: python3: not found\n"}, AnsibleActionFail, "python3: not found"),
        ({"failed": True, "module_stdout": "Traceback (most recent call last):\n  File x\nOSError: no space\n"}, AnsibleActionFail, "OSError: no space"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": ""}, AnsibleActionFail, "ended on the workspace without an answer"),
        ({"failed": True}, AnsibleActionFail, "gave no reason"),
        ({"unreachable": True, "msg": "the tunnel closed"}, AnsibleConnectionFailure, "the tunnel closed"),
        ({"result": None}, AnsibleActionFail, "an answer that cannot be trusted"),
        ({"result": {"plugins": {}}}, AnsibleActionFail, "an answer that cannot be trusted"),
        ({}, AnsibleActionFail, "an answer that cannot be trusted"),
    ],
)
def test_a_workspace_that_fails_or_lies(workspace: Workspace, returned: dict[str, Any], error: type[Exception], message: str) -> None:
    workspace.answer = lambda request: dict(returned)
    with pytest.raises(error, match=message) as caught:
        workspace.run(name="ecc", source="./ecc")
    assert "\n" not in str(caught.value)


class LosesAnswers:
    """Answers as the workspace does, but for those that are listed: ``before`` and ``after`` it has done what was asked of it, nothing comes back."""

    def __init__(self, workspace: Workspace, **lost: list[str]) -> None:
        self._workspace = workspace
        self._lost = {when: list(operations) for when, operations in lost.items()}

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        nothing = {"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": ""}
        for when, operations in self._lost.items():
            if operations and operations[0] == request["operation"]:
                del operations[0]
                if when == "after":
                    self._workspace.handle(request)
                return nothing
        return self._workspace.handle(request)


@pytest.mark.parametrize("lost", [{"before": ["inspect"]}, {"before": ["inspect", "apply", "inspect"]}, {"after": ["inspect", "apply"]}, {"after": ["apply"]}])
def test_a_task_whose_answer_was_lost_begins_anew_and_says_what_it_changed(workspace: Workspace, lost: dict[str, list[str]]) -> None:
    workspace.answer = LosesAnswers(workspace, **lost)
    result = workspace.run(name="ecc", source="./ecc")
    assert (result["changed"], result["restart_required"]) == (True, True)
    (done,) = result["plugins"]
    assert (done["action"], done["previous_digest"]) == ("installed", None)
    assert (workspace.plugins / "ecc/rules/a.md").read_text(encoding="utf-8") == "# a\n"
    assert [warning for warning in result["warnings"] if "begun anew" in warning]
    workspace.answer = None
    again = workspace.run(name="ecc", source="./ecc")
    assert again["changed"] is False and "warnings" not in again


def test_an_upgrade_a_removal_and_a_rollback_are_reported_when_their_answer_was_lost(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    plugin(workspace.directory / "new/ecc", **{"rules/b.md": "# b\n"})
    plugin(workspace.directory / "other")
    workspace.run(name="other", source="./other")
    changes: list[tuple[dict[str, Any], list[str]]] = [
        ({"plugins": [{"name": "ecc", "source": "new/ecc"}], "exclusive": True}, ["upgraded", "removed"]),
        ({"name": "ecc", "state": "rolled_back"}, ["rolled_back"]),
        ({"name": "ecc", "state": "absent"}, ["removed"]),
    ]
    for options, actions in changes:
        workspace.answer = LosesAnswers(workspace, after=["apply"])
        result = workspace.run(**options)
        assert result["changed"] and [done["action"] for done in result["plugins"]] == actions, options
        workspace.answer = None
        assert not workspace.run(**options)["changed"]


def test_what_another_run_has_made_meanwhile_is_not_overwritten_by_a_task_that_begins_anew(workspace: Workspace) -> None:
    """The first request was lost on its way, and another run was faster than the second."""
    plugin(workspace.directory / "theirs/ecc", **{"rules/b.md": "# b\n"})
    loses = LosesAnswers(workspace, before=["apply"])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] == "apply" and not loses._lost["before"]:
            return {"failed": True, "msg": "was changed by somebody else since it was inspected: nothing was overwritten, run again"}
        return loses(request)

    workspace.answer = answer
    with pytest.raises(AnsibleActionFail, match="changed by somebody else"):
        workspace.run(name="ecc", source="./ecc")


def test_a_container_that_is_being_restarted_is_waited_for_and_one_that_stays_down_is_unreachable(workspace: Workspace) -> None:
    asked = []

    def stopped(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["operation"])
        raise AnsibleConnectionFailure('The container "ws-1" has been paused (409 Client Error: Conflict ("container abc is not running"))')

    workspace.answer = stopped
    with pytest.raises(AnsibleConnectionFailure, match="container ws-1 stopped while it was being worked in"):
        workspace.run(name="ecc", source="./ecc")
    assert asked == ["inspect"] * 4
    workspace.answer = lambda request: stopped(request) if len(asked) < 6 else workspace.handle(request)
    assert workspace.run(name="ecc", source="./ecc")["changed"]


def test_a_lost_connection_is_a_reason_to_ask_again_only_where_something_had_begun(workspace: Workspace) -> None:
    asked = []

    def lost(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["operation"])
        error = AnsibleConnectionFailure("the connection was lost while a command was running")
        error.outcome_unknown = len(asked) == 1
        raise error

    workspace.answer = lost
    with pytest.raises(AnsibleConnectionFailure, match="was lost"):
        workspace.run(name="ecc", source="./ecc")
    assert asked == ["inspect"] * 2


def test_a_change_that_did_not_arrive_is_an_error(workspace: Workspace) -> None:
    def lie(request: dict[str, Any]) -> dict[str, Any]:
        answer = workspace.handle(request)
        if request["operation"] == "apply":
            answer["result"]["plugins"]["ecc"]["digest"] = "sha256:" + "0" * 64
        return answer

    workspace.answer = lie
    with pytest.raises(AnsibleActionFail, match="plugin ecc is not what it should be"):
        workspace.run(name="ecc", source="./ecc")


def test_sources_are_prepared_once_for_all_hosts(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    shutil.rmtree(workspace.config_dir)
    workspace.config_dir.mkdir()
    (workspace.directory / "ecc/rules/a.md").write_text("changed during the run", encoding="utf-8")
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "installed"
    assert (workspace.plugins / "ecc/rules/a.md").read_text(encoding="utf-8") == "# a\n"


def test_what_is_larger_than_a_request_may_carry_is_sent_in_pieces(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    if not workspace.pipelines:
        pytest.skip("a file is transferred where nothing is pipelined")
    monkeypatch.setattr(molecule_plugin, "MAX_ATTACHED_BYTES", 300)
    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", *["receive"] * -(-result["transferred_bytes"] // 300), "apply"]
    assert (workspace.plugins / "ecc/rules/a.md").read_text() == "# a\n"
    assert list((workspace.config_dir / ".molecule_ai/incoming").iterdir()) == []


@pytest.mark.parametrize("below", ["", "/tmp", "/.molecule_ai/tmp", "/x/../tmp"])
def test_root_does_not_work_by_path_in_the_agents_directory(workspace: Workspace, below: str) -> None:
    workspace.remote_tmp = f"{workspace.config_dir}{below}"
    with pytest.raises(AnsibleActionFail, match="the workspace's agent could exchange what root executes"):
        workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == []


def test_an_error_of_the_connection_is_not_its_own_cause(workspace: Workspace) -> None:
    """ansible-core follows causes to their end; one that is its own cause would keep a worker busy for ever."""
    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise AnsibleError("the option region is wrong")

    workspace.answer = refuse
    with pytest.raises(AnsibleError, match="the option region is wrong") as caught:
        workspace.run(name="ecc", source="./ecc")
    seen: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__
