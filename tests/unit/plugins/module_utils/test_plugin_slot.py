# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run may die anywhere: before any single change to the file system, live stays one whole version and the next run finishes the job.

Each scenario runs in a child process that is killed (or that gets an error) at its first, second, third... call that changes a file system,
until it gets through.
"""
from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import threading
import typing

import pytest
from adapter_simulation import Adapter
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_slot, plugin_tree, safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from plugin_samples import V1, V2, Workspace, contents, digest_of, write_tree

KILLED, DONE, REFUSED = 77, 0, 78
_CHANGING = ("rename", "mkdir", "unlink", "rmdir", "write", "fsync", "fchown", "fchmod", "ftruncate", "pwrite")
_MAX_STEPS = 600

OLD = dict(V1, **{"rules/one.md": b"# One\n\nold rule\n", "skills/helper/SKILL.md": b"old helper\n"})
# The same after somebody changed live files: what the runtime placed at its start is still of what was installed.
TAMPERED = dict(OLD, **{"rules/one.md": b"tampered\n", "skills/helper/SKILL.md": b"tampered helper\n"})


class Scenario(typing.NamedTuple):
    """What is live before, what is wanted, what was live before that, and whether it is wanted as a rollback."""

    before: dict[str, typing.Any]
    wanted: dict[str, typing.Any]
    earlier: dict[str, typing.Any] = {}
    rollback: bool = False

    def run(self, workspace: Workspace) -> None:
        if self.rollback:
            workspace.roll_back(*self.wanted)
        else:
            workspace.apply(self.wanted)

    def kept(self, name: str) -> typing.Any:
        """The version that is the previous one afterwards: a repair leaves it alone."""
        return self.earlier.get(name) if self.before.get(name) is TAMPERED and self.wanted[name] is OLD else self.before.get(name)


SCENARIOS = {
    "install": Scenario({}, {"ecc": V2}),
    "upgrade": Scenario({"ecc": OLD}, {"ecc": V2}),
    "removal": Scenario({"ecc": OLD}, {"ecc": None}),
    "upgrade of tampered": Scenario({"ecc": TAMPERED}, {"ecc": V2}),
    "removal of tampered": Scenario({"ecc": TAMPERED}, {"ecc": None}),
    "several": Scenario({"ecc": OLD, "gone": V1}, {"ecc": V2, "gone": None, "more": V1}),
    "repair": Scenario({"ecc": TAMPERED}, {"ecc": OLD}, earlier={"ecc": V2}),
    "rollback": Scenario({"ecc": OLD}, {"ecc": V2}, earlier={"ecc": V2}, rollback=True),
    "rollback of a first install": Scenario({"ecc": OLD}, {"ecc": None}, rollback=True),
    "rollback of a removal": Scenario({}, {"ecc": OLD}, earlier={"ecc": OLD}, rollback=True),
}


class Steps:
    """Counts the calls that change a file system, and stops at the given one."""

    def __init__(self, stop_at: int, stop: typing.Callable[[], None]) -> None:
        self._left = stop_at
        self._stop = stop

    def install(self) -> None:
        """Wrap the operating system's functions; only ever in a child process."""
        for name in _CHANGING:
            setattr(os, name, self._wrap(getattr(os, name)))
        real_open = os.open
        wrapped_open = self._wrap(real_open)
        os.open = lambda path, flags, *more, **options: (wrapped_open if flags & os.O_CREAT else real_open)(path, flags, *more, **options)
        safe_files._renameat2 = self._wrap(safe_files._renameat2)
        safe_files.sync_file_system = self._wrap(safe_files.sync_file_system)

    def _wrap(self, function: typing.Callable[..., typing.Any]) -> typing.Callable[..., typing.Any]:
        def step(*arguments: typing.Any, **options: typing.Any) -> typing.Any:
            self._left -= 1
            if self._left == 0:
                self._stop()
            return function(*arguments, **options)

        return step


def kill() -> None:
    os._exit(KILLED)


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def run_in_child(action: typing.Callable[[], None], steps: Steps) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            steps.install()
            action()
            code = DONE
        except WorkspaceError as error:
            code = REFUSED if "\n" not in str(error) else 98
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if hasattr(os, "waitstatus_to_exitcode") else os.WEXITSTATUS(os.waitpid(child, 0)[1])


def live(workspace: Workspace, name: str) -> str | None:
    return workspace.inspect({name: None})["plugins"][name]["digest"]


