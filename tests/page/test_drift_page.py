# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's page in a real browser: what it says, how it is used, by whom, with what in it, and how large it may get."""
from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import audit_samples as samples
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import HISTORY
from playwright.sync_api import Page

ROWS = ".group"


def shown(page: Page) -> list[str]:
    # text, not rendered text: a row that has just come is not drawn yet
    return page.locator(f"{ROWS} .label").all_text_contents()


def test_the_first_sentence_and_the_totals(show: Callable[..., Page]) -> None:
    page = show(samples.five_states())
    assert page.locator("#verdict").inner_text() == "2 of 8 workspaces have drifted, 4 could not be looked at."
    assert page.locator("#when").inner_text() == "22 Nov 2026, 10:02 UTC · took 2 min 50 s · job 4711 nightly audit · audit.yml · deploy on ops-1"
    tiles = {tile.get_attribute("data-state"): tile.locator("b").inner_text() for tile in page.locator(".tile").all()}
    assert tiles == {"drift": "2", "unknown": "3", "none": "1", "external": "1", "in_sync": "1"}
    assert shown(page) == ["tampered", "waiting", "failed-lookup", "never", "unreachable", "gone", "outside", "in-sync"]
    assert page.locator(".trend").inner_text().strip().endswith("keeps the same history.")


def test_failed_sources_are_said_first_and_never_as_in_sync(show: Callable[..., Page]) -> None:
    collector = samples.AuditCollector(samples.STARTED, samples.RUN)
    collector.incomplete([samples.FAILED_SOURCE])
    page = show(collector)
    assert page.locator("#verdict").inner_text() == "1 source of the inventory failed, so workspaces may be missing."
    assert page.locator("#failures li").all_inner_texts()[0].split("\n")[-2:] == ["rack-2", "(docker, fleet.workspaces.yml) " + samples.FAILED_SOURCE["reason"]]
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), samples.STARTED)
    page = show(collector)
    assert page.locator("#verdict").inner_text() == "All 1 workspace looked at is in sync, but 1 source of the inventory failed, so workspaces may be missing."
    assert not Axe().run(page).response["violations"]
    collector.incomplete([{"type": "runs", "reason": "there are reports of 2 of 3 expected runs"}])
    page = show(collector)
    assert page.locator("#verdict").inner_text().endswith("but 1 source of the inventory failed and runs are missing, so workspaces may be missing.")
    assert [text.split("\n")[-2:] for text in page.locator("#failures li").all_inner_texts()][0] == ["runs", "there are reports of 2 of 3 expected runs"]
    assert show(samples.five_states()).locator("#failures").is_hidden()


def test_every_state_has_a_sign_and_a_name_besides_its_colour(show: Callable[..., Page]) -> None:
    page = show(samples.five_states())
    cells = page.locator('.group .cell:not(.s-absent)').evaluate_all("all => all.map(one => [one.textContent, one.getAttribute('aria-label')])")
    signs = {sign for sign, _label in cells}
    assert signs == {"✓", "≠", "−", "×", "+", "~", "↻"}
    assert ["≠", "careful-bash: modified, version 1.0.0"] in cells and ["−", "ecc: missing"] in cells
    assert page.locator("#legend li").count() == 7


def test_a_workspace_unfolds_with_its_files_and_diffs(show: Callable[..., Page]) -> None:
    page = show(samples.five_states())
    page.click('button[aria-label^="tampered"]')
    detail = page.locator(".open .detail")
    assert "rules/careful-bash.md" in detail.text_content() and samples.workspace_id(1) in detail.text_content()
    assert "molecule_ai.workspace.sync --limit tampered" in detail.text_content()
    assert detail.locator("pre").count() == 0
    detail.locator("summary").click()
    assert detail.locator("pre .removed").inner_text() == "-tampered"
    assert detail.locator("pre .added").inner_text() == "+Before a command that deletes:"
    page.click('button[aria-label^="tampered"]')
    assert page.locator(".detail").count() == 0
    page.locator(".group", has_text="waiting").locator(".problem").click()
    assert "not restarted since the last change" in page.locator(".open .detail").text_content()


def test_search_and_filters(show: Callable[..., Page]) -> None:
    page = show(samples.five_states())
    for text, expected in [
        ("tamp", ["tampered"]), ("rules/careful", ["tampered"]), (samples.workspace_id(5), ["gone"]), ("ENGINE did", ["failed-lookup"]),
        ("ecc", ["tampered", "waiting", "in-sync"]), ("experiment", ["tampered"]), ("", None),
    ]:
        page.fill("#search", text)
        assert expected is None or shown(page) == expected, text
    page.click('.tile[data-state="unknown"]')
    assert shown(page) == ["failed-lookup", "never", "unreachable"] and page.inner_text("#shown") == "3 of 8 workspaces"
    assert page.get_attribute('.tile[data-state="unknown"]', "aria-pressed") == "true"
    page.fill("#search", "nothing is called so")
    assert page.is_visible("#empty") and page.inner_text("#empty-text") == "No workspace is like that." and not page.is_visible(".scroller")
    page.click("#clear")
    assert len(shown(page)) == 8 and page.is_visible(".scroller")
    page.select_option("#plugin-state", label="waits for a restart")
    assert shown(page) == ["waiting"]
    page.select_option("#plugin-state", label="any")
    page.select_option("#order", "name")
    assert shown(page) == sorted(shown(page))


