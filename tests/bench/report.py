# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page docs/performance.md and its plots, out of docs/performance.json and nothing else: the command ``tests/bench/report``."""
from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import peers
import plots
from bars import BARS, REASONS, Bar, Data

DOCS = peers.REPOSITORY / "docs"
_TITLES = {
    "no-op": "Nothing to change: ten plugins, 100 files, 2 MB",
    "install": "Something to change, on warm workspaces",
    "tunnel start": "Start of a tunnel, until the SSH server's first word",
    "cold": "One trivial task on hosts that nobody is connected to",
    "throughput": "Bulk through one SSH session",
    "platform": "Four plugins on EC2 instances, compared with the platform's own sequence",
    "scale": "From few workspaces to many (a no-op task)",
    "profile": "Where the time of one no-op host goes",
    "processes": "Whose CPU time a run with nothing to do is",
}
# What the ratios of a scenario's tables are of.
_FLOORS = {"no-op": "ping", "install": "ping", "tunnel start": "aws", "cold": "plain cold", "throughput": "direct", "platform": "platform", "scale": "1",
           "profile": "ping", "processes": "ping"}
_INTRODUCTION = """\
# Performance

What the collection costs, and what people would use instead, measured side by side. This page is made by `tests/bench/report` out of
[`performance.json`](performance.json), which `tests/bench/run` writes; both say nothing that was not measured.

How to read it:

* Times of one machine say little about another. **Ratios** do: the contestants of a table took turns, in another order each round, and the figures are medians.
* *wall* is seconds until the command has ended, *CPU* the CPU seconds of it and of everything that it started on the controller, *MiB* its largest process.
  The hosts run on the same machine, so the CPU time of their side is in *wall*, and the more cores are missing, the more it weighs.
* Every contestant's end state is checked after each round. Those that only look have to find one changed file on one host first. One that did not do its
  job has no time, but its error.
* Each table says how many hosts and rounds it has and how busy the machine was (*load*): few rounds on a busy machine are a first look, not the last word.
  What is *not measured yet* has never been measured; `tests/bench/run --full` measures all of it.
* Nothing to change is measured twice: *the task* is one `molecule_plugin` in a play of its own, *the playbook* is `molecule_ai.workspace.install` or
  `audit` with its roles, which is what people run.
* The inventory of 5,000 workspaces has a measurement of its own, `tests/bench/inventory_parse.py`.
* Hosts are sshd processes on loopback addresses with a `/configs` of their own each; 10 forks, pipelining and warm masters for everybody who can use them.
"""


def page(data: Data) -> str:
    """The text of the page."""
    parts = [_INTRODUCTION, "## Bars\n", _bars(data)]
    for scenario, title in _TITLES.items():
        tables = [each for each in data if each["scenario"] == scenario]
        if not tables:
            continue
        parts.append(f"## {title}\n")
        plot = plots.PLOTS.get(scenario)
        if plot is not None:
            parts.append(f"![{title}](images/{plot[0]})\n")
        for each in sorted(tables, key=lambda table: (table.get("latency", 0), table.get("hosts", 0), table.get("label", ""))):
            parts.append(_table(each))
    parts.append(_again())
    return "\n".join(parts)


def _bars(data: Data) -> str:
    lines = [_row(["", "what", "measured", "bar", ""]), _row(["---"] * 5)]
    missed: list[str] = []
    for threshold in BARS:
        value = threshold.figure(data)
        sign = "≤" if threshold.at_most else "≥"
        verdict = "not measured yet" if value is None else "met" if threshold.met(value) else "**missed**"
        shown = "–" if value is None else f"{value:.2f}{threshold.unit}"
        lines.append(_row([str(threshold.number), threshold.name, shown, f"{sign} {threshold.limit:g}{threshold.unit}", verdict]))
        reason = _reason(threshold)
        if value is not None and not threshold.met(value) and reason not in missed:
            missed.append(reason)
    return "\n".join([*lines, "", *(["Why bars are missed:", "", *(f"* {reason}" for reason in missed), ""] if missed else [])])


def _reason(threshold: Bar) -> str:
    reasons = (reason for name, reason in REASONS.items() if name in threshold.name)
    return next(reasons, f"{threshold.name}: not explained yet")


def _table(table: Any) -> str:
    """One table of the data."""
    known = {"hosts": "hosts", "latency": "ms of round trip", "mebibytes": "MiB", "plugins": "plugins", "small": "and", "large": "workspaces"}
    words = [f"{table[key]} {word}" for key, word in known.items() if key in table] + ([table["label"]] if "label" in table else [])
    measured = table["measured"]
    words.append(f"ansible-core {measured['ansible_core']}, {measured['cores']} cores, load {measured['load']}, {measured['date']}")
    floor = table["results"][_FLOORS[table["scenario"]]]
    results = dict(sorted(table["results"].items(), key=lambda item: (item[1] is not floor, _median(item[1], "wall") or float("inf"))))
    lines = [f"{', '.join(words)}:\n", _row(["contestant", "wall", "CPU", "MiB", "wall ratio", "CPU ratio", "rounds"]), _row(["---"] + ["---:"] * 6)]
    errors = []
    for each in results.values():
        if each.get("error"):
            errors.append(f"* {each['shown']}: `{_one_line(each['error'])}`")
            lines.append(_row([each["shown"], "not done", "", "", "", "", ""]))
            continue
        figures = [_median(each, what) for what in ("wall", "cpu", "memory")]
        ratios = [_ratio(_median(each, what), _median(floor, what)) for what in ("wall", "cpu")]
        lines.append(_row([each["shown"], *(f"{value:.2f}" if value is not None else "" for value in figures[:2]),
                           f"{figures[2]:.0f}" if figures[2] else "", *ratios, str(len(each["wall"]["all"]))]))
    counted = [(each["shown"], each["extra"]) for each in results.values() if each.get("extra")]
    counts = [f"* {shown}: {', '.join(f'{name}: {value:g}' for name, value in extra.items())}" for shown, extra in counted]
    return "\n".join([*lines, "", *counts, *errors, *([""] if counts or errors else [])])


def _one_line(error: str) -> str:
    """The telling line of an error."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    telling = next((line for line in lines if "ERROR" in line or "rror:" in line), lines[0] if lines else "")
    return telling.replace("`", "'").replace("|", "/")[:300]


def _median(result: Any, what: str) -> float | None:
    return result[what]["median"] if what in result else None


def _ratio(value: float | None, floor: float | None) -> str:
    return f"{value / floor:.2f}×" if value is not None and floor else ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _again() -> str:
    return """\
## Measure it yourself

```console
# tests/setup && tests/lab-command up
# tests/bench/run --quick        # a few hosts, two rounds: minutes
# tests/bench/run --full         # the sizes above: hours on a small machine that should have nothing else to do
# tests/bench/run --only no-op --hosts 20 --rounds 5
# tests/bench/report
```

It needs root. The peers are installed below `.cache/bench` when they are first wanted. `tests/system/test_performance.py` guards the ratios and the counts of
executions and bytes in each run of the tests.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/bench/report", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=pathlib.Path, default=DOCS / "performance.json")
    parser.add_argument("--docs", type=pathlib.Path, default=DOCS, help="where performance.md and images/ are written")
    options = parser.parse_args(arguments)
    data = json.loads(options.data.read_text())["tables"]
    (options.docs / "images").mkdir(parents=True, exist_ok=True)
    for scenario, (name, draw) in plots.PLOTS.items():
        if any(table["scenario"] == scenario for table in data):
            draw(data, options.docs / "images" / name)
    (options.docs / "performance.md").write_text(page(data))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
