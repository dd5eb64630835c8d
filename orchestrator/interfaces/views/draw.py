"""Drawing charts with matplotlib, without its global figures; the only module that imports it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from orchestrator.interfaces.views.chart import Chart, Distance, Dots, Format, Line, Panel, Ribbon, Tone

WIDTH_IN = 10.0
PANEL_IN = 4.6
HEAD_IN = 0.85
FOOT_IN = 0.55
DPI = 160
LABEL_GAP = 0.047  # least distance of two labels at the right, as a part of the height of a panel


def draw(chart: Chart, form: Format) -> bytes:
    """The picture of `chart`."""
    with mpl.rc_context():
        mpl.rc("font", family="DejaVu Sans", size=9.5)  # comes with matplotlib: the same picture everywhere
        mpl.rc("axes", unicode_minus=False)
        mpl.rc("text", parse_math=False)  # a dollar sign is a dollar sign
        # The ids inside an SVG do not change from run to run; words stay words, to be searched, read aloud and copied.
        mpl.rc("svg", hashsalt="isoflop", fonttype="none")
        figure = _figure(chart)
        buffer = io.BytesIO()
        metadata = {"Date": None, "Title": chart.title} if form is Format.SVG else {"Title": chart.title}
        figure.savefig(buffer, format=form.value, dpi=DPI, metadata=metadata, facecolor="white")
    drawn = buffer.getvalue()
    # Words are drawn by whoever shows the SVG, and few machines have matplotlib's font.
    return drawn.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif") if form is Format.SVG else drawn


def _figure(chart: Chart) -> Figure:
    height = HEAD_IN + FOOT_IN + PANEL_IN * len(chart.panels)
    figure = Figure(figsize=(WIDTH_IN, height))
    FigureCanvasAgg(figure)
    left = 0.085
    figure.text(left, 1 - 0.32 / height, chart.title, fontsize=15, fontweight="bold", color=Tone.INK, va="center")
    figure.text(left, 1 - 0.62 / height, chart.subtitle, fontsize=10, color=Tone.GREY, va="center")
    figure.text(left, 0.2 / height, chart.source, fontsize=7.5, color=Tone.GREY, va="center")
    for index, panel in enumerate(chart.panels):
        bottom = (FOOT_IN + 0.35 + PANEL_IN * (len(chart.panels) - 1 - index)) / height
        _panel(figure.add_axes((left, bottom, 0.695, (PANEL_IN - 0.85) / height)), panel)
    return figure


def _panel(axes: Axes, panel: Panel) -> None:
    for ribbon in panel.ribbons:
        _ribbon(axes, ribbon)
    for line in panel.lines:
        _line(axes, line)
    for dots in panel.dots:
        _dots(axes, dots)
    _frame(axes, panel)
    for distance in panel.distances:
        _distance(axes, distance)
    _end_labels(axes, panel)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """What is named, lines first."""
    named = zip(*axes.get_legend_handles_labels(), strict=True)
    entries = sorted(named, key=lambda entry: not isinstance(entry[0], Line2D))
    if entries:
        handles, labels = zip(*entries, strict=True)
        axes.legend(handles, labels, loc="upper left", framealpha=0.9, edgecolor="none", fontsize=8.5, handlelength=2.6)


def _frame(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=Tone.INK, pad=9)
    axes.set_ylabel(panel.y_label, color=Tone.INK)
    axes.set_xlabel(panel.x_label, color=Tone.INK)
    if panel.log_x:
        axes.set_xscale("log")
    elif panel.x_whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=14))
    if panel.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.12)  # room for the legend
    if panel.y_prefixed:
        axes.yaxis.set_major_formatter(EngFormatter())
    axes.margins(x=0.02)
    axes.grid(True, which="major", color="#d8dee4", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(Tone.GREY)
    axes.tick_params(colors=Tone.INK, which="both", length=3)


def _line(axes: Axes, line: Line) -> None:
    (drawn,) = axes.plot(
        [x for x, _ in line.points],
        [y for _, y in line.points],
        color=line.tone,
        linestyle=(0, (5, 2.2)) if line.dashed else "-",
        linewidth=1.3 if line.thin else 2.4,
        marker="" if line.thin else "o",
        markersize=3.6,
        label=line.label or "_unnamed",  # matplotlib leaves names that begin so out of the legend
        zorder=3,
    )
    drawn.set_gid(f"line: {line.label}")


def _ribbon(axes: Axes, ribbon: Ribbon) -> None:
    drawn = axes.fill_between(
        [x for x, _, _ in ribbon.points],
        [low for _, low, _ in ribbon.points],
        [high for _, _, high in ribbon.points],
        color=ribbon.tone,
        alpha=0.16,
        linewidth=0,
        label=ribbon.label,
        zorder=1,
    )
    drawn.set_gid(f"ribbon: {ribbon.label}")


def _dots(axes: Axes, dots: Dots) -> None:
    drawn = axes.scatter(
        [x for x, _, _ in dots.points],
        [y for _, y, _ in dots.points],
        color=dots.tone,
        s=30,
        label=dots.label,
        zorder=4,
    )
    drawn.set_gid(f"dots: {dots.label}")
    for x, y, name in dots.points:
        if name:
            axes.annotate(name, (x, y), xytext=(6, 3), textcoords="offset points", fontsize=8, color=Tone.INK)


def _distance(axes: Axes, distance: Distance) -> None:
    ends = {"arrowstyle": "<->", "color": distance.tone, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (distance.x, distance.high), xytext=(distance.x, distance.low), arrowprops=ends, zorder=5)
    logarithmic = axes.get_yscale() == "log"
    both = distance.low, distance.high
    middle = (both[0] * both[1]) ** 0.5 if logarithmic else sum(both) / 2
    axes.annotate(
        distance.text,
        (distance.x, middle),
        xytext=(-6 if distance.text_left else 6, 0),
        textcoords="offset points",
        va="center",
        ha="right" if distance.text_left else "left",
        fontsize=8.5,
        fontweight="bold",
        color=distance.tone,
        zorder=6,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )


def _end_labels(axes: Axes, panel: Panel) -> None:
    """What lines say at their ends, right of the axes, moved apart where they would touch."""
    named = [line for line in panel.lines if line.end and line.points]
    to_axes = axes.transData + axes.transAxes.inverted()
    wanted = [float(to_axes.transform(line.points[-1])[1]) for line in named]
    for line, height, place in zip(named, wanted, spread(wanted, LABEL_GAP), strict=True):
        axes.annotate(
            line.end,
            (1.0, height),
            xytext=(1.022, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=line.tone,
            annotation_clip=False,
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places near those wanted, in their order, at least `gap` apart: every crowd stands around its own middle."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    crowds: list[list[int]] = []
    for index in order:
        crowds.append([index])
        while len(crowds) > 1 and _start(crowds[-1], wanted, gap) - _stop(crowds[-2], wanted, gap) < gap:
            last = crowds.pop()
            crowds[-1] += last
    places = list(wanted)
    for crowd in crowds:
        for step, index in enumerate(crowd):
            places[index] = _start(crowd, wanted, gap) + step * gap
    return places


def _start(crowd: Sequence[int], wanted: Sequence[float], gap: float) -> float:
    return sum(wanted[index] for index in crowd) / len(crowd) - (len(crowd) - 1) * gap / 2


def _stop(crowd: Sequence[int], wanted: Sequence[float], gap: float) -> float:
    return _start(crowd, wanted, gap) + (len(crowd) - 1) * gap
