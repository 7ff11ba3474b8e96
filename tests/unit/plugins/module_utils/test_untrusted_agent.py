# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root works in a config dir whose owner, the agent, is hostile: nothing outside may change, vanish, change hands or show up in an answer.

Outside stands for ``/etc``: a directory of root's that looks like a config dir, so that whoever follows a link finds something to change there.
``HOSTILE_ROUNDS`` says how many rounds the races have; 10000 is the long form.
"""
from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import typing

import agent_attacks
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request, transfer_ids
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from plugin_samples import Workspace, digest_of, shipment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has anything to lose, and an agent to become")

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS") or 100)
AGENT = 1000
SECRET = "canary-7f3a9c"
V1 = {
    "plugin.yaml": b"name: ecc\nversion: 1.0.0\n",
    "rules/one.md": b"# One\n",
    "skills/helper/SKILL.md": b"helper\n",
    "hooks/guard.sh": (b"#!/bin/sh\n", 0o755),
    "settings-fragment.json": b'{"env": {"X": "1"}}',
}
V2 = {**V1, "plugin.yaml": b"name: ecc\nversion: 2.0.0\n", "rules/two.md": b"# Two\n"}


class Attacked(Workspace):
    """A config dir of the agent's and, outside of it, the canary. Both lie on one file system, so that hard links are possible."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self.canary = directory / "outside"
        os.chown(self.config, AGENT, AGENT)
        for path, content in {
            **{f"plugins/ecc/{path}": content[0] if isinstance(content, tuple) else content for path, content in V1.items()},
            **{path: content.encode() for path, content in agent_attacks.PLACED.items()},
            ".molecule_ai/lock": b"", ".molecule_ai/receipts/ecc.json": b"{}", ".molecule_ai/staging/ecc/journal.json": b"{}",
            ".molecule_ai/staging/other/file": b"x", ".molecule_ai/previous/ecc/plugin.yaml": b"name: ecc\n", ".molecule_ai/incoming/old": b"x",
            "shadow": b"root:" + SECRET.encode(),
        }.items():
            file = self.canary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content + (b"" if path.endswith((".json", "one.md")) or not content else SECRET.encode()))
        for path in [self.canary, *self.canary.rglob("*")]:
            os.utime(path, ns=(10**18, 2 * 10**18))  # read before written: whoever reads it now updates the time of access
            path.chmod(0o700 if path.name in (".molecule_ai", "receipts", "staging") else 0o755 if path.is_dir() else 0o644)
        (self.canary / "shadow").chmod(0o600)
        self._before = self._outside()

    def _outside(self) -> dict[str, typing.Any]:
        found = {}
        for path in [self.canary, *sorted(self.canary.rglob("*"))]:
            status = path.lstat()
            read = status.st_atime_ns if path.is_file() and status.st_nlink == 1 else None  # directories were just listed
            found[str(path.relative_to(self.canary))] = (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, status.st_ino, read)
        return found

    def require_untouched(self) -> None:
        """Nothing outside was written, removed, added, given away or read."""
        after = self._outside()
        assert after == self._before

    def as_agent(self, function: typing.Callable[[], object]) -> None:
        """Do what the agent can do, with its rights."""
        os.setegid(AGENT)
        os.seteuid(AGENT)
        try:
            function()
        finally:
            os.seteuid(0)
            os.setegid(0)

    def every_operation(self) -> list[str]:
        """Ask for each operation; return the answers and sentences as texts. Anything but an answer or a sentence is raised."""
        said = []

        def ask(operation: str, **fields: typing.Any) -> dict[str, typing.Any]:
            try:
                request = {"version": 1, "operation": operation, "config_dir": str(self.config), "owner": [AGENT, AGENT], "lock_timeout": 0, **fields}
                answer = plugin_request.handle(request, request.pop("attached", None))
            except WorkspaceError as error:
                said.append(str(error))
                return {}
            said.append(json.dumps(answer))
            return answer

        for wanted in (V1, V2, None):
            elements = [{"name": "ecc", "state": "absent"} if wanted is None else {"name": "ecc", "state": "present", "digest": digest_of(wanted)}]
            seen = ask("inspect", plugins=elements, exclusive=True)
            ask("read", files=[{"plugin": "ecc", "path": path} for path in [*V1, "leak", "moved"]], max_bytes=1000)
            elements[0]["observed_digest"] = seen["plugins"]["ecc"]["digest"] if seen else None
            sent = None if wanted is None else self._sent(wanted)
            ask("apply", plugins=elements, shipment=sent, job={})
        seen = ask("inspect", plugins=[{"name": "ecc", "state": "rolled_back"}]).get("plugins", {}).get("ecc", {})
        if seen.get("previous"):
            ask("read", files=[{"plugin": "ecc", "path": path, "previous": True} for path in [*V1, "leak"]], max_bytes=1000)
            digests = {"digest": seen["previous"]["digest"], "observed_digest": seen["digest"]}
            ask("apply", plugins=[{"name": "ecc", "state": "rolled_back", **digests}])
        transfer = transfer_ids.make(f"{'a' * 16}-1-1")
        ask("receive", transfer=transfer, offset=0, attached=io.BytesIO(b"piece"))
        ask("apply", plugins=[], abandoned_transfers=[transfer])
        pending = ask("pending_restarts").get("restart_pending", {})
        ask("confirm_restart", install_ids=pending)
        return said

    def _sent(self, wanted: typing.Mapping[str, typing.Any]) -> str:
        path = self.directory / f"{digest_of(wanted)[-8:]}.tar"
        return str(path) if path.exists() else shipment(path, wanted)


