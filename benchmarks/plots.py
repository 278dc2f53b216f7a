"""The results as pictures: every kill a dot, and what it costs to stand by."""

from __future__ import annotations

from pathlib import Path
from random import Random

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.figure import Figure

OURS = "#c8102e"
OTHERS = "#5b6770"


def draw(figures: list[Figure], directory: Path) -> None:
    named = {figure.name: figure for figure in figures}
    _failover([named["failover-4"], named["failover-64"], named["failover-gunicorn"]], directory)
    _costs([named["cycle"], named["import"], named["wakeups"], named["memory-gunicorn"]], directory)


def _failover(figures: list[Figure], directory: Path) -> None:
    heights = [len(figure.rows) for figure in figures]
    picture, axes = plt.subplots(
        len(figures), figsize=(8, 1.4 + 0.42 * sum(heights)), height_ratios=heights, sharex=True
    )
    for axis, figure in zip(axes, figures, strict=True):
        _dots(axis, figure)
    axes[-1].set_xlabel("milliseconds from SIGKILL to the next leader's first line; median printed")
    _save(picture, directory / "failover.png")


def _dots(axis: Axes, figure: Figure) -> None:
    chance = Random(1)
    for height, (name, samples) in enumerate(figure.rows.items()):
        colour = _colour(name)
        spread = [height + chance.uniform(-0.22, 0.22) for _ in samples]
        axis.scatter(samples, spread, s=9, color=colour, alpha=0.45, linewidths=0)
        median = figure.median(name)
        axis.plot([median, median], [height - 0.34, height + 0.34], color=colour, linewidth=2)
        axis.annotate(
            f"{median:.3g}",
            (1.01, height),
            xycoords=("axes fraction", "data"),
            va="center",
            color=colour,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="x", which="major", alpha=0.3)
    _name_rows(axis, figure)


def _costs(figures: list[Figure], directory: Path) -> None:
    heights = [len(figure.rows) for figure in figures]
    picture, axes = plt.subplots(
        len(figures), figsize=(8, 1.8 + 0.42 * sum(heights)), height_ratios=heights
    )
    for axis, figure in zip(axes, figures, strict=True):
        medians = [figure.median(name) for name in figure.rows]
        bars = axis.barh(range(len(medians)), medians, color=[_colour(name) for name in figure.rows])
        axis.bar_label(bars, [f"{value:.3g}" for value in medians], padding=4)
        axis.margins(x=0.12)
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        _name_rows(axis, figure, unit=True)
    _save(picture, directory / "costs.png")


def _name_rows(axis: Axes, figure: Figure, *, unit: bool = False) -> None:
    axis.set_yticks(range(len(figure.rows)), list(figure.rows))
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_title(
        f"{figure.title}, {figure.unit}" if unit and figure.unit not in figure.title else figure.title,
        loc="left",
        fontsize=10,
        fontweight="bold",
    )


def _colour(name: str) -> str:
    return OURS if name.startswith("leaderlock") else OTHERS


def _save(picture: Picture, path: Path) -> None:
    picture.tight_layout()
    picture.savefig(path, dpi=150, metadata={"Software": None})
    plt.close(picture)
