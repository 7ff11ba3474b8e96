# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that end up in paths and command lines: what is refused, and that good ones come back unchanged."""
from __future__ import annotations

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import names
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError

BAD_PLUGIN_NAMES = [
    "", ".", "..", "../x", "a..b", "-rf", "_x", ".hidden", "a b", "a/b", "$(id)", "`id`", "line\nbreak", "end\n", "UPPER", "ü", "x" * 129, None, 7,
]
BAD_PATHS = [
    "", "relative", "/", "//x", "/configs/", "/configs/../etc", "/configs/./x", "/etc", "/home", "/tmp", "/a b", "/it's", "/$(id)", "/`id`", "/a;b", "/a&b",
    '/say"hi"', "/back\\slash", "/line\nbreak", "/end\n", "/*", "/~root", "/ü", None, 7,
    "/usr/bin", "/usr/local/share/x", "/etc/cron.d", "/lib64", "/lib/systemd", "/run/x", "/proc/1/root", "/var", "/var/lib", "/var/spool/cron",
    "/var/run/docker", "/root", "/root/.ssh", "/home/ubuntu/.ssh", "/srv", "/opt",
]


@pytest.mark.parametrize("name", ["a", "0", "ecc", "browser-automation", "a.b_c-d", "x" * 128])
def test_plugin_names(name: str) -> None:
    assert names.validate_plugin_name(name) == name


@pytest.mark.parametrize("name", BAD_PLUGIN_NAMES)
def test_bad_plugin_names(name: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        names.validate_plugin_name(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [
    "/configs", "/home/ubuntu/.hermes", "/home/ubuntu", "/opt/configs", "/srv/a.b_c-d@1+2", "/root/.hermes", "/tmp/configs", "/library", "/etcetera",
    "/var/lib/docker/volumes/configs/_data", "/var/lib/molecule", "/var/configs", "/mnt/usr/bin", "/data/etc",
])
def test_config_dirs(path: str) -> None:
    assert names.validate_config_dir(path) == path


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_config_dirs(path: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        names.validate_config_dir(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.validate_instance_id, ["i-01234567", "i-0123456789abcdef0"], ["i-0123456", "i-0123456789abcdef01", "mol-ws-a-0", "i-01234567\n", None]),
        (names.validate_container_name, ["ws-a1fa0000-111", "Molecule_1.x"], ["", "-rf", "a b", "a/b", "a\n", None]),
        (names.validate_workspace_id, ["a1fa0000-1111-4aaa-8bbb-000000000001"], ["", "-x", "a_b", "../x", "a\n", None]),
        (names.validate_systemd_unit, ["hermes.service", "a@b.service"], ["hermes", "-x.service", "a b.service", "x.service\n", None]),
    ],
)
def test_other_names(check: object, good: list[str], bad: list[object]) -> None:
    assert callable(check)
    for name in good:
        assert check(name) == name
    for name in bad:
        with pytest.raises(InvalidInputError):
            check(name)
