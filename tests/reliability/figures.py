# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of docs/reliability.md: kept in docs/reliability.json, one section per campaign, and written into the page as tables.

A section is ``{"date", "command", "columns": [heading], "rows": [[value]]}``. The page holds, for each, a pair of comments
``<!-- figures: NAME -->`` and ``<!-- end of figures -->``; what lies between them is made from the section.
"""
from __future__ import annotations

import json
import pathlib
import re
import typing

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "reliability.md"
FIGURES = REPOSITORY / "docs" / "reliability.json"
_SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def record(name: str, section: dict[str, typing.Any]) -> None:
    """Replace one section, in both files."""
    sections = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    sections[name] = section
    FIGURES.write_text(json.dumps(sections, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), sections), encoding="utf-8")


def page(text: str, sections: dict[str, typing.Any]) -> str:
    """The page's text with its tables as the sections have them."""
    return _SECTION.sub(lambda found: found.group(1) + (_table(sections[found.group(2)]) if found.group(2) in sections else "") + found.group(3), text)


def _table(section: dict[str, typing.Any]) -> str:
    lines = [section["columns"], ["---"] * len(section["columns"]), *section["rows"]]
    table = "\n".join("| " + " | ".join(f"{value:,}" if isinstance(value, int) else value for value in line) + " |" for line in lines)
    return f"\n{table}\n\n{section['date']}, `{section['command']}`\n\n"
