"""Draws a run: `python plot.py RESULTS.json PLOT.svg` (or .png). Needs matplotlib, and nothing else of this folder."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

COLUMNS = 3
ACCENT, PLAIN, TEXT = "#0b7285", "#b8c4cc", "#343a40"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "wsdaemon", "svg.fonttype": "none", "font.size": 8, "axes.titlesize": 9, "axes.titlelocation": "left",
    "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
    "axes.edgecolor": TEXT, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.bottom": False,
}  # fmt: skip


def draw(found: dict[str, Any], target: Path) -> None:
    """One panel for each test, one bar for each server, each panel with its own scale."""
    tests = [test for test, figures in found["figures"].items() if figures]
    if not tests:
        raise SystemExit("there is nothing to draw")
    rows = math.ceil(len(tests) / COLUMNS)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, COLUMNS, figsize=(12, 1.6 * rows), squeeze=False, layout="constrained")
        panels = list(axes.flat)
        for panel, test in zip(panels, tests, strict=False):
            draw_test(panel, found, test)
        for panel in panels[len(tests) :]:
            panel.set_axis_off()
        # no date in the file: the same figures make the same plot
        figure.savefig(target, dpi=150, facecolor="white", metadata={"Date": None} if target.suffix == ".svg" else {})
        plt.close(figure)


def draw_test(panel: Any, found: dict[str, Any], test: str) -> None:
    figures = found["figures"][test]
    servers = list(figures)
    costs = [figures[server]["cost"] for server in servers]
    colours = [ACCENT if server == "wsdaemon" else PLAIN for server in servers]
    bars = panel.barh([found["names"][server] for server in servers], costs, color=colours, height=0.72)
    panel.bar_label(bars, [label(cost) for cost in costs], padding=3)
    panel.invert_yaxis()
    panel.margins(x=0.18)
    panel.tick_params(length=0)
    panel.set_xticks([])
    panel.set_title(f"{found['titles'][test]}, {found['units'][test]}")


def label(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.1f}" if cost >= 10 else f"{cost:.2f}"


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
