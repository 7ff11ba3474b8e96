# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be a known_hosts file, and whose keys are in it."""
from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_known_hosts

INSTANCE = "i-0123456789abcdef0"


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "known_hosts"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A host key as it stands in a line: type and base64."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def test_a_file_to_remember_keys_in_is_made_private_and_kept(file: pathlib.Path) -> None:
    eic_known_hosts.prepare(str(file), remember=True)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("i-1 ssh-ed25519 A\n")
    eic_known_hosts.prepare(str(file), remember=True)
    assert file.read_text() == "i-1 ssh-ed25519 A\n"


def test_a_file_to_look_keys_up_in_may_be_missing(file: pathlib.Path) -> None:
    eic_known_hosts.prepare(str(file), remember=False)
    assert not file.exists() and not eic_known_hosts.has(str(file), INSTANCE)


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "link to a device", "directory", "device", "pipe"])
def test_what_is_no_regular_file_is_refused(file: pathlib.Path, kind: str, remember: bool) -> None:
    other = file.with_name("other")
    if kind == "link":
        other.touch()
    if kind.startswith("link"):
        file.symlink_to("/dev/null" if kind == "link to a device" else other)
    elif kind == "directory":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file = pathlib.Path("/dev/null")
    with pytest.raises(InvalidInputError, match="host keys cannot be .* there, check ansible_eic_known_hosts_file") as caught:
        eic_known_hosts.prepare(str(file), remember=remember)
    assert str(caught.value).startswith(f"{file}: ")
    with pytest.raises(InvalidInputError, match="check ansible_eic_known_hosts_file"):
        eic_known_hosts.add(str(file), INSTANCE, ["ssh-ed25519 A"])
    assert not other.exists() or not other.read_text()


def test_a_directory_that_is_missing_is_named(file: pathlib.Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file or directory; host keys cannot be remembered there"):
        eic_known_hosts.prepare(str(file / "below"), remember=True)


def test_keys_are_found_by_whole_names_patterns_and_hashes(file: pathlib.Path, key: str) -> None:
    eic_known_hosts.add(str(file), "i-1", [key])
    eic_known_hosts.add(str(file), "i-12", [key, key])
    assert file.read_text() == f"i-1 {key}\ni-12 {key}\ni-12 {key}\n"
    assert [eic_known_hosts.has(str(file), each) for each in ("i-1", "i-12", "i-2", "i-123")] == [True, True, False, False]
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert "i-1" not in file.read_text()
    assert [eic_known_hosts.has(str(file), each) for each in ("i-1", "i-12", "i-2")] == [True, True, False]
    file.write_text(f"@cert-authority i-3* {key}\n")
    assert [eic_known_hosts.has(str(file), each) for each in ("i-33", "i-4")] == [True, False]


@pytest.mark.parametrize("names", [INSTANCE, f"{INSTANCE},10.0.0.1", "i-*", "@cert-authority i-*"])
def test_a_line_that_was_cut_off_anywhere_is_no_key(file: pathlib.Path, key: str, names: str) -> None:
    whole = f"{names} {key}"
    # where base64 can be decoded, where it cannot, within the type, and before it
    for length in (len(whole) - 4, len(whole) - 1, len(whole) - 47, len(names) + 5, len(names) + 1, len(names)):
        file.write_text(whole[:length])
        assert not eic_known_hosts.has(str(file), INSTANCE), whole[:length]
    file.write_text(f"{whole[:-4]}\n{whole}")
    assert eic_known_hosts.has(str(file), INSTANCE)


def test_a_key_is_looked_for_behind_lines_that_are_none(file: pathlib.Path, key: str) -> None:
    file.write_bytes(f"# {key}\n{INSTANCE} ssh-ed25519 A\n@revoked {INSTANCE} {key}\n{INSTANCE} ssh-ed25519 ".encode() + b"\xff\xfe\n")
    assert not eic_known_hosts.has(str(file), INSTANCE)
    with file.open("a") as lines:
        lines.write(f"{INSTANCE}\t{key} a comment\n")
    assert eic_known_hosts.has(str(file), INSTANCE)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_whole_key_is_told_from_every_part_of_it(tmp_path: pathlib.Path, kind: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(tmp_path / "key")], check=True)
    name, data = (tmp_path / "key.pub").read_text().split()[:2]
    assert eic_known_hosts.is_key(name, data)
    assert not [length for length in range(len(data)) if eic_known_hosts.is_key(name, data[:length])]
    assert not eic_known_hosts.is_key("ssh-dss", data)


def test_keys_are_added_on_lines_of_their_own(file: pathlib.Path, key: str) -> None:
    torn = f"{INSTANCE} {key[:30]}"
    file.write_text(torn)
    eic_known_hosts.add(str(file), INSTANCE, [key])
    eic_known_hosts.add(str(file), "i-1", [key])
    assert file.read_text() == f"{torn}\n{INSTANCE} {key}\ni-1 {key}\n"
    assert eic_known_hosts.has(str(file), INSTANCE)


def test_a_link_is_followed_where_nothing_is_written(file: pathlib.Path) -> None:
    """As Kubernetes mounts a ConfigMap: each file is a link to one in a directory that is a link itself."""
    other = file.with_name("other")
    file.symlink_to(other)
    eic_known_hosts.prepare(str(file), remember=False, follow=True)
    assert not other.exists(), "missing is not wrong: ssh then knows no key"
    other.touch()
    eic_known_hosts.prepare(str(file), remember=False, follow=True)
    file.unlink()
    file.symlink_to("/dev/null")
    with pytest.raises(InvalidInputError, match="it is not a regular file"):
        eic_known_hosts.prepare(str(file), remember=False, follow=True)


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("{instance} {key}", True), ("@cert-authority i-* {key}", True), ("@cert-authority *.example.com {key}", False), ("i-1 {key}", False),
        ("@revoked {instance} {key}", False), ("{instance} ssh-ed25519 A", False), ("", False),
    ],
)
def test_keys_and_authorities_of_the_global_files_are_known(
    file: pathlib.Path, key: str, monkeypatch: pytest.MonkeyPatch, line: str, known: bool
) -> None:
    monkeypatch.setattr(eic_known_hosts, "GLOBAL_FILES", (str(file.with_name("missing")), str(file)))
    assert not eic_known_hosts.is_known_globally(INSTANCE)
    file.write_text(line.format(instance=INSTANCE, key=key) + "\n")
    assert eic_known_hosts.is_known_globally(INSTANCE) == known


def test_a_full_disk_keeps_no_half_of_the_keys_unnoticed(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(InvalidInputError, match="a part of them only"):
        eic_known_hosts.add(str(file), INSTANCE, ["ssh-ed25519 A"])
