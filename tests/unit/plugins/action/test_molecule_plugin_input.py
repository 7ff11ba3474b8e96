# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``molecule_plugin`` checks before it asks the workspace anything: options, sources, allowlists, signatures, secrets."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from action_workspace import Workspace, plugin
from ansible import constants as C
from ansible.errors import AnsibleActionFail


def test_a_key_without_a_value_is_no_list(workspace: Workspace) -> None:
    with pytest.raises(AnsibleActionFail, match=r"^plugins is null, .*: give a list, or \[\] for no plugins$"):
        workspace.run(plugins=None)
    assert workspace.operations == []


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


@pytest.mark.parametrize("below", ["", "/tmp", "/.molecule_ai/tmp", "/x/../tmp"])
def test_root_does_not_work_by_path_in_the_agents_directory(workspace: Workspace, below: str) -> None:
    workspace.remote_tmp = f"{workspace.config_dir}{below}"
    with pytest.raises(AnsibleActionFail, match="the workspace's agent could exchange what root executes"):
        workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == []


def test_a_home_that_the_config_dir_may_lie_in_is_refused_for_temporary_files_there(workspace: Workspace) -> None:
    workspace.remote_tmp = "~/configs/tmp"
    with pytest.raises(AnsibleActionFail, match=r"^ansible_remote_tmp ~/configs/tmp lies, or may lie, in the config dir "):
        workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == []


def test_a_diff_shows_no_text_in_which_a_secret_was_found(workspace: Workspace) -> None:
    """Neither of the new version nor of the one that goes, which is not scanned otherwise: to take a token out is what people do with the warning."""
    token = "github_pat_" + "A1b2C3d4E5f6G7h8I9j0K1" + "_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6a7B8c9D"
    rule = workspace.directory / "ecc/rules/a.md"
    clean = rule.read_text(encoding="utf-8")
    for text in (f"key {token}\n", clean):
        rule.write_text(text, encoding="utf-8")
        (workspace.directory / "ecc/rules/b.md").write_text(f"beside {len(text)}\n", encoding="utf-8")
        shown = workspace.run(name="ecc", source="./ecc", diff=True)["diff"]
        texts = {diff["after_header"].split()[0]: diff["before"] + diff["after"] for diff in shown if "after_header" in diff}
        assert "(not shown) file of" in texts["plugins/ecc/rules/a.md"] and f"beside {len(text)}\n" in texts["plugins/ecc/rules/b.md"]
        assert token not in str(shown)
    rule.write_text(f"key {token}\n", encoding="utf-8")
    assert token in str(workspace.run(name="ecc", source="./ecc", check=True, diff=True, secret_scan="none")["diff"])
