# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git sources against real repositories: what is a pin, what is fetched, and what git is never told."""
from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import git_https_server
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import git_source

MISSING_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Repository:
    """A repository with two tagged commits and a branch; the first commit's tag is annotated."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.write("plugin.yaml", "name: x\nversion: 1.0.0\n")
        self.write("hooks/check", "#!/bin/sh\n", mode=0o755)
        self.write("tool.pyc", "compiled")
        self.write("windows.txt", "a\nb\n")
        self.write(".gitattributes", "*.txt text eol=crlf\nplugin.yaml export-ignore\n")
        self.first = self.commit("v1")
        self.git("tag", "-a", "-m", "annotated", "v1.0.0")
        self.write("plugin.yaml", "name: x\nversion: 2.0.0\n")
        self.second = self.commit("v2")
        self.git("tag", "v2.0.0")
        self.write("plugin.yaml", "name: x\nversion: 3.0.0\n")
        self.third = self.commit("v3")

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(self.directory), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (self.directory / path).write_bytes(text.encode())
        (self.directory / path).chmod(mode)

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")

    def source(self, ref: str | None) -> str:
        return f"git+file://{self.directory}" + ("" if ref is None else f"#{ref}")


@pytest.fixture(name="repository", scope="module")
def fixture_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("git") / "x")


def _checkout(
    workspace: Path, text: str, allow_unpinned: bool = False, timeout: int = 30, max_bytes: int = 10000, max_entries: int = 100
) -> git_source.GitCheckout:
    workspace.mkdir(exist_ok=True)
    return git_source.checkout(git_source.parse(text, allow_unpinned), workspace, timeout, max_bytes, max_entries)


def _version(checkout: git_source.GitCheckout) -> str:
    return (checkout.root / "plugin.yaml").read_text(encoding="utf-8").split()[-1]


def test_an_annotated_tag_is_its_commit(tmp_path: Path, repository: Repository) -> None:
    checkout = _checkout(tmp_path, repository.source("v1.0.0"))
    assert (checkout.revision, _version(checkout)) == (repository.first, "1.0.0")


def test_a_lightweight_tag_is_a_pin(tmp_path: Path, repository: Repository) -> None:
    checkout = _checkout(tmp_path, repository.source("v2.0.0"))
    assert (checkout.revision, _version(checkout)) == (repository.second, "2.0.0")


def test_the_tree_is_the_commits_byte_by_byte(tmp_path: Path, repository: Repository) -> None:
    root = _checkout(tmp_path, repository.source("v1.0.0")).root
    assert (root / "windows.txt").read_bytes() == b"a\nb\n"
    assert stat.S_IMODE((root / "hooks/check").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "plugin.yaml").stat().st_mode) == 0o644
    assert sorted(path.name for path in root.iterdir()) == [".gitattributes", "hooks", "plugin.yaml", "windows.txt"]


def test_nothing_but_the_tree_stays(tmp_path: Path, repository: Repository) -> None:
    _checkout(tmp_path, repository.source("v1.0.0"))
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize("protocol", ["2", "0"])
def test_a_full_commit_id_works_whether_or_not_the_server_gives_it_alone(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", protocol)
    checkout = _checkout(tmp_path, repository.source(repository.first))
    assert (checkout.revision, _version(checkout)) == (repository.first, "1.0.0")


def test_a_commit_id_may_be_written_in_upper_case(tmp_path: Path, repository: Repository) -> None:
    assert _checkout(tmp_path, repository.source(repository.first.upper())).revision == repository.first


def test_the_id_of_an_annotated_tags_object_is_no_commit(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(InvalidInputError, match="no commit of that id"):
        _checkout(tmp_path, repository.source(repository.git("rev-parse", "v1.0.0")))


@pytest.mark.parametrize("ref", ["v9", "0123456", MISSING_COMMIT, "refs/tags/v1.0.0", "HEAD"])
def test_what_the_repository_does_not_have(tmp_path: Path, repository: Repository, ref: str) -> None:
    with pytest.raises(InvalidInputError, match="does not exist: the repository has no"):
        _checkout(tmp_path, repository.source(ref), allow_unpinned=ref == "v9")


def test_a_branch_is_no_pin_unless_that_is_allowed(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(InvalidInputError, match=f"is a branch and no pin: give a tag or the full commit SHA \\(now {repository.third}\\)"):
        _checkout(tmp_path / "a", repository.source("main"))
    assert _version(_checkout(tmp_path / "b", repository.source("main"), allow_unpinned=True)) == "3.0.0"


def test_no_ref_is_the_default_branch_if_that_is_allowed(tmp_path: Path, repository: Repository) -> None:
    assert _checkout(tmp_path, repository.source(None), allow_unpinned=True).revision == repository.third


def test_a_tag_wins_over_a_branch_of_the_same_name(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "x")
    repository.git("branch", "same", repository.third)
    repository.git("tag", "same", repository.first)
    assert _checkout(tmp_path / "work", repository.source("same")).revision == repository.first


def test_a_tag_of_something_else_than_a_commit_is_refused(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "x")
    repository.git("tag", "blob", repository.git("rev-parse", "HEAD:plugin.yaml"))
    with pytest.raises(WorkspaceError):
        _checkout(tmp_path / "work", repository.source("blob"))


def test_a_symbolic_link_is_refused_with_its_path(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "x")
    (repository.directory / "rules").symlink_to("/etc")
    repository.commit("link")
    repository.git("tag", "linked")
    with pytest.raises(InvalidInputError, match="contains 'rules', which is a symbolic link"):
        _checkout(tmp_path / "work", repository.source("linked"))


def test_a_submodule_is_left_out_with_a_warning(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "x")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{MISSING_COMMIT},skills/other")
    repository.git("commit", "--quiet", "-m", "submodule")
    repository.git("tag", "submodule")
    checkout = _checkout(tmp_path / "work", repository.source("submodule"))
    assert not (checkout.root / "skills").exists()
    assert len(checkout.warnings) == 1 and "the submodule 'skills/other' is left out" in checkout.warnings[0]


def test_the_caps_hold_before_anything_is_written(tmp_path: Path, repository: Repository) -> None:
    listing = repository.git("ls-tree", "-r", "-l", "v2.0.0").splitlines()
    files = [line.split() for line in listing if not line.endswith(".pyc")]
    size = sum(int(fields[3]) for fields in files)
    _checkout(tmp_path / "a", repository.source("v2.0.0"), max_bytes=size, max_entries=len(files))
    with pytest.raises(InvalidInputError, match="bytes of files"):
        _checkout(tmp_path / "b", repository.source("v2.0.0"), max_bytes=size - 1)
    with pytest.raises(InvalidInputError, match="entries"):
        _checkout(tmp_path / "c", repository.source("v2.0.0"), max_entries=len(files) - 1)
    assert not (tmp_path / "b" / "tree").exists()


def test_a_missing_repository_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="could not be fetched: ") as caught:
        _checkout(tmp_path, f"git+file://{tmp_path}/none#v1")
    assert "\n" not in str(caught.value)


def test_git_is_not_installed(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkspaceError, match="needs git, which is not installed on the controller"):
        _checkout(tmp_path / "work", repository.source("v1.0.0"))


def test_a_silent_server_costs_one_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_git(tmp_path, "import time\ntime.sleep(60)\n", monkeypatch)
    with pytest.raises(WorkspaceError, match="could not be fetched within 1 seconds: check the server, or raise source_timeout"):
        _checkout(tmp_path / "work", "git+https://git.example.com/x#v1", timeout=1)


def test_hostile_variables_and_hooks_have_no_effect(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    (template / "reference-transaction").write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n", encoding="ascii")
    (template / "reference-transaction").chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template.parent))
    assert _checkout(tmp_path / "work", repository.source("v1.0.0")).revision == repository.first
    assert not (tmp_path / "hook-ran").exists()


def test_a_server_that_sends_another_commit_is_noticed(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    lying = f"""
import os, sys
if "ls-remote" in sys.argv:
    print("{MISSING_COMMIT}\\trefs/tags/v2.0.0")
