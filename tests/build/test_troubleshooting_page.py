"""The troubleshooting page says what the plugin says."""
from __future__ import annotations

import troubleshooting_page


def test_the_page_is_current() -> None:
    assert troubleshooting_page.PAGE.read_text(encoding="utf-8") == troubleshooting_page.page(), (
        "make it anew: tests/build/troubleshooting_page.py > docs/troubleshooting-eic.md"
    )