def one_of(before: typing.Mapping[str, typing.Any], wanted: typing.Mapping[str, typing.Any], name: str) -> set[str | None]:
    return {digest_of(tree) if tree else None for tree in (before.get(name), wanted[name])}


def prepare(directory: pathlib.Path, before: typing.Mapping[str, typing.Any], earlier: typing.Mapping[str, typing.Any] | None = None) -> Workspace:
    directory.mkdir()
    workspace = Workspace(directory)
    if earlier:
        workspace.apply(earlier)
        workspace.apply({name: None for name in earlier if name not in before})
    workspace.apply({name: OLD if tree is TAMPERED else tree for name, tree in before.items()})
    if before:
        Adapter(workspace.config, str(workspace.config / ".claude")).start()
    workspace.handle("confirm_restart", install_ids=workspace.handle("pending_restarts")["restart_pending"])
    for name in (name for name, tree in before.items() if tree is TAMPERED):
        for path in ("rules/one.md", "skills/helper/SKILL.md"):
            (workspace.plugins / name / path).write_bytes(TAMPERED[path])
    return workspace


def converge(workspace: Workspace, scenario: Scenario) -> None:
    """What the controller does next time: recover where that is needed, then inspect and apply."""
    if workspace.inspect(scenario.wanted)["interrupted"]:
        workspace.apply({})
    scenario.run(workspace)


def assert_done(workspace: Workspace, scenario: Scenario, reference: pathlib.Path) -> None:
    before, wanted = scenario.before, scenario.wanted
    seen = workspace.inspect(wanted)
    assert seen["interrupted"] == [] and seen["unmanaged"] == []
    assert seen["restart_pending"] == sorted(wanted), "each of them still has to be loaded, or unloaded, by the runtime"
    for name, tree in wanted.items():
        assert seen["plugins"][name]["receipt"]["state"] == ("present" if tree else "absent")
        if tree:
            assert contents(workspace.plugins / name) == contents(reference / name)
        else:
            assert not (workspace.plugins / name).exists()
        kept = scenario.kept(name)
        assert previous_digest(workspace, name) == (digest_of(kept) if kept else None), "the old version is kept once"
        record = json.loads((workspace.state / "receipts" / f"{name}.previous").read_bytes())
        assert (record["digest"], record["rolled_back"]) == (digest_of(kept) if kept else None, scenario.rollback)
    assert sorted(os.listdir(workspace.state)) == ["installed", "lock", "modified", "previous", "receipts", "staging"]
    assert sorted(os.listdir(workspace.state / "installed")) == sorted(name for name, tree in wanted.items() if tree)
    assert sorted(os.listdir(workspace.state / "receipts")) == sorted(name + end for name in wanted for end in (".json", ".previous"))
    if before:
        assert not (workspace.config / "CLAUDE.md").exists() and not (workspace.config / "skills" / "helper").exists(), "the old placements are gone"


def previous_digest(workspace: Workspace, name: str) -> str | None:
    descriptor = os.open(workspace.state / "previous", os.O_RDONLY)
    try:
        found = plugin_tree.observe(descriptor, name)
        return plugin_tree.tree_digest(found.entries) if found else None
    finally:
        os.close(descriptor)


