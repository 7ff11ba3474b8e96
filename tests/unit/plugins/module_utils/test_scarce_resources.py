# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the workspace runs out of something: one sentence, the old version or the new one whole, and the next run finishes the job.

Real file systems that are full, without inodes or read-only where they can be mounted; and every single call to the kernel refused once.
``RESOURCE_STEP`` 1 refuses each call (the long form), the default every fifth.
"""
from __future__ import annotations

import errno
import os
import pathlib
import subprocess
import tempfile
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from plugin_samples import Workspace, contents, digest_of, shipment, write_tree

STEP = int(os.environ.get("RESOURCE_STEP") or 5)
V1 = {"plugin.yaml": b"name: ecc\n", "rules/one.md": b"# One\n", "hooks/guard.sh": (b"#!/bin/sh\n", 0o755), "skills/helper/SKILL.md": b"x" * 9000}
V2 = {"plugin.yaml": b"name: ecc\nversion: 2\n", "rules/two.md": b"# Two\n", "skills/helper/SKILL.md": b"y" * 9000, "skills/more/SKILL.md": b"z" * 5000}
MEMORY = b"mine\n# Plugin: ecc / rule: one.md\n\n# One\n"
# All that changes something on the workspace, by the name under which the code calls it.
CALLS = ["open", "mkdir", "write", "fchown", "fchmod", "fsync", "rename", "unlink", "rmdir", "pwrite", "ftruncate"]
# What a quota or a full disk still allows: it gives room back, or takes none.
_WITHOUT_ROOM = {"unlink", "rmdir", "ftruncate", "fchmod", "fsync", "rename", "renameat2"}


def installed(workspace: Workspace) -> Workspace:
    """V1 is live, and the runtime has placed what it places."""
    workspace.apply({"ecc": V1})
    (workspace.config / "CLAUDE.md").write_bytes(MEMORY)
    return workspace


def state_of(workspace: Workspace) -> str:
    """Which version is live; anything but a whole version is neither."""
    live = workspace.plugins / "ecc"
    found = contents(live) if live.exists() else None
    for name, tree in (("V1", V1), ("V2", V2)):
        if found == contents(write_tree(workspace.directory / f"want-{name}-{os.urandom(4).hex()}", tree)):
            return name
    return "absent" if found is None else "neither"


def require_one_sentence(error: WorkspaceError, *reasons: str) -> None:
    """What, where, and what to do."""
    sentence = str(error)
    assert "\n" not in sentence and "Traceback" not in sentence and any(reason in sentence for reason in reasons), sentence
    assert "run again" in sentence or "by hand" in sentence or "the next run" in sentence or " in /" in sentence, sentence


def require_converges(workspace: Workspace) -> None:
    """With what was missing there again, one run finishes the job and nothing of the failed one is left."""
    workspace.apply({})
    workspace.apply({"ecc": V2})
    assert state_of(workspace) == "V2"
    assert workspace.staging() == []
    assert (workspace.config / "CLAUDE.md").read_bytes() == b"mine\n"
    assert workspace.inspect({"ecc": V2})["plugins"]["ecc"]["entries"] is None


class Refusing:
    """Lets the n-th call that changes something fail; ``lasting``: and from then on each that needs room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, at: int, lasting: bool = False) -> None:
        self.number, self.at, self.calls, self.lasting = number, at, 0, lasting
        for name in CALLS:
            monkeypatch.setattr(os, name, self._counted(name, getattr(os, name)))
        monkeypatch.setattr(safe_files, "_renameat2", self._counted("renameat2", safe_files._renameat2))

    def _counted(self, name: str, real: typing.Callable[..., typing.Any]) -> typing.Callable[..., typing.Any]:
        def call(*arguments: typing.Any, **options: typing.Any) -> typing.Any:
            if name != "open" or arguments[1] & os.O_CREAT:
                self.calls += 1
                if self.calls == self.at or (self.lasting and self.calls > self.at and name not in _WITHOUT_ROOM):
                    raise OSError(self.number, os.strerror(self.number))
            return real(*arguments, **options)

        return call


def waiting_for_v2(directory: pathlib.Path) -> tuple[Workspace, str]:
    """A new workspace with V1, and the shipment that brings V2."""
    directory.mkdir()
    return installed(Workspace(directory)), shipment(directory / "sent.tar", V2)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS], ids=errno.errorcode.__getitem__)
