# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What contributors are offered works: checks at commits, editors' settings, templates of issues."""
from __future__ import annotations

import configparser
import pathlib
import re
import subprocess

import pytest
import tomllib
import yaml
from markup import REPOSITORY
from programs import run_program

TEMPLATES = REPOSITORY / ".github" / "ISSUE_TEMPLATE"


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files", "-z", *patterns], capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def test_the_checks_at_a_commit_run(tmp_path: pathlib.Path) -> None:
    run_program("pre-commit", "validate-config", str(REPOSITORY / ".pre-commit-config.yaml"))
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert all((REPOSITORY / hook["entry"].split()[0]).is_file() for hook in hooks)
    run = run_program("pre-commit", "run", "yamllint", "--config", ".pre-commit-config.yaml", "--files", "galaxy.yml", PRE_COMMIT_HOME=str(tmp_path))
    assert "Passed" in run.stdout


def test_files_are_as_editors_are_told() -> None:
    text = (REPOSITORY / ".editorconfig").read_text(encoding="utf-8")
    settings = configparser.ConfigParser()
    settings.read_string("[root]\n" + text)
    tools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert settings["*.{py,sh}"]["max_line_length"] == str(tools["ruff"]["line-length"])
    assert settings["*"]["insert_final_newline"] == settings["*"]["trim_trailing_whitespace"] == "true"
    wrong = []
    for name in tracked("*.py", "*.yml", "*.sh", "*.cfg", "*.toml", "*.rst", "*.dot"):
        content = (REPOSITORY / name).read_bytes()
        if content and (not content.endswith(b"\n") or b"\r" in content or re.search(rb"[ \t]+$", content, re.MULTILINE)):
            wrong.append(name)
    assert not wrong


@pytest.mark.parametrize("template", sorted(path for path in TEMPLATES.glob("*.yml") if path.name != "config.yml"), ids=lambda path: path.stem)
def test_a_template_asks_something(template: pathlib.Path) -> None:
    content = yaml.safe_load(template.read_text(encoding="utf-8"))
    assert content["name"] and content["description"]
    asked = [each for each in content["body"] if each["type"] != "markdown"]
    assert asked and len({each["id"] for each in asked}) == len(asked)
    assert all(each["type"] in ("input", "textarea", "dropdown", "checkboxes") and each["attributes"]["label"] for each in asked)


def test_a_hole_in_security_is_sent_to_the_right_place() -> None:
    links = {link["url"] for link in yaml.safe_load((TEMPLATES / "config.yml").read_text(encoding="utf-8"))["contact_links"]}
    (address,) = re.findall(r"\((https://[^)]*/security/advisories/new)\)", (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8"))
    assert address in links