@pytest.fixture(name="attacked")
def fixture_attacked() -> typing.Iterator[Attacked]:
    # The agent must be able to enter, so it is not pytest's directory.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hostile-"))
    directory.chmod(0o755)
    made = Attacked(directory)
    yield made
    shutil.rmtree(directory)


def install(attacked: Attacked) -> None:
    """V1 is live, and the runtime has placed it."""
    attacked.handle(
        "apply", owner=[AGENT, AGENT], shipment=attacked._sent(V1),
        plugins=[{"name": "ecc", "state": "present", "digest": digest_of(V1), "observed_digest": None}],
    )
    attacked.as_agent(lambda: agent_attacks.place(attacked.config))


@pytest.mark.parametrize("path, kind", agent_attacks.ATTACKS, ids=[f"{path}-{kind}" for path, kind in agent_attacks.ATTACKS])
def test_whatever_is_replaced_nothing_outside_is_touched(attacked: Attacked, path: str, kind: str) -> None:
    install(attacked)

    def replace() -> None:
        (attacked.config / path).rename(attacked.config / "away")
        agent_attacks.plant(attacked.config / path, kind, attacked.canary / path)

    attacked.as_agent(replace)
    said = attacked.every_operation()
    attacked.require_untouched()
    assert SECRET not in "".join(said)
    if path == "plugins" and kind == "link":
        assert any("plugins is a link or a file, not a directory" in sentence for sentence in said)


@pytest.mark.parametrize(
    "path", ["plugins/ecc/plugin.yaml", "plugins/ecc/leak", "CLAUDE.md", ".claude/settings.json", ".claude/hooks/guard.sh", "skills/helper/SKILL.md"]
)
@pytest.mark.parametrize("how", ["linked", "moved"])
def test_a_file_of_roots_in_the_agents_directory_is_not_shown_given_away_or_written(attacked: Attacked, path: str, how: str) -> None:
    """A hard link to it (where the kernel allows that), or the file itself, which the owner of its directory may move."""
    install(attacked)
    (attacked.config / path).unlink(missing_ok=True)
    secret = attacked.canary / "shadow" if how == "linked" else attacked.config / "roots-own"
    if how == "moved":
        secret.write_text(SECRET)
        secret.chmod(0o600)
        attacked.as_agent(lambda: secret.rename(attacked.config / path))
        witness = os.open(attacked.config / path, os.O_RDONLY)
    else:
        os.link(secret, attacked.config / path)
        witness = os.open(secret, os.O_RDONLY)
    before = os.fstat(witness)
    said = attacked.every_operation()
    after = os.fstat(witness)
    assert SECRET not in "".join(said)
    assert [getattr(after, field) for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns")] == [
        getattr(before, field) for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns")
    ]
    assert os.pread(witness, 100, 0).endswith(SECRET.encode())
    os.close(witness)


