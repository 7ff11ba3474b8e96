# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages and diagrams that are made from something else are current, and what they name is there."""
from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import typing
import xml.etree.ElementTree

import diagrams
import parity_page
import pytest
from markup import REPOSITORY
from write_pages import PAGES


@pytest.mark.parametrize("module", PAGES, ids=lambda module: module.__name__)
def test_a_page_is_current(module: typing.Any) -> None:
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "make it anew with `make pages`"


def test_the_tests_of_the_parity_matrix_exist() -> None:
    files = sorted({f"tests/{name.split('::', 1)[0]}" for name in parity_page.tests()})
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *files], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    known = set(collected.stdout.splitlines())
    known |= {name.split("[", 1)[0] for name in known}
    missing = [name for name in parity_page.tests() if f"tests/{name}" not in known]
    assert not missing, f"{missing}\n{collected.stdout[-2000:]}"


def test_the_matrix_says_something_for_both_tiers_that_are_pushed_to() -> None:
    assert not [feature["feature"] for group in parity_page.matrix() for feature in group["features"] if not (feature.get("docker") and feature.get("eic"))]


@pytest.mark.parametrize("source", diagrams.sources(), ids=lambda source: source.stem)
def test_a_diagram_is_current(source: pathlib.Path) -> None:
    drawing = diagrams.image_of(source).read_text(encoding="utf-8")
    assert diagrams.mark_of(source) in drawing, "draw it anew with `make pages` (needs Graphviz)"
    words = "".join(xml.etree.ElementTree.fromstring(drawing).itertext())
    for label in re.findall(r'label="([^"]+)"', source.read_text(encoding="utf-8")):
        assert all(line.strip() in words for line in re.split(r"\\[nlr]", label)), label


def test_every_drawing_has_its_text() -> None:
    plots = set(diagrams.IMAGES.glob("performance-*.svg"))  # tests/bench/report makes them, out of measurements
    assert {path.stem for path in set(diagrams.IMAGES.glob("*.svg")) - plots} == {source.stem for source in diagrams.sources()}
