# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run cache with real processes: one maker, many callers."""
from __future__ import annotations

import multiprocessing
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache, cache_key


def _slow_maker(calls: Path):
    def make(directory: Path) -> None:
        with open(calls, "a", encoding="ascii") as file:
            file.write("made\n")
        time.sleep(0.3)
        (directory / "content").write_text("whole", encoding="ascii")

    return make


def _worker(root: Path, calls: Path, results: multiprocessing.Queue[str]) -> None:
    results.put((RunCache(root).once("key", _slow_maker(calls)) / "content").read_text(encoding="ascii"))


def test_five_workers_make_it_once_and_all_see_it_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    workers = [context.Process(target=_worker, args=(tmp_path / "cache", tmp_path / "calls", results)) for _number in range(5)]
    for worker in workers:
        worker.start()
    contents = [results.get(timeout=20) for _worker_process in workers]
    for worker in workers:
        worker.join(timeout=20)
    assert contents == ["whole"] * 5
    assert (tmp_path / "calls").read_text(encoding="ascii") == "made\n"


def test_the_directory_is_private(tmp_path: Path) -> None:
    RunCache(tmp_path / "cache").once("key", lambda directory: None)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_a_failure_leaves_nothing_behind_and_a_later_caller_tries_again(tmp_path: Path) -> None:
    cache = RunCache(tmp_path)

    def fail(directory: Path) -> None:
        (directory / "half").write_text("", encoding="ascii")
        raise WorkspaceError("the server is down")

    with pytest.raises(WorkspaceError, match="the server is down"):
        cache.once("key", fail)
    assert not (tmp_path / "key").exists()
    assert not list(tmp_path.glob("key.*/half"))
    assert cache.once("key", lambda directory: None) == tmp_path / "key"


def test_who_waited_for_a_failure_gets_it_without_trying_again(tmp_path: Path) -> None:
    attempts: list[str] = []
    errors: list[str] = []

    def fail(directory: Path) -> None:
        attempts.append("tried")
        time.sleep(0.5)
        raise WorkspaceError("the server is down")

    def ask() -> None:
        try:
            RunCache(tmp_path).once("key", fail)
        except WorkspaceError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert attempts == ["tried"]
    assert errors == ["the server is down"] * 3


def test_keys_depend_on_every_field_and_on_no_order() -> None:
    assert cache_key("plugin", {"a": 1, "b": None}) == cache_key("plugin", {"b": None, "a": 1})
    assert cache_key("plugin", {"a": 1}) != cache_key("plugin", {"a": "1"})


def test_the_first_use_sweeps_what_killed_runs_have_left(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        killed = tmp_path / f"ansible-local-{process.pid}abcdefgh" / "molecule_ai_workspace"
        RunCache(killed).once("plugin", lambda directory: (directory / "bundle").touch())
        RunCache(tmp_path / "ansible-local-mine" / "molecule_ai_workspace").once("plugin", lambda directory: None)
        assert (killed / "plugin/bundle").exists(), "that run is at work"
        process.kill()
    RunCache(tmp_path / "ansible-local-newer" / "molecule_ai_workspace").once("plugin", lambda directory: None)
    assert not killed.parent.exists() and (tmp_path / "ansible-local-mine").exists()