def test_by_keyboard_alone(show: Callable[..., Page]) -> None:
    page = show(samples.five_states())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the workspaces"
    page.keyboard.press("/")
    page.keyboard.type("e")
    assert page.evaluate("document.activeElement.id") == "search" and page.input_value("#search") == "e"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    page.locator('button[aria-label^="tampered"]').focus()
    page.keyboard.press("Enter")
    assert page.get_attribute('button[aria-label^="tampered"]', "aria-expanded") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".open pre").wait_for()
    page.locator('button[aria-label^="tampered"]').focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "waiting, drifted"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "tampered, drifted"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1360), ("dark", 1360), ("light", 400)])
def test_axe_finds_nothing(show: Callable[..., Page], scheme: str, width: int) -> None:
    # axe is put into the page, which the page's own policy forbids
    page = show(samples.five_states(), history=HISTORY, bypass_csp=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.click('button[aria-label^="tampered"]')
    page.click(".open summary")
    page.click("#versions > summary")
    everything = Axe().run(page)
    assert everything.violations_count == 0, everything.generate_report()
    page.fill("#search", "nothing is called so")
    nothing = Axe().run(page)
    assert nothing.violations_count == 0, nothing.generate_report()


def test_hostile_names_and_diffs_are_text(show: Callable[..., Page]) -> None:
    page = show(samples.hostile(), title=samples.HOSTILE[0])
    before = page.locator("script, img, iframe, object, svg").count()
    for button in page.locator(".name button").all():
        button.click()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("window.pwned") is None
    assert page.locator("script, img, iframe, object, svg").count() == before
    assert page.title() == samples.HOSTILE[0]
    text = page.locator("#map").text_content()
    for hostile in samples.HOSTILE[:5]:
        assert hostile in text
    assert "\u202e" not in text and "\x1b" not in text


def test_the_policy_would_stop_a_script_that_got_in(show: Callable[..., Page]) -> None:
    page = show(samples.five_states(), complaints=True)
    outcome = page.evaluate("""() => {
        const script = document.createElement("script");
        try { script.textContent = "window.pwned = 1"; document.body.append(script); } catch (error) { return error.name; }
        return window.pwned === undefined ? "blocked" : "ran";
    }""")
    assert outcome == "TypeError"
    assert page.evaluate("(() => { try { document.body.innerHTML = '<p>'; } catch (error) { return error.name; } })()") == "TypeError"


def test_an_audit_without_workspaces_and_one_that_is_all_in_sync_say_so(show: Callable[..., Page]) -> None:
    page = show(samples.AuditCollector(samples.STARTED, samples.RUN))
    assert page.inner_text("#verdict") == "This audit was about no workspace."
    assert "look at the hosts and the limit" in page.inner_text("#empty-text") and not page.is_visible("#clear")
    fine = samples.AuditCollector(samples.STARTED, samples.RUN)
    for host in ("a", "b"):
        fine.result(host, samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), samples.STARTED)
    assert show(fine).inner_text("#verdict") == "All 2 workspaces looked at are in sync."


def test_the_trend_says_what_it_shows(show: Callable[..., Page]) -> None:
    page = show(samples.five_states(), history=HISTORY)
    label = page.get_attribute(".trend svg", "aria-label")
    assert label.startswith("20 audits since 2 Nov 2026, 02:00 UTC: drifted 20 then, 94 now, 140 at most; not looked at 6 then, 6 now.")
    assert page.locator(".trend polyline").count() == 2


def test_print_shows_every_row(show: Callable[..., Page]) -> None:
    page = show(samples.fleet(300, 5))
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.querySelector('.scroller').scrollHeight <= document.querySelector('.scroller').clientHeight + 1")
    assert page.evaluate("document.body.scrollHeight") > 300 * 15
    assert len(page.pdf()) > 10_000


def test_two_thousand_workspaces_with_twenty_plugins(show: Callable[..., Page]) -> None:
    """Counts what must not grow with the fleet; times are only printed, because machines differ. Set DRIFT_PAGE_SCREENSHOTS to keep pictures."""
    page = show(samples.fleet(2000, 20), history=HISTORY)
    at_once = page.locator(".group").count()
    page.locator(".group").nth(1999).wait_for(state="attached")
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    latency = page.evaluate("""() => {
        const search = document.getElementById("search"), times = [];
        for (const text of ["b", "bi", "billing-agent-1", "guidelines", "ecc", ""]) {
            const start = performance.now();
            search.value = text;
            search.dispatchEvent(new Event("input"));
            document.body.getBoundingClientRect();
            times.push(performance.now() - start);
        }
        return times;
    }""")
    frames = page.evaluate("""async () => {
        const scroller = document.querySelector(".scroller"), frames = [];
        let last = performance.now();
        for (let index = 0; index < 60; index += 1) {
            scroller.scrollTop = index * 700;
            await new Promise(requestAnimationFrame);
            const now = performance.now();
            frames.push(now - last);
            last = now;
        }
        return frames.sort((one, other) => one - other);
    }""")
    print(f"load {timing:.0f} ms; filter {min(latency):.0f} to {max(latency):.0f} ms; frame median {frames[30]:.0f} ms, 95th {frames[56]:.0f} ms")
    # What is not in sight is neither laid out nor painted, and most of it was not even made before the page was there.
    assert page.evaluate("getComputedStyle(document.querySelector('.chunk')).contentVisibility") == "auto"
    assert at_once < 2000
    page.fill("#search", "billing-agent-1")
    assert 0 < len(shown(page)) < 2000
    pictures = os.environ.get("DRIFT_PAGE_SCREENSHOTS")
    if pictures:
        page.fill("#search", "")
        page.screenshot(path=pathlib.Path(pictures) / "drift-page.png")
