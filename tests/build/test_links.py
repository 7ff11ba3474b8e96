# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of the pages lead somewhere, and files that they name are there. Nothing is asked of a network: other sites' links are checked by their form."""
from __future__ import annotations

import ast
import functools
import os
import pathlib
import re
import typing
import urllib.parse

import examples
import pytest
import yaml
from markup import REPOSITORY

_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_BARE = re.compile(r"(?<![(\w])https?://[\w-]+\.[^\s)>`\"']+")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_TEST_FILE = re.compile(r"\btest_\w+\.py\b")
_PATH = re.compile(r"`((?:\.github|awx|changelogs|docs|extensions|meta|playbooks|plugins|roles|tests)/[\w./-]+)(?::\w+)?`")
# Pages about the repository itself: on the others, `plugins/ecc` is a directory of the user's.
INSIDE = ("CONTRIBUTING.md", "SECURITY.md", "tests/README.md", "tests/lab/README.md")
HOME = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text(encoding="utf-8"))["repository"]

pages = pytest.mark.parametrize("page", examples.markdown_files(), ids=lambda path: str(path.relative_to(REPOSITORY)))


@functools.cache
def anchors(path: pathlib.Path) -> frozenset[str]:
    """The anchors of a page, as GitHub and the site make them from its headings."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return frozenset(slug if not number else f"{slug}-{number}" for slug, last in found.items() for number in range(last + 1))


def problem_of(target: str, page: pathlib.Path) -> typing.Optional[str]:
    """Why a link leads nowhere; None when it leads somewhere."""
    parts = urllib.parse.urlsplit(target)
    if parts.scheme == "mailto":
        return None
    if target.startswith(HOME + "/"):
        inside = re.fullmatch(re.escape(HOME) + r"/(?:blob|tree)/main/([^#]+)(?:#(.+))?", target)
        return _problem_of_file(REPOSITORY / inside[1], inside[2] or "") if inside else None
    if parts.scheme or parts.netloc:
        is_sound = parts.scheme == "https" and re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?", parts.netloc) and not re.search(r"[\s<>{}]", target)
        return None if is_sound else f"{target} is no address that a reader could follow"
    path = page if not parts.path else pathlib.Path(os.path.normpath(page.parent / urllib.parse.unquote(parts.path)))
    return _problem_of_file(path, parts.fragment)


def _problem_of_file(path: pathlib.Path, fragment: str) -> typing.Optional[str]:
    if not path.exists():
        return f"there is no {path}"
    if REPOSITORY not in (path, *path.parents):
        return f"{path} is outside"
    if fragment and path.suffix == ".md" and fragment not in anchors(path):
        return f"{path.name} has no heading #{fragment}"
    return None


@pages
def test_links(page: pathlib.Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = _LINK.findall(_CODE.sub(lambda code: "" if code[0].startswith("```") else code[0].replace("](", ""), text))
    targets += _BARE.findall(_CODE.sub("", _LINK.sub("", text)))
    problems = [problem for problem in (problem_of(target, page) for target in targets) if problem]
    assert not problems, problems


@pages
def test_test_files_that_are_named_exist(page: pathlib.Path) -> None:
    known = {path.name for path in (REPOSITORY / "tests").rglob("test_*.py")}
    assert not set(_TEST_FILE.findall(page.read_text(encoding="utf-8"))) - known


@pytest.mark.parametrize("name", INSIDE)
def test_paths_that_are_named_exist(name: str) -> None:
    page = REPOSITORY / name
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not [path for path in _PATH.findall(text) if not (REPOSITORY / path).exists() and not (page.parent / path).exists()]


def test_extension_points_are_where_they_are_said_to_be() -> None:
    named = re.findall(r"`([\w./-]+\.py):(\w+)`", (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(named) >= 10
    missing = []
    for path, name in named:
        nodes = ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body
        defined = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        for node in nodes:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        missing += [] if name in defined else [f"{path}:{name}"]
    assert not missing


def test_a_link_that_leads_nowhere_is_seen() -> None:
    page = REPOSITORY / "docs" / "plugins.md"
    for target in ("nowhere.md", "restart.md#nothing", "#nothing", f"{HOME}/blob/main/nothing.py", "http://example.com/", "https://nodots/", "/etc/passwd"):
        assert problem_of(target, page), target
    for target in ("restart.md#methods", "#drift", "../tests/test", f"{HOME}/blob/main/tests/test", f"{HOME}/issues", "https://docs.ansible.com/"):
        assert not problem_of(target, page), target


def test_the_troubleshooting_page_quotes_the_code() -> None:
    table = re.findall(r"^\| (`.*?) \| ", (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    code = " ".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "plugins").glob("*/*.py"))
    # sentences are put together from several texts in the code
    code = re.sub(r"\"\s+f?\"", "", code)
    assert len(table) > 10
    assert not [text for row in table for text in re.findall(r"`([^`]+)`", row) if text not in code]
