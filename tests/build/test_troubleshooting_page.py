# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The troubleshooting page says what the plugin says."""
from __future__ import annotations

import troubleshooting_page


def test_the_page_is_current() -> None:
    assert troubleshooting_page.PAGE.read_text(encoding="utf-8") == troubleshooting_page.page(), (
        "make it anew: .cache/venv/bin/python tests/build/troubleshooting_page.py > docs/troubleshooting-eic.md"
    )
