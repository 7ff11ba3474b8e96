# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutting a plugin's blocks out of ``CLAUDE.md``."""
from __future__ import annotations

import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import placed_text
from ansible_collections.molecule_ai.workspace.plugins.module_utils.placed_text import cut_blocks

A = "# Plugin: p / rule: a.md"
B = "# Plugin: p / fragment: b.md"
OTHER = "# Plugin: q / rule: a.md"
CONTENTS = {A: "Rule a.\n\nMore of it.\n", B: "Fragment b.\n"}
BLOCK_A = f"{A}\n\nRule a.\n\nMore of it.\n"
BLOCK_B = f"{B}\n\nFragment b.\n"


def known(contents: typing.Mapping[str, str]) -> typing.Callable[[str], typing.List[str]]:
    return lambda header: [contents[header]] if header in contents else []


def cut(text: str, contents: typing.Optional[typing.Mapping[str, str]] = None) -> str:
    return cut_blocks(text, "p", known(CONTENTS if contents is None else contents)).text


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", ""),
        ("mine", "mine"),
        ("\n\n mine \n", "\n\n mine \n"),
        (BLOCK_A, ""),
        (f"{BLOCK_A}\n{BLOCK_B}", ""),
        (f"{BLOCK_A}\n{BLOCK_B}\n", ""),
        (f"mine\n{BLOCK_A}\n{BLOCK_B}", "mine\n"),
        (f"mine\n\n{BLOCK_A}\n{BLOCK_B}", "mine\n\n"),
        (f"mine\n{BLOCK_A}\n{BLOCK_B}yours\n", "mine\nyours\n"),
        (f"{BLOCK_A}\nyours\n", "yours\n"),
        (f"mine\n\n{BLOCK_A}\nyours\n", "mine\n\nyours\n"),
        (f"mine\n{BLOCK_A}\n\n\nyours\n", "mine\n\n\nyours\n"),
        (f"mine\n{BLOCK_A}\n{OTHER}\n\nTheirs.\n\n{BLOCK_B}", f"mine\n{OTHER}\n\nTheirs.\n\n"),
        (f"mine\n{BLOCK_A}{OTHER}\n\nTheirs.\n", f"mine\n{OTHER}\n\nTheirs.\n"),
        (f"{BLOCK_A}\nbetween\n{BLOCK_A}after", "between\nafter"),
        (BLOCK_A.rstrip("\n"), ""),
        (f"mine\r\n{BLOCK_A}".replace("\n", "\r\n").replace("\r\r", "\r"), "mine\r\n"),
    ],
)
def test_exactly_the_blocks_go(text: str, rest: str) -> None:
    assert cut(text) == rest


def test_of_several_versions_the_longest_that_is_there_goes() -> None:
    short, long, other = "Rule a.\n", "Rule a.\n\nMore of it.\n", "Rule a.\n\nSomething else.\n"
    for versions in ([short, long], [long, short], [other, short, long]):
        assert cut_blocks(f"mine\n\n{BLOCK_A}\nyours\n", "p", lambda header, versions=versions: versions if header == A else []).text == "mine\n\nyours\n"


def test_two_paragraphs_of_a_person_are_not_joined() -> None:
    """The blank line may be the adapter's or the person's; without it the two would be one paragraph."""
    assert cut(f"mine\n{BLOCK_A}\nyours\n") == "mine\n\nyours\n"


@pytest.mark.parametrize(
    "text",
    [
        BLOCK_A.replace("Rule", "rule"),
        BLOCK_A.replace("\n\nMore", "\nMore"),
        f"{A}\n",
        f"{A}",
        f"> {BLOCK_A}",
        f" {A}\n\nRule a.\n\nMore of it.\n",
        BLOCK_A.replace("rule: a.md", "rule: c.md"),
        BLOCK_A.replace("p /", "pp /"),
    ],
)
def test_what_is_not_exactly_a_block_stays(text: str) -> None:
    assert cut(text) == text


def test_what_was_found_is_told_in_order_and_once() -> None:
    text = BLOCK_B + BLOCK_A + BLOCK_A + BLOCK_A.replace("More", "Less") + "# Plugin: p / rule: old.md\n\nOld.\n"
    found = cut_blocks(text, "p", known(CONTENTS))
    assert (found.removed, found.changed) == ([B, A], [A, "# Plugin: p / rule: old.md"])


def test_a_name_is_not_a_pattern() -> None:
    contents = {"# Plugin: p.q / rule: a.md": "x"}
    assert cut_blocks("# Plugin: pxq / rule: a.md\n\nx\n", "p.q", known(contents)) == ("# Plugin: pxq / rule: a.md\n\nx\n", [], [])


def test_content_with_headers_and_blank_lines_goes_whole() -> None:
    content = f"\n\nIntro\n\n\n\n{A}\n\nexample\n\n{OTHER}\n\n{B}\n\nEnd  \n\n"
    contents = {A: content, B: "End"}
    text = f"mine\n{A}\n\n{content.strip()}\n\n{B}\n\nEnd\n"
    assert cut(text, contents) == "mine\n"


def test_another_plugins_text_that_quotes_ours_stays_whole() -> None:
    quoting = f"{OTHER}\n\nThe other plugin writes:\n\n{BLOCK_A}\nSee there.\n"
    contents = {**CONTENTS, OTHER: quoting.split("\n\n", 1)[1]}
    assert cut(f"{BLOCK_A}\n{quoting}\n{BLOCK_B}", contents) == f"{quoting}\n"


@pytest.mark.parametrize("block", [f"{A}\n\n\n\n{BLOCK_B}", f"{A}\n\n", f"{A}\n", f"{A}\n\n{BLOCK_B}"])
def test_an_empty_rule_is_a_header_alone(block: str) -> None:
    assert cut(f"mine\n{block}", {A: " \n\n", B: "Fragment b."}) == "mine\n"


@pytest.mark.parametrize("content", ["a\r\nb\r\n", "a\rb", "a\nb", "\n  a\nb  \n"])
def test_line_ends_and_outer_white_space_of_the_file_do_not_matter(content: str) -> None:
    assert cut(f"{A}\n\na\nb\n", {A: content}) == ""


def test_separators_that_only_python_takes_for_line_ends() -> None:
    content = "one\x0ctwo\u2028three\x85four\x1dfive"
    assert cut(f"x\x0cy\n{A}\n\n{content}\n", {A: content}) == "x\x0cy\n"
    assert cut(f"{A}\n\n{content.replace(chr(0x0c), chr(0x0b))}\n", {A: content}) != ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.md", True), ("README.md", False), ("Readme.md", False), ("changelog.md", False), ("LICENSE.md", False), ("Contributing.md", False)]
    + [("a.MD", False), (".md", False), ("readme.txt", False), ("readme2.md", True), ("..md", True)],
)
def test_fragments(name: str, expected: bool) -> None:
    assert placed_text.is_fragment(name) is expected


def test_headers_can_be_taken_apart() -> None:
    assert placed_text.split_header(placed_text.header("p", "rule", "a / b: c.md")) == ("rule", "a / b: c.md")
