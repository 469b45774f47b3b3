"""Draws the simulation of `scaling`: `python plot_scaling.py DATA.json PLOT.svg`. Needs matplotlib, and nothing else of this folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

COLOURS = ("#74c0fc", "#228be6", "#1864ab", "#0b3d66")
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
                panel.plot(found["nodes"], cores, color=colour, marker="o", markersize=3, label=f"{members} members")
            panel.axhline(found["full"], color=LIMIT, linewidth=1)
            panel.text(found["nodes"][0], found["full"] * 1.1, f"{found['full']:g}: add daemons, or shards", color=LIMIT)
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_title(title)
            panel.grid(alpha=0.25)
        axes[1].set_xlabel("daemons")
        axes[1].set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axes[0].legend(frameon=False, loc="lower left", fontsize=10)
        # no date in the file: the same constants make the same plot
        figure.savefig(target, facecolor="white", metadata={"Date": None, "Description": found["mark"]})
        plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