def test_a_rollback_does_not_give_the_agent_a_file_of_roots(attacked: Attacked) -> None:
    """What lies in the old version by a hard link would come back as a copy that belongs to the agent."""
    install(attacked)
    os.link(attacked.canary / "shadow", attacked.plugins / "ecc" / "leak")
    upgrade = [{"name": "ecc", "state": "present", "digest": digest_of(V2)}]
    upgrade[0]["observed_digest"] = attacked.handle("inspect", plugins=upgrade)["plugins"]["ecc"]["digest"]
    attacked.handle("apply", owner=[AGENT, AGENT], shipment=attacked._sent(V2), plugins=upgrade)
    back = {"name": "ecc", "state": "rolled_back"}
    seen = attacked.handle("inspect", owner=[AGENT, AGENT], plugins=[back])["plugins"]["ecc"]
    with pytest.raises(WorkspaceError, match="'leak' .* can only be read by root"):
        attacked.handle(
            "apply", owner=[AGENT, AGENT], plugins=[{**back, "digest": seen["previous"]["digest"], "observed_digest": seen["digest"]}],
        )
    assert not (attacked.plugins / "ecc" / "leak").exists()


def test_a_state_directory_of_the_agents_is_refused(attacked: Attacked) -> None:
    """Renaming ours away and planting its own is all that the owner of the config dir can do: it cannot make one that belongs to root."""
    install(attacked)

    def plant() -> None:
        (attacked.config / ".molecule_ai").rename(attacked.config / "away")
        (attacked.config / ".molecule_ai").mkdir(mode=0o700)

    attacked.as_agent(plant)
    said = attacked.every_operation()
    assert len(said) == len([sentence for sentence in said if f"belongs to user {AGENT} instead of 0" in sentence])
    assert list((attacked.config / ".molecule_ai").iterdir()) == []


def test_a_link_on_the_way_to_the_config_dir_is_not_followed(attacked: Attacked) -> None:
    (attacked.directory / "link").symlink_to(attacked.canary)
    with pytest.raises(WorkspaceError, match="a part of its path is a link"):
        attacked.handle("apply", config_dir=str(attacked.directory / "link" / "plugins"), plugins=[])
    attacked.require_untouched()


def test_what_is_mounted_in_a_plugin_is_neither_moved_nor_emptied(attacked: Attacked) -> None:
    install(attacked)
    inside = attacked.plugins / "ecc" / "data"
    inside.mkdir()
    if subprocess.run(["mount", "--bind", str(attacked.canary), str(inside)], capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        said = attacked.every_operation()
        attacked.require_untouched()
        assert all("data is a mount point" in sentence for sentence in said if "plugins/ecc" in sentence)
        assert (attacked.plugins / "ecc" / "plugin.yaml").exists()
    finally:
        subprocess.run(["umount", str(inside)], check=True)


@pytest.mark.parametrize("size", [501, 3000])
def test_a_crowded_plugins_directory_is_one_sentence(attacked: Attacked, size: int) -> None:
    install(attacked)
    for number in range(size):
        (attacked.plugins / f"p{number}").mkdir()
    assert [sentence for sentence in attacked.every_operation() if "holds more than 500 names" in sentence]
    assert (attacked.plugins / "ecc" / "plugin.yaml").read_bytes() == V1["plugin.yaml"]


@pytest.mark.parametrize("mix", agent_attacks.MIXES)
def test_races_are_never_won(attacked: Attacked, mix: str) -> None:
    install(attacked)
    become = ["setpriv", f"--reuid={AGENT}", f"--regid={AGENT}", "--clear-groups"]
    # ours may lie where an agent cannot look
    python = shutil.which("python3", path=os.defpath) or sys.executable
    racers = [
        subprocess.Popen(
            [*become, python, "-I", agent_attacks.__file__, str(attacked.config), str(attacked.canary), mix],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/",
        )
        for _number in range(2)
    ]
    answered, asked, changed, exchanges = 0, 0, 0, 0
    try:
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        for number in range(-(-ROUNDS // 3)):  # each asks for an installation, an upgrade and a removal
            said = attacked.every_operation()
            assert SECRET not in "".join(said)
            asked += len(said)
            answered += sum(sentence.startswith("{") for sentence in said)
            changed += sum('"changed": true' in sentence for sentence in said)
            if number % 50 == 0:
                attacked.require_untouched()
    finally:
        for racer in racers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                exchanges += int(racer.communicate("end\n", timeout=60)[0] or 0)
            if racer.poll() is None:
                racer.send_signal(signal.SIGKILL)
                racer.wait()
    attacked.require_untouched()
    print(
        f"{mix}: {asked} requests, {answered} of them carried out ({changed} changed a plugin), the others refused in one sentence; "
        f"{exchanges} exchanges by the agent; nothing outside touched"
    )
    assert changed > 0, "no change came through, so nothing was tested"
    assert all(racer.returncode == 0 for racer in racers)
