# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of errors before a connection: each row is a sentence, and each is told somewhere."""
from __future__ import annotations

import collections
import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_errors, eic_preparation_errors

_HERE = pathlib.Path(eic_preparation_errors.__file__)


@pytest.mark.parametrize("code", sorted(eic_preparation_errors.TABLES))
def test_every_row_reads_as_one_sentence(code: str) -> None:
    names = collections.defaultdict(lambda: "something")
    failure = eic_preparation_errors.TABLES[code]
    sentence = f"{failure.cause.format_map(names)}; {failure.remedy.format_map(names)}"
    assert "\n" not in sentence and "{{" not in sentence and not sentence.endswith(".")
    assert failure.kind in (eic_errors.UNREACHABLE, eic_errors.AUTHENTICATION, eic_errors.CONFIGURATION)


def test_every_row_is_told_somewhere_and_every_code_has_a_row() -> None:
    others = "".join(path.read_text(encoding="utf-8") for path in _HERE.parent.glob("*.py") if path != _HERE)
    assert [code for code in eic_preparation_errors.TABLES if f'"{code}"' not in others] == []
    assert not set(eic_preparation_errors.TABLES) & set(eic_errors.FAILURES), "the page would have two rows of one name"


def test_a_setting_is_refused_with_what_was_set() -> None:
    error = eic_preparation_errors.invalid("PathNotQuotable", value='a"b')
    assert str(error) == "'a\"b' cannot be used in ssh options; use a path without quotes, backslashes, '${' and control characters"
