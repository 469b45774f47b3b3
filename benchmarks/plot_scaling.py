"""Draws the simulation of `scaling`: `python plot_scaling.py DATA.json PLOT.svg`. Needs matplotlib, and nothing else of this folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

COLOURS = ("#4dabf7", "#228be6", "#1864ab", "#0b3d66")
CORES = (0.001, 0.01, 0.1, 1, 10)
NODES = (1, 2, 5, 10, 20, 50, 100)
TEXT, LIMIT = "#343a40", "#c92a2a"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "wsdaemon", "svg.fonttype": "none", "font.size": 12, "axes.titlesize": 13, "axes.titlelocation": "left",
    "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT, "axes.edgecolor": TEXT,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip


def draw(found: dict[str, Any], target: Path) -> None:
    """Two panels, one above the other, so that the text stays legible on a narrow screen."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 1, figsize=(6.5, 8), sharex=True, layout="constrained")
        for panel, part, title in zip(axes, ("busiest", "order"), ("Cores of the busiest daemon", "Core of the one Redis"), strict=True):
            for colour, (members, cores) in zip(COLOURS, found[part].items(), strict=True):
                panel.plot(found["nodes"], cores, color=colour, marker="o", markersize=3)
                end = (found["nodes"][-1], cores[-1])
                panel.annotate(members, end, xytext=(6, 0), textcoords="offset points", va="center", color=colour)
            panel.axhline(found["full"], color=LIMIT, linewidth=1)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_yticks(CORES, [f"{cores:g}" for cores in CORES])
            panel.minorticks_off()
            panel.set_title(f"{title}; red: {found['full']:g} of a core")
            panel.grid(alpha=0.25)
        axes[1].set_xlabel("daemons; a line for each number of members")
        axes[1].set_xticks(NODES, [str(nodes) for nodes in NODES])
        # no date in the file: the same constants make the same plot
        figure.savefig(target, facecolor="white", metadata={"Date": None, "Description": found["mark"]})
        plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
