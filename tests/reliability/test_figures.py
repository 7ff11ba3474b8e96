# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of figures is what the figures say, and says of nothing that it was survived which was not."""
from __future__ import annotations

import json

import figures


def test_the_tables_are_made_from_the_figures():
    text = figures.PAGE.read_text(encoding="utf-8")
    sections = json.loads(figures.FIGURES.read_text(encoding="utf-8"))
    assert figures.page(text, sections) == text
    assert all(f"<!-- figures: {name} -->" in text for name in sections)


def test_a_table_is_written_between_its_comments():
    section = {"date": "2026-01-02", "command": "run it", "columns": ["what", "many"], "rows": [["kills", 12345]]}
    text = figures.page("Before.\n<!-- figures: kill -->\nold\n<!-- end of figures -->\nAfter.\n", {"kill": section})
    assert text == (
        "Before.\n<!-- figures: kill -->\n\n| what | many |\n| --- | --- |\n| kills | 12,345 |\n\n2026-01-02, `run it`\n\n<!-- end of figures -->\nAfter.\n"
    )
