# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run's key, made once however many race for it, and paths that ssh and the kernel accept."""
from __future__ import annotations

import concurrent.futures
import os
import pathlib
import stat
import subprocess

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_identity


def test_workers_that_race_get_one_key(tmp_path: pathlib.Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(eic_identity.ensure_key, [str(tmp_path)] * 16))
    (key,) = keys
    assert key.startswith("ssh-ed25519 ") and len(key) == 80
    assert os.listdir(tmp_path) == ["eic-key"]
    private = eic_identity.private_key_path(str(tmp_path))
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(private)).st_mode) == 0o700
    assert subprocess.run(["ssh-keygen", "-y", "-f", private], capture_output=True, check=True, text=True).stdout.strip() == key


def test_without_ssh_keygen_there_is_no_key_and_nothing_left(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(eic_identity.KeygenError):
        eic_identity.ensure_key(str(tmp_path))
    assert not os.listdir(tmp_path)


def test_each_part_of_an_identity_makes_another_socket() -> None:
    paths = {eic_identity.control_path("/cp", identity) for identity in (["a", "b"], ["ab", ""], ["a", None], ["a", "None"], ["b", "a"])}
    assert len(paths) == 5
    assert eic_identity.control_path("/cp", ["a"]) == eic_identity.control_path("/cp", ["a"])


def test_a_socket_fits_or_the_directory_is_named() -> None:
    fitting = "/" + "d" * 60
    assert len(eic_identity.control_path(fitting, ["a"])) + 17 < 104
    with pytest.raises(InvalidInputError, match="ansible_control_path_dir"):
        eic_identity.control_path("/" + "d" * 70, ["a"])


def test_sockets_lie_below_ansible_home_where_they_fit() -> None:
    assert eic_identity.default_control_directory("/srv/ansible") == "/srv/ansible/cp"
    long = "/srv/" + "x" * 60
    with pytest.raises(InvalidInputError):
        eic_identity.control_path(f"{long}/cp", [])
    assert eic_identity.default_control_directory(long) == "~/.ansible/cp"


def test_paths_are_quoted_for_ssh() -> None:
    assert eic_identity.quoted_path("/a b/100%") == '"/a b/100%%"'


@pytest.mark.parametrize("path", ['/a"b', "/a\\b", "/a${HOME}", "/a\nb"])
def test_paths_that_ssh_cannot_carry_are_refused(path: str) -> None:
    with pytest.raises(InvalidInputError):
        eic_identity.quoted_path(path)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_the_public_key_of_the_users_own_key(tmp_path: pathlib.Path, kind: str) -> None:
    private = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "me@home", "-f", str(private)], check=True)
    public = " ".join((tmp_path / "id.pub").read_text().split()[:2])
    assert eic_identity.public_key_of(str(private)) == eic_identity.public_key_of(f"{private}.pub") == public
    (tmp_path / "id.pub").unlink()
    assert eic_identity.public_key_of(str(private)) == public


def test_an_own_key_that_cannot_be_used_is_named(tmp_path: pathlib.Path) -> None:
    private = tmp_path / "id"
    with pytest.raises(eic_identity.KeyFileError, match=r"id does not exist"):
        eic_identity.public_key_of(str(private))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(private)], check=True)
    assert eic_identity.public_key_of(str(private)).startswith("ssh-ed25519 ")
    (tmp_path / "id.pub").unlink()
    with pytest.raises(eic_identity.KeyFileError, match="without a passphrase"):
        eic_identity.public_key_of(str(private))
