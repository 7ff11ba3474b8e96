# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sixteen writers with as many versions on one workspace, and readers meanwhile: real processes, the workspace half as it is."""
from __future__ import annotations

import json
import multiprocessing
import pathlib
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import workspace_directories
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import BusyError, ConflictError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.workspace_lock import writer_lock
from plugin_samples import OWNER, Workspace, contents, digest_of, write_tree

WRITERS = 16
READERS = 3
_PROCESSES = multiprocessing.get_context("fork")


def version(number: int) -> dict[str, bytes]:
    """One writer's version: enough files that reading it takes a while, of which some are only in every other one."""
    files = {f"skills/part-{part % 4}/{part % (number % 3 + 5)}-{part}.md": b"%d %d\n" % (number, part) * 200 for part in range(40)}
    return {"plugin.yaml": b"name: ecc\nversion: %d.0.0\n" % number, **files}


VERSIONS = [version(number) for number in range(WRITERS)]


def write(workspace: Workspace, number: int, start: typing.Any, answers: typing.Any) -> None:
    """Install one version, and do as the sentence says after a conflict: run again."""
    mine, conflicts = Workspace.__new__(Workspace), 0
    mine.__dict__.update(workspace.__dict__, directory=workspace.directory / f"writer-{number}")
    mine.directory.mkdir()
    start.wait()
    while True:
        try:
            done = mine.apply({"ecc": VERSIONS[number]}, lock_timeout=120, job={"id": str(number)})
        except ConflictError:
            conflicts += 1
            continue
        except Exception as error:
            answers.put({"number": number, "error": f"{type(error).__name__}: {error}"})
            return
        answers.put({"number": number, "conflicts": conflicts, "recovered": done["recovered"], **done["plugins"]["ecc"]})
        return


def read(workspace: Workspace, start: typing.Any, stop: typing.Any, answers: typing.Any) -> None:
    """Audit until it is over, and tell which digests were seen."""
    seen, count = set(), 0
    start.wait()
    try:
        while not stop.is_set():
            seen.add(workspace.inspect({"ecc": VERSIONS[0]})["plugins"]["ecc"]["digest"])
            count += 1
        answers.put({"seen": sorted(str(digest) for digest in seen), "count": count})
    except Exception as error:
        answers.put({"error": f"{type(error).__name__}: {error}"})


def test_writers_take_turns_and_readers_see_whole_versions(tmp_path: pathlib.Path) -> None:
    workspace = Workspace(tmp_path)
    start, stop, written, was_read = _PROCESSES.Barrier(WRITERS + READERS), _PROCESSES.Event(), _PROCESSES.Queue(), _PROCESSES.Queue()
    writers = [_PROCESSES.Process(target=write, args=(workspace, number, start, written)) for number in range(WRITERS)]
    readers = [_PROCESSES.Process(target=read, args=(workspace, start, stop, was_read)) for _reader in range(READERS)]
    for process in [*writers, *readers]:
        process.start()
    results = [written.get(timeout=120) for _writer in writers]
    stop.set()
    audits = [was_read.get(timeout=120) for _reader in readers]
    for process in [*writers, *readers]:
        process.join(60)

    assert not [each for each in [*results, *audits] if "error" in each]
    # each took its turn, upon what the one before it had made: nobody's version was overwritten without having been seen
    digests = [digest_of(files) for files in VERSIONS]
    made_of = {each["previous_digest"]: each for each in results}
    assert len(made_of) == WRITERS and all(each["changed"] for each in results) and not any(each["recovered"] for each in results)
    order: list[int] = []
    last = None
    while last in made_of:
        order.append(made_of[last]["number"])
        last = made_of[last]["digest"]
    assert sorted(order) == list(range(WRITERS)) and last == digests[order[-1]]

    expected = write_tree(tmp_path / "expected", VERSIONS[order[-1]])
    assert contents(workspace.plugins / "ecc") == contents(expected)
    assert contents(workspace.state / "previous/ecc") == contents(write_tree(tmp_path / "before", VERSIONS[order[-2]]))
    receipt = json.loads((workspace.state / "receipts/ecc.json").read_text())
    assert (receipt["digest"], receipt["job"], receipt["restart_pending"]) == (last, {"id": str(order[-1])}, True)
    assert workspace.staging() == [] and (workspace.state / "lock").read_bytes() == b""

    whole = {*digests, "None"}
    assert all(set(audit["seen"]) <= whole and audit["count"] > 0 for audit in audits)


def test_readers_do_not_wait_for_a_writer_and_writers_are_told_for_whom_they_wait(tmp_path: pathlib.Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.apply({"ecc": VERSIONS[0]})
    owner = (OWNER[0], OWNER[1])
    with workspace_directories.open_for_writing(str(workspace.config), owner) as directories:
        assert directories.state_fd is not None
        with writer_lock(directories.state_fd, {"play": "nightly", "awx_job_id": "41"}, 0, str(workspace.config)):
            assert workspace.inspect({"ecc": VERSIONS[0]})["plugins"]["ecc"]["digest"] == digest_of(VERSIONS[0])
            with pytest.raises(BusyError) as caught:
                workspace.apply({"ecc": VERSIONS[1]}, lock_timeout=0)
    for words in (str(workspace.config), "awx_job_id 41", "play nightly", "within 0 s", "run again"):
        assert words in str(caught.value)
