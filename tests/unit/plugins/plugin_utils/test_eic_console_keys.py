# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys out of a console's output, and the file that remembers them."""
from __future__ import annotations

import base64
import pathlib
import stat

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_console_keys


def _key(kind: str, *parts: bytes) -> str:
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), *parts))
    return f"{kind} {base64.b64encode(blob).decode()}"


ED25519, RSA = _key("ssh-ed25519", bytes(32)), _key("ssh-rsa", b"\1\0\1", bytes(257))
ECDSA = _key("ecdsa-sha2-nistp256", b"nistp256", bytes(65))
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        ([BEGIN, f"{ED25519} root@ip-10-0-0-1", RSA, ECDSA, END], [ED25519, RSA, ECDSA]),
        ([f"[   12.5] cloud-init[900]: {BEGIN}", f"[   12.5] cloud-init[900]: {ED25519} root@x", f"<14>May 4 ec2: {RSA}", f"ec2: {END}"], [ED25519, RSA]),
        # the latest whole block counts: an image may have been made from an instance, and the output may be cut anywhere
        ([BEGIN, RSA, END, "reboot", BEGIN, ED25519, END], [ED25519]),
        ([BEGIN, ED25519, END, BEGIN, RSA], [ED25519]),
        ([BEGIN, ED25519], []),
        ([ED25519, END], []),
        ([ED25519], []),
        ([], []),
        # what is not the key that it says it is
        ([BEGIN, "ssh-ed25519 AAAA", "ssh-rsa " + ED25519.split()[1], "ssh-dss " + RSA.split()[1], "ssh-ed25519 ....", END], []),
        ([BEGIN, ED25519[:-4], ED25519, RSA[:40], END], [ED25519]),
        (["-----BEGIN SSH HOST KEY FINGERPRINTS-----", "256 SHA256:x root", "-----END SSH HOST KEY FINGERPRINTS-----"], []),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_keys_are_found_in_what_cloud_init_prints(lines: list[str], keys: list[str], newline: str) -> None:
    assert eic_console_keys.parse(newline.join(lines)) == keys


def test_the_console_is_read_once_for_each_instance(tmp_path: pathlib.Path) -> None:
    file, asked = tmp_path / "known_hosts.console", []

    def console_output() -> str:
        asked.append(1)
        return f"{BEGIN}\n{ED25519}\n{RSA}\n{END}\n"

    for instance in ("i-1", "i-1", "i-12"):
        assert eic_console_keys.ensure(str(file), instance, console_output)
    assert len(asked) == 2
    assert file.read_text().splitlines() == [f"i-1 {ED25519}", f"i-1 {RSA}", f"i-12 {ED25519}", f"i-12 {RSA}"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_console_is_read_again_when_a_full_disk_took_a_part_of_its_key(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "known_hosts.console"
    file.write_text(f"i-1 {ED25519[:30]}")
    assert eic_console_keys.ensure(str(file), "i-1", lambda: f"{BEGIN}\n{ED25519}\n{END}\n")
    assert file.read_text().splitlines() == [f"i-1 {ED25519[:30]}", f"i-1 {ED25519}"]


def test_a_console_without_keys_leaves_no_trace(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "known_hosts.console"
    assert not eic_console_keys.ensure(str(file), "i-1", lambda: "still booting")
    assert not file.exists()
