# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Chromium that opens the audit's page from a file, without any network."""
from __future__ import annotations

import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / ".cache" / "collections"))
sys.path.insert(0, str(REPOSITORY / "tests" / "unit" / "plugins" / "plugin_utils"))

import audit_samples as samples
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_collector import AuditCollector
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_page import as_page

FINISHED = samples.STARTED + 170
HISTORY = [
    {"finished": f"2026-11-{day:02d}T02:00:00.000Z", "workspaces": 2000, "in_sync": 1900 - drift, "drift": drift, "unknown": 4, "external": 19, "none": 2}
    for day, drift in enumerate([20, 22, 25, 24, 40, 80, 140, 90, 60, 50, 45, 60, 70, 66, 61, 64, 80, 90, 86, 94], start=2)
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; a missing one fails, because a skipped test would look like a passed one."""
    program = shutil.which("chromium")
    assert program, "chromium is not installed: run tests/setup"
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser, tmp_path: pathlib.Path) -> Iterator[Callable[..., Page]]:
    """Open the page of an audit. At the end, anything that the page has complained about or asked the network for is an error."""
    problems: list[str] = []
    contexts = []

    def open_page(
        collector: AuditCollector, *, history: list | None = None, bypass_csp: bool = False,
        complaints: bool = False, title: str = "Plugin drift", **options: object
    ) -> Page:
        path = tmp_path / "drift.html"
        path.write_text(as_page(collector.report(FINISHED), history or [], title), encoding="utf-8")
        context = browser.new_context(bypass_csp=bypass_csp, **{"viewport": {"width": 1360, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        if not complaints:  # what a page is expected to say about an attack is no problem
            page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: problems.append(f"request: {request.url}") if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        assert page.inner_text("#shown"), "the script has not come to its end"
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
