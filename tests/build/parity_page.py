# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that says for each feature and tier which test shows it, made from parity.yml."""
from __future__ import annotations

import pathlib
import typing

import yaml
from markup import REPOSITORY

PAGE = REPOSITORY / "docs" / "parity.md"
TIERS = ("docker", "eic", "external", "none")

_HEAD = """\
# Backend parity: each feature on each tier, with its test

<!-- Made by tests/build/parity_page.py; change tests/build/parity.yml instead. -->

The numbers are the [tests](#tests) that show it on that tier. They run in CI on the lab, with real containers, real sshd and a simulated AWS, and this
page fails its own test when one of them is gone. An empty cell: does not apply. Plugins cannot be pushed to `external` and `none`; what is there instead
is said in words.
"""


def matrix() -> list[dict[str, typing.Any]]:
    """The groups of features, as the data file has them."""
    return list(yaml.safe_load((pathlib.Path(__file__).parent / "parity.yml").read_text(encoding="utf-8"))["groups"])


def tests() -> list[str]:
    """All tests that are named, as pytest calls them (without ``tests/``), in order of their first appearance."""
    named: dict[str, None] = {}
    for group in matrix():
        for feature in group["features"]:
            for tier in TIERS:
                named.update(dict.fromkeys(_tests_of(feature.get(tier))))
    return list(named)


def page() -> str:
    """The page's text."""
    numbers = {name: number for number, name in enumerate(tests(), start=1)}
    parts = [_HEAD]
    for group in matrix():
        parts.append(f"\n## {group['title']}\n\n| feature | " + " | ".join(f"`{tier}`" for tier in TIERS) + " |\n|" + "---|" * (len(TIERS) + 1) + "\n")
        for feature in group["features"]:
            parts.append(f"| {feature['feature']} | " + " | ".join(_cell(feature.get(tier), numbers) for tier in TIERS) + " |\n")
    parts.append("\n## Tests\n\n")
    for name, number in numbers.items():
        file, test = name.split("::", 1)
        parts.append(f"{number}. [{file.rsplit('/', 1)[1]}](../tests/{file}): `{test}`\n")
    return "".join(parts)


def _tests_of(entry: typing.Any) -> list[str]:
    named = entry.get("tests", []) if isinstance(entry, dict) else entry or []
    return [name if "/" in name.split("::", 1)[0] else f"system/{name}" for name in named]


def _cell(entry: typing.Any, numbers: dict[str, int]) -> str:
    found = ", ".join(str(numbers[name]) for name in _tests_of(entry))
    if isinstance(entry, dict):
        return f"{entry['says']}: {found}" if found else str(entry["says"])
    return f"✔ {found}" if found else ""
