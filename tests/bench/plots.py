# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plots of the performance page, as SVG that is the same for the same data."""
from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

from bars import Data, median, table

_OURS, _FLOOR, _OTHERS = "#1f6feb", "#8b949e", "#d29922"
_STAGES = ("#8b949e", "#a371f7", "#3fb950", "#1f6feb", "#f78166")


def _figure(width: float = 9.0, height: float = 4.0) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "molecule_ai.workspace", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: pathlib.Path) -> None:
    from matplotlib import pyplot

    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    # matplotlib ends lines with blanks
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def no_op(data: Data, path: pathlib.Path) -> None:
    """One bar per contestant, as a multiple of ping, on a logarithmic scale."""
    tables = [each for each in data if each["scenario"] == "no-op"]
    widest = max(tables, key=lambda each: len(each["results"]))
    floor = median(widest, "ping") or 1.0
    found = [(result["shown"], result["wall"]["median"] / floor, name) for name, result in widest["results"].items() if "wall" in result]
    found.sort(key=lambda each: -each[1])
    figure, axes = _figure(height=0.4 * len(found) + 1)
    ours = {"task", "audit task", "install", "audit"}
    colours = [_OURS if name in ours else _FLOOR if name == "ping" else _OTHERS for _shown, _value, name in found]
    bars = axes.barh([shown for shown, _value, _name in found], [value for _shown, value, _name in found], color=colours)
    axes.bar_label(bars, [f"{value:.2f}" for _shown, value, _name in found], padding=3)
    axes.axvline(1, color=_FLOOR, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel(f"wall, as a multiple of ansible -m ping ({widest['hosts']} hosts; less is better)")
    _save(figure, path)


def install(data: Data, path: pathlib.Path) -> None:
    """Seconds by latency."""
    tables = sorted((each for each in data if each["scenario"] == "install"), key=lambda each: (each["latency"], each["hosts"]))
    most = max(each["hosts"] for each in tables)
    tables = [each for each in tables if each["hosts"] == most]
    figure, axes = _figure()
    for name, colour in (("ping", _FLOOR), ("one", _OURS), ("ten", _OTHERS)):
        points = [(each["latency"], median(each, name)) for each in tables]
        axes.plot([x for x, _y in points], [y for _x, y in points], marker="o", color=colour, label=tables[0]["results"][name]["shown"])
    axes.set_xlabel(f"milliseconds of round trip ({most} hosts)")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, path)


def profile(data: Data, path: pathlib.Path) -> None:
    """Stacked bars of the stages, before and after."""
    figure, axes = _figure(height=2.6)
    shown: set[str] = set()
    for label in ("after", "before"):
        found = table(data, "profile", label=label)
        if found is None:
            continue
        at = 0.0
        for (stage, seconds), colour in zip(stages(found).items(), _STAGES):
            axes.barh([label], [seconds], left=[at], color=colour, label=None if stage in shown else stage)
            shown.add(stage)
            at += seconds
        axes.text(at, label, f" {at:.2f} s, ping {median(found, 'ping') or 0:.2f} s", va="center")
    axes.set_xlabel("seconds of wall for one host, warm, nothing to change")
    axes.margins(x=0.25)
    axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    _save(figure, path)


def stages(found: Any) -> dict[str, float]:
    """Seconds by what they are spent on; the differences of runs that do a little more each, so that they add up to the task's."""
    def seconds(name: str) -> float:
        return median(found, name) or 0.0

    python = seconds("half imports")
    half = max(0.0, seconds("half") - python)
    start, execution, task = seconds("start"), max(0.0, seconds("execution") - seconds("start")), seconds("task")
    return {
        "start of Ansible": start,
        "worker, connection, one execution": execution,
        "start of the workspace's Python": python,
        "workspace half: compile, hash 2 MB": half,
        "controller half: sources, request, answer": max(0.0, task - start - execution - python - half),
    }


PLOTS: dict[str, tuple[str, Callable[[Data, pathlib.Path], None]]] = {
    "no-op": ("performance-no-op.svg", no_op),
    "install": ("performance-install.svg", install),
    "profile": ("performance-profile.svg", profile),
}