else:
    os.execv({_real_git()!r}, ["git", *sys.argv[1:]])
"""
    _fake_git(tmp_path, lying, monkeypatch)
    with pytest.raises(WorkspaceError, match=f"names the commit {MISSING_COMMIT}, but the server sent {repository.second}"):
        _checkout(tmp_path / "work", repository.source("v2.0.0"))


@pytest.fixture(name="https_server")
def fixture_https_server(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the repository over HTTPS to ``user`` with the password ``s3cret``; yields host and port."""
    monkeypatch.setenv("no_proxy", "*")
    with git_https_server.serving(repository.directory.parent, "user", "s3cret", tmp_path / "ca.pem") as address:
        monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "ca.pem"))
        yield address


def test_credentials_reach_the_server_and_no_command_line(
    tmp_path: Path, repository: Repository, https_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "commands"
    logging = f"import os, sys\nopen({str(log)!r}, 'a').write(repr(sys.argv) + '\\n')\nos.execv({_real_git()!r}, ['git', *sys.argv[1:]])\n"
    _fake_git(tmp_path, logging, monkeypatch)
    checkout = _checkout(tmp_path / "work", f"git+https://user:s3cret@{https_server}/x/.git#v1.0.0")
    assert checkout.revision == repository.first
    commands = log.read_text(encoding="utf-8")
    assert https_server in commands and "s3cret" not in commands and "user" not in commands.replace("user.", "")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["tree"]


def test_wrong_credentials_are_one_sentence_without_them(tmp_path: Path, https_server: str) -> None:
    with pytest.raises(WorkspaceError, match="could not be fetched: ") as caught:
        _checkout(tmp_path / "work", f"git+https://user:wr0ng@{https_server}/x/.git#v1.0.0")
    assert "wr0ng" not in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "work").iterdir())


def test_a_proxys_password_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_git(tmp_path, "import sys\nif 'init' not in sys.argv:\n    sys.exit('fatal: no route through http://me:pr0xy@proxy.example.com:3128')\n", monkeypatch)
    with pytest.raises(WorkspaceError, match=r"no route through http://\*\*\*@proxy\.example\.com:3128$"):
        _checkout(tmp_path / "work", "git+https://git.example.com/x#v1")


def _real_git() -> str:
    return next(os.path.join(directory, "git") for directory in os.environ["PATH"].split(":") if os.access(os.path.join(directory, "git"), os.X_OK))


def _fake_git(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = directory / "programs"
    programs.mkdir()
    (programs / "git").write_text(f"#!{sys.executable}\n{script}", encoding="utf-8")
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
