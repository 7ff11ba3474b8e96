# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the pictures of the audit's page for the documentation: ``make screenshots``. They are of synthetic audits, and committed."""
from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

from conftest import FINISHED, HISTORY, REPOSITORY, as_page, samples
from playwright.sync_api import sync_playwright

IMAGES = REPOSITORY / "docs" / "images"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"] if os.geteuid() == 0 else [])
        path = pathlib.Path(scratch) / "drift.html"

        report = samples.fleet(2000, 20).report(FINISHED)
        history = [*HISTORY[:-1], {**HISTORY[-1], **{name: report["totals"][name] for name in HISTORY[-1] if name in report["totals"]}}]
        path.write_text(as_page(report, history, "Plugin drift"), encoding="utf-8")
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(path.as_uri())
        page.screenshot(path=IMAGES / "drift.png")

        path.write_text(as_page(samples.five_states().report(FINISHED), [], "Plugin drift"), encoding="utf-8")
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(path.as_uri())
        page.click('button[aria-label^="tampered"]')
        page.locator(".open summary").first.click()
        page.locator('button[aria-label^="tampered"]').scroll_into_view_if_needed()
        page.screenshot(path=IMAGES / "drift-workspace.png")
        browser.close()
