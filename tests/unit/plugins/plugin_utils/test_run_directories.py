# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What killed runs have left on the controller is removed; what lives is not, also where its process cannot be seen."""
from __future__ import annotations

import json
import os
import pathlib
import stat
import subprocess
import time

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import processes, run_directories


def _made(parent: pathlib.Path, process: int, name: str = "abcdefgh") -> pathlib.Path:
    """The private directory of a run, with all that it may hold of ours."""
    directory = parent / f"ansible-local-{process}{name}"
    directory.mkdir(0o700)
    run_directories.enter(str(directory))
    (directory / "eic-ticket-0123456789abcdef").write_text("secret")
    (directory / "eic-key").mkdir()
    (directory / "eic-key" / "id_ed25519").write_text("secret")
    (directory / "molecule_ai_workspace").mkdir()
    return directory


def _owner(directory: pathlib.Path, **changes: object) -> None:
    file = directory / "eic-owner"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_what_killed_runs_left_is_swept_and_what_lives_stays(tmp_path: pathlib.Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        killed, busy = _made(tmp_path, process.pid), _made(tmp_path, process.pid, "12345678")
        (busy / "a file of core").touch()
        living, unrelated = _made(tmp_path, os.getpid()), tmp_path / "ansible-local-mine"
        (unrelated / "eic-key").mkdir(parents=True)
        reused = _made(tmp_path, os.getpid(), "reused__")
        _owner(reused, started="1")
        run_directories.sweep(str(tmp_path))
        assert killed.exists() and not reused.exists(), "a process id that another process has by now is no life sign"
        process.kill()
        process.wait()
    newer = tmp_path / f"ansible-local-{os.getpid()}thenewer"
    newer.mkdir()
    run_directories.enter(str(newer))
    assert not killed.exists(), "the next run sweeps"
    assert os.listdir(busy) == ["a file of core"]
    assert (living / "eic-key" / "id_ed25519").exists() and (unrelated / "eic-key").exists()


def test_a_run_says_once_whose_its_directory_is(tmp_path: pathlib.Path) -> None:
    directory = _made(tmp_path, os.getpid())
    assert stat.S_IMODE((directory / "eic-owner").stat().st_mode) == 0o600
    assert sorted(os.listdir(directory)) == ["eic-key", "eic-owner", "eic-ticket-0123456789abcdef", "molecule_ai_workspace"]
    dead = _made(tmp_path, 999_999_999)
    run_directories.enter(str(directory))
    assert dead.exists(), "it sweeps once, not for every connection"


@pytest.mark.parametrize("owner", ['{"place": ["another kernel", "pid:[1]"], "started": "1"}', '{"place": null}', "[]", ""])
def test_a_run_elsewhere_is_left_alone_for_a_week(tmp_path: pathlib.Path, owner: str) -> None:
    """Another host with the same home directory, another container, a directory that says nothing: their processes cannot be seen from here."""
    directory = _made(tmp_path, 999_999_999)
    (directory / "eic-owner").write_text(owner)
    run_directories.sweep(str(tmp_path))
    assert (directory / "eic-ticket-0123456789abcdef").exists()
    for days, there in ((6, True), (8, False)):
        os.utime(directory, (time.time() - days * 86400,) * 2)
        run_directories.sweep(str(tmp_path))
        assert directory.exists() == there


def test_what_is_not_ours_is_left_alone(tmp_path: pathlib.Path) -> None:
    """A run that uses nothing of this collection may wait for a week, with an empty directory."""
    directory = tmp_path / "ansible-local-999999999abcdefgh"
    directory.mkdir()
    os.utime(directory, (0, 0))
    run_directories.sweep(str(tmp_path))
    assert directory.exists()


def test_a_process_in_another_namespace_is_elsewhere(tmp_path: pathlib.Path) -> None:
    code = f"import sys; sys.path[:0] = {[str(pathlib.Path(processes.__file__).parent)]!r}; import processes as p; print(p.place())"
    command = ["unshare", "--user", "--pid", "--fork", "--mount-proc", "python3", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces here: {done.stderr}")
    assert done.stdout.strip() not in ("", str(processes.place()))
    assert processes.place() == processes.place() and all(processes.place())


def test_a_link_in_the_place_of_a_private_directory_is_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tmp").mkdir()
    elsewhere = _made(tmp_path, 999_999_999)
    (tmp_path / "tmp" / elsewhere.name).symlink_to(elsewhere)
    run_directories.sweep(str(tmp_path / "tmp"))
    assert (elsewhere / "eic-key").exists()


def test_a_directory_of_another_user_is_left_alone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = _made(tmp_path, 999_999_999)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    run_directories.sweep(str(tmp_path))
    assert directory.exists()