@pytest.fixture(autouse=True)
def fixture_no_waiting_for_disks(monkeypatch) -> None:
    """Killing a process loses nothing that it wrote, so waiting for the disk thousands of times would show nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(safe_files, "sync_file_system", lambda descriptor: None)


@pytest.fixture(name="file_system")
def fixture_file_system(request, monkeypatch) -> str:
    """Both ways of replacing a tree: by exchanging names, and where the file system cannot do that."""
    if request.param == "two steps":

        def unsupported(*arguments: typing.Any) -> None:
            raise safe_files.NotSupported("no renameat2")

        monkeypatch.setattr(safe_files, "_renameat2", unsupported)
    return request.param


@pytest.mark.parametrize(
    "scenario, stop, file_system",
    [
        ("install", kill, "exchange"),
        ("install", kill, "two steps"),
        ("upgrade", kill, "exchange"),
        ("upgrade", kill, "two steps"),
        ("removal", kill, "exchange"),
        ("upgrade of tampered", kill, "exchange"),
        ("removal of tampered", kill, "exchange"),
        ("several", kill, "exchange"),
        ("repair", kill, "exchange"),
        ("rollback", kill, "exchange"),
        ("rollback", kill, "two steps"),
        ("rollback of a first install", kill, "exchange"),
        ("rollback of a removal", kill, "exchange"),
        ("install", disk_full, "exchange"),
        ("upgrade", disk_full, "exchange"),
        ("upgrade", disk_full, "two steps"),
        ("removal", disk_full, "exchange"),
        ("rollback", disk_full, "exchange"),
    ],
    indirect=["file_system"],
)
def test_any_interruption_leaves_one_whole_version_and_the_next_run_finishes(tmp_path, scenario, stop, file_system):
    chosen = SCENARIOS[scenario]
    before, wanted = chosen.before, chosen.wanted
    reference = tmp_path / "reference"
    for name, tree in wanted.items():
        if tree:
            write_tree(reference / name, tree)
    for number in range(1, _MAX_STEPS):
        workspace = prepare(tmp_path / str(number), before, chosen.earlier)
        code = run_in_child(lambda w=workspace: chosen.run(w), Steps(number, stop))
        assert code in (DONE, KILLED, REFUSED)
        for name in wanted:
            allowed = one_of(before, wanted, name)
            if file_system == "two steps" and code == KILLED:
                allowed.add(None)
            assert live(workspace, name) in allowed, f"step {number}"
        if code != DONE and workspace.inspect(wanted)["interrupted"]:
            workspace.apply({})
            for name in wanted:
                assert live(workspace, name) in one_of(before, wanted, name), f"recovery after step {number}"
        converge(workspace, chosen)
        assert_done(workspace, chosen, reference)
        if code == DONE and stop is kill:
            return
        if number > 40 and code == DONE and not _reaches(tmp_path, chosen, number):
            return
    pytest.fail("the run never got through")


def _reaches(tmp_path: pathlib.Path, scenario: Scenario, number: int) -> bool:
    """Whether a run has that many steps: some errors are survived, so a run that ends well does not tell."""
    workspace = prepare(tmp_path / f"probe-{number}", scenario.before, scenario.earlier)
    return run_in_child(lambda: scenario.run(workspace), Steps(number, kill)) == KILLED


@pytest.mark.parametrize("recovery_step", range(1, 40, 2))
def test_recovery_itself_may_die(tmp_path, recovery_step):
    """Die right after the exchange, then die at each step of the recovery, then recover."""
    before, wanted = SCENARIOS["upgrade"][:2]
    write_tree(tmp_path / "reference" / "ecc", wanted["ecc"])
    workspace = prepare(tmp_path / "w", before)

    def interrupted() -> None:
        plugin_slot.Slot._finish = lambda *arguments: kill()
        workspace.apply(wanted)

    assert run_in_child(interrupted, Steps(10**9, kill)) == KILLED
    run_in_child(lambda: workspace.apply({}), Steps(recovery_step, kill))
    assert live(workspace, "ecc") == digest_of(wanted["ecc"])
    converge(workspace, SCENARIOS["upgrade"])
    assert_done(workspace, SCENARIOS["upgrade"], tmp_path / "reference")


@pytest.mark.parametrize("recovery_step", range(1, 14))
def test_giving_up_may_die_and_never_becomes_a_change(tmp_path, monkeypatch, recovery_step):
    """Die right before the exchange, then at each step of discarding it: nothing may ever claim that the new version was installed."""
    real_listdir = os.listdir
    # The unlucky order: without its tree, an intent that is still there looks like one that was carried out.
    unlucky = {"new": 0, "receipt.json": 1, "journal.json": 2}
    monkeypatch.setattr(os, "listdir", lambda *arguments: sorted(real_listdir(*arguments), key=lambda name: unlucky.get(name, 0)))
    before, wanted = SCENARIOS["upgrade"][:2]
    workspace = prepare(tmp_path / "w", before)

    def interrupted() -> None:
        plugin_slot.Slot._exchange = lambda *arguments: kill()
        workspace.apply(wanted)

    assert run_in_child(interrupted, Steps(10**9, kill)) == KILLED
    run_in_child(lambda: workspace.apply({}), Steps(recovery_step, kill))
    workspace.apply({})
    seen = workspace.inspect(before)
    assert (seen["interrupted"], seen["restart_pending"]) == ([], [])
    assert seen["plugins"]["ecc"]["digest"] == seen["plugins"]["ecc"]["receipt"]["digest"] == digest_of(before["ecc"])


def test_a_name_that_was_taken_between_the_two_steps_does_not_stop_recovery(tmp_path, monkeypatch):
    def unsupported(*arguments: typing.Any) -> None:
        raise safe_files.NotSupported("no renameat2")

    monkeypatch.setattr(safe_files, "_renameat2", unsupported)
    before, wanted = SCENARIOS["upgrade"][:2]
    workspace = prepare(tmp_path / "w", before)

    def interrupted() -> None:
        safe_files.rename_to_absent = lambda *arguments: kill()
        workspace.apply(wanted)

    assert run_in_child(interrupted, Steps(10**9, kill)) == KILLED
    assert live(workspace, "ecc") is None
    (workspace.plugins / "ecc").mkdir()
    assert workspace.apply({})["recovered"] == ["finished an interrupted change of plugin 'ecc'"]
    assert live(workspace, "ecc") == digest_of(V2)


def test_what_died_before_it_began_is_discarded(tmp_path):
    workspace = prepare(tmp_path / "w", {"ecc": V1})

    def interrupted() -> None:
        plugin_slot.Slot._exchange = lambda *arguments: kill()
        workspace.apply({"ecc": V2})

    assert run_in_child(interrupted, Steps(10**9, kill)) == KILLED
    seen = workspace.inspect({"ecc": V2})
    assert (seen["interrupted"], seen["plugins"]["ecc"]["digest"]) == (["ecc"], digest_of(V1))
    (sentence,) = workspace.apply({})["recovered"]
    assert "discarded an interrupted change of plugin 'ecc'" in sentence
    assert live(workspace, "ecc") == digest_of(V1) and workspace.inspect({})["restart_pending"] == []


def _without_journal(slot: plugin_slot.Slot) -> None:
    safe_files.remove_tree(slot.fd, "journal.json")
    kill()


@pytest.mark.parametrize(
    "wanted, die, sentence",
    [
        (V2, _without_journal, "cleared what an interrupted run had left in staging of plugin 'ecc': its change was done or had not begun"),
        (None, _without_journal, "cleared what an interrupted run had left in staging of plugin 'ecc': its change was done or had not begun"),
        (None, lambda slot: kill(), "finished an interrupted change of plugin 'ecc'"),
    ],
)
def test_a_change_that_was_done_when_the_run_died_is_not_said_to_be_discarded(tmp_path, wanted, die, sentence):
    workspace = prepare(tmp_path / "w", {"ecc": V1})

    def interrupted() -> None:
        plugin_slot.Slot.give_up = die
        workspace.apply({"ecc": wanted})

    assert run_in_child(interrupted, Steps(10**9, kill)) == KILLED
    assert workspace.apply({})["recovered"] == [sentence]
    assert live(workspace, "ecc") == (digest_of(wanted) if wanted else None)


def test_a_journal_of_another_version_is_not_guessed_at(tmp_path):
    workspace = prepare(tmp_path / "w", {"ecc": V1})
    slot = workspace.state / "staging" / "ecc"
    slot.mkdir()
    (slot / "journal.json").write_bytes(b'{"version": 99}')
    with pytest.raises(WorkspaceError, match=r"staging/ecc/journal.json .* is not a journal of this version"):
        workspace.apply({"ecc": V2})
    assert live(workspace, "ecc") == digest_of(V1)


def test_junk_in_staging_is_cleared(tmp_path):
    workspace = prepare(tmp_path / "w", {"ecc": V1})
    (workspace.state / "staging" / ".deep-0").mkdir()
    (workspace.state / "staging" / "plugin").write_bytes(b"not even a directory")
    workspace.apply({})
    assert workspace.staging() == []


def test_a_plugin_that_is_away_for_a_moment_is_not_there_for_a_reader(tmp_path):
    (tmp_path / "ecc").mkdir()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            os.rename(tmp_path / "ecc", tmp_path / "trash")
            os.rename(tmp_path / "trash", tmp_path / "ecc")

    writer = threading.Thread(target=write)
    writer.start()
    directory_fd = os.open(tmp_path, safe_files.OPEN_DIRECTORY)
    try:
        seen = set()
        for _round in range(20_000):
            with contextlib.ExitStack() as stack:
                seen.add(plugin_slot.open_plugin(directory_fd, "ecc", stack) is None)
    finally:
        stop.set()
        writer.join()
        os.close(directory_fd)
    assert seen == {True, False}
