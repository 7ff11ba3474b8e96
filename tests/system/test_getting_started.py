# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page docs/getting-started.md, followed to the letter on the lab, with what it promises in between."""
from __future__ import annotations

import pathlib
import re
import subprocess
import textwrap
from typing import NamedTuple

import yaml
from lab.api import Lab
from lab.fixtures import write_plugins

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "getting-started.md"
PLUGINS = "/tmp/molecule-plugins"
# The fixture "lab" has done the one and does the other; the environment file of a second lab lies elsewhere, and the test gives it.
BY_FIXTURE = ("make lab-up", "make lab-down", ". .lab/environment")


class Block(NamedTuple):
    language: str
    text: str


def section(title: str) -> list[Block]:
    """The blocks of code below a heading."""
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, textwrap.dedent(code)) for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def commands(block: Block) -> list[str]:
    assert block.language == "console"
    return [line[2:] for line in re.sub(r"\\\n\s*", "", block.text).splitlines()]


class Reader:
    """Somebody who types what the page says, at the lab."""

    def __init__(self, lab: Lab, directory: pathlib.Path, plugins: pathlib.Path, **environment: str) -> None:
        self._environment = {**lab.environment(), "LAB_STATE": str(lab.paths.state), "ANSIBLE_NOCOLOR": "1", **environment}
        self._directory = directory
        self._plugins = plugins

    def types(self, command: str) -> str:
        completed = subprocess.run(
            ["bash", "-c", command.replace(PLUGINS, str(self._plugins))], cwd=self._directory, env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
        )
        assert completed.returncode == 0, f"$ {command}\n{completed.stdout}"
        return completed.stdout

    def writes(self, block: Block) -> pathlib.Path:
        """A file whose name its first line says."""
        path = self._directory / block.text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        return path


def changed(output: str) -> dict[str, int]:
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)}


def test_five_minutes_on_the_lab(lab: Lab, tmp_path: pathlib.Path) -> None:
    for name in ("alpha", "eic-claude"):
        lab.reset(name)
    blocks = [[command for command in commands(block) if command not in BY_FIXTURE] for block in section("Five minutes on the lab")]
    (fixtures,), (install, again, status), (want, tamper, audit, sync, remove), nothing = blocks
    assert nothing == []
    reader = Reader(lab, REPOSITORY, tmp_path / "plugins")
    reader.types(fixtures)
    assert changed(reader.types(install)) == {"alpha": 2, "eic-claude": 2}
    assert changed(reader.types(again)) == {"alpha": 0, "eic-claude": 0}
    assert len(re.findall(r"^(?:alpha|eic-claude) .*\becc$", reader.types(status), re.MULTILINE)) == 2
    reader.types(want)
    reader.types(tamper)
    before, starts = lab.snapshot("alpha"), {name: len(lab.starts(name)) for name in ("alpha", "eic-claude")}
    told = reader.types(audit)
    assert '"alpha ecc modified rules/commits.md"' in told and "eic-claude no drift" in told and "Hurry." in told
    assert lab.snapshot("alpha") == before
    assert changed(reader.types(sync)) == {"alpha": 2, "eic-claude": 0}
    assert {name: len(lab.starts(name)) - count for name, count in starts.items()} == {"alpha": 1, "eic-claude": 0}
    reader.types(remove)
    assert lab.loaded_names("alpha") == lab.loaded_names("eic-claude") == []


def test_with_workspaces_of_your_own(lab: Lab, tmp_path: pathlib.Path) -> None:
    """The page's hosts are two of the lab's workspaces; where the lab is, only the lab's own variables say, which lie beside the page's."""
    workspaces = ("alpha", "eic-hermes")
    for name in workspaces:
        lab.reset(name)
    reader = Reader(lab, tmp_path, tmp_path)
    for title in ("2. The inventory", "3. The plugins"):
        for block in section(title):
            reader.writes(block)
    write_plugins(tmp_path / "inventory" / "plugins")
    of_the_lab = yaml.safe_load(lab.inventory.read_text(encoding="utf-8"))["workspaces"]["vars"]
    (tmp_path / "inventory" / "group_vars" / "all.yml").write_text(yaml.safe_dump(of_the_lab), encoding="utf-8")

    (first, real, again), _said = [commands(block) if block.language == "console" else [] for block in section("4. Look first, then install")]
    before = {name: lab.snapshot(name) for name in workspaces}
    assert all(changed(reader.types(first)).values())
    assert before == {name: lab.snapshot(name) for name in workspaces}
    told = reader.types(real)
    assert all(changed(told).values())
    for line in section("4. Look first, then install")[1].text.splitlines():
        assert line.split('": "', 1)[1].rstrip('"') in told, line
    assert set(changed(reader.types(again)).values()) == {0}
    assert [lab.loaded_names(name) for name in workspaces] == [["ecc"], ["ecc"]]

    audit = section("5. Audit")[0]
    assert "support-agent no drift" in reader.types(*commands(audit))

    install, remove = commands(section("6. One plugin, one removal")[0])
    reader.types(install)
    assert lab.loaded_names(workspaces[0]) == ["ecc", "superpowers"] and lab.loaded_names(workspaces[1]) == ["ecc"]
    reader.types(remove)
    assert [lab.loaded_names(name) for name in workspaces] == [[], []]