def test_whichever_call_is_refused(tmp_path: pathlib.Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: dict[str, int] = {}
    at = 1
    while True:
        workspace, sent = waiting_for_v2(tmp_path / str(at))
        plugins = [{"name": "ecc", "state": "present", "digest": digest_of(V2), "observed_digest": digest_of(V1)}]
        refused = False
        with monkeypatch.context() as patch:
            refusing = Refusing(patch, number, at)
            try:
                workspace.handle("apply", plugins=plugins, shipment=sent)
            except WorkspaceError as error:
                refused = True
                require_one_sentence(error, os.strerror(number), "cannot be removed")
        if refusing.calls < at:
            break
        outcome = state_of(workspace)
        assert outcome in ("V1", "V2"), f"call {at}"
        outcomes[f"{outcome}, {'refused' if refused else 'done'}"] = outcomes.get(f"{outcome}, {'refused' if refused else 'done'}", 0) + 1
        require_converges(workspace)
        at += STEP
    print(f"{errno.errorcode[number]}: calls refused {sum(outcomes.values())} of {refusing.calls}; {outcomes}")
    assert outcomes.get("V1, refused") and not outcomes.get("V1, done")


def test_from_some_call_on_nothing_can_be_written_any_more(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a quota is used up, which stays so until somebody makes room: meanwhile each run fails with one sentence, and audits go on."""
    outcomes: dict[str, int] = {}
    at = 1
    while True:
        workspace, sent = waiting_for_v2(tmp_path / str(at))
        with monkeypatch.context() as patch:
            refusing = Refusing(patch, errno.EDQUOT, at, lasting=True)
            for _run in range(2):
                observed = workspace.inspect({"ecc": V2})["plugins"]["ecc"]["digest"]
                assert observed in (digest_of(V1), digest_of(V2)), f"call {at}"
                plugins = [{"name": "ecc", "state": "present", "digest": digest_of(V2), "observed_digest": observed}]
                try:
                    workspace.handle("apply", plugins=plugins, shipment=sent)
                except WorkspaceError as error:
                    require_one_sentence(error, os.strerror(errno.EDQUOT))
        if refusing.calls < at:
            break
        outcomes[state_of(workspace)] = outcomes.get(state_of(workspace), 0) + 1
        require_converges(workspace)
        at += STEP
    print(f"EDQUOT for good: from {sum(outcomes.values())} of {refusing.calls} calls on; {outcomes}")
    assert set(outcomes) == {"V1", "V2"}


@pytest.fixture(name="mounted")
def fixture_mounted(tmp_path: pathlib.Path) -> typing.Iterator[Workspace]:
    """A workspace whose config dir is a small file system of its own."""
    workspace = Workspace(tmp_path)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "small", str(workspace.config)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    yield installed(workspace)
    subprocess.run(["umount", str(workspace.config)], check=True)


def remount(workspace: Workspace, options: str) -> None:
    """Change the mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(workspace.config)], check=True)


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_file_system(mounted: Workspace, what: str) -> None:
    """From nothing free to enough: at some amount each of the steps is the one that fails."""
    failures = 0
    for free in range(0, 60, max(1, STEP // 2)):
        mounted.apply({"ecc": V1})
        (mounted.config / "CLAUDE.md").write_bytes(MEMORY)
        status = os.statvfs(mounted.config)
        if what == "inodes":
            remount(mounted, f"nr_inodes={status.f_files - status.f_ffree + free}")
        else:
            remount(mounted, f"size={(status.f_blocks - status.f_bfree + free) * status.f_frsize}")
        try:
            mounted.apply({"ecc": V2})
            assert state_of(mounted) == "V2"
        except WorkspaceError as error:
            failures += 1
            require_one_sentence(error, "No space left on device")
            assert state_of(mounted) in ("V1", "V2")
            assert mounted.staging() == [] or "the next run" in str(error)
        remount(mounted, "size=4m,nr_inodes=10000")
        require_converges(mounted)
    assert 3 < failures < 50


def test_a_read_only_file_system(mounted: Workspace) -> None:
    remount(mounted, "ro")
    before = contents(mounted.config)
    assert mounted.inspect({"ecc": V1})["plugins"]["ecc"]["digest"] == digest_of(V1), "an audit needs to write nothing"
    for wanted in (V2, None):
        with pytest.raises(WorkspaceError) as caught:
            mounted.apply({"ecc": wanted})
        require_one_sentence(caught.value, "Read-only file system")
    assert contents(mounted.config) == before
    remount(mounted, "rw")
    require_converges(mounted)


@pytest.mark.skipif(os.geteuid() != 0, reason="root has the rights to lose")
def test_a_config_dir_that_may_not_be_entered() -> None:
    """Without root's rights, as for a login user without sudo."""
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory).chmod(0o755)
        workspace = installed(Workspace(pathlib.Path(directory)))
        workspace.config.chmod(0o700)
        os.seteuid(1000)
        try:
            for operation, fields in (("inspect", {"plugins": []}), ("apply", {"plugins": []}), ("pending_restarts", {})):
                with pytest.raises(WorkspaceError, match="cannot open config dir .*: Permission denied; .* set become and give the login user sudo rights"):
                    workspace.handle(operation, **fields)
        finally:
            os.seteuid(0)
        assert state_of(workspace) == "V1"
