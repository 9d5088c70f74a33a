"""Turns a matplotlib figure into SVG that lives inside an HTML page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ggl_lightning.audit.report.estimates import format_significant
from ggl_lightning.audit.report.palette import GRID, INK, MUTED, css_colors

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read out
    "text.parse_math": False,  # a name may hold dollar signs
    "axes.unicode_minus": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: layout does not depend on the machine
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 12.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "lines.linewidth": 1.6,
    "lines.markersize": 7.5,
    "lines.markeredgewidth": 1.0,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}
WIDTH, HEIGHT = 5.5, 3.8
"""Inches of 72 user units: small enough that text stays readable on a phone."""


@contextmanager
def drawing(width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """Gives a figure with one pair of axes in the report's style, whatever the user's style is."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def inline(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure as an ``<svg>`` element; call it while `drawing` lasts.

    Args:
        figure: The figure, drawn in the palette's stand-in colours.
        name: Unique in the page; letters, digits and dashes.
        title: What the figure is, for readers who do not see it.
        description: What it shows, likewise.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    root = ElementTree.fromstring(buffer.getvalue())
    _drop_metadata(root)
    _make_ids_unique(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    labels = {"title": title, "desc": description}
    for position, (tag, text) in enumerate(labels.items()):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    root.set("class", "figure")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    text = ElementTree.tostring(root, encoding="unicode")
    for standin, css in css_colors().items():
        text = text.replace(standin, css)
    return Markup(text)  # ElementTree has escaped every name in it


def make_logarithmic(axes: Axes, axis: str) -> None:
    """A logarithmic axis whose numbers are written out: matplotlib's own are mathematical text."""
    axes.set(**{f"{axis}scale": "log"})
    ticks: Axis = getattr(axes, f"{axis}axis")
    low, high = ticks.get_view_interval()
    if high / low < 1000:  # whole decades alone would be too few numbers
        ticks.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: format_significant(value, 1)))
    ticks.set_minor_formatter(NullFormatter())


def _drop_metadata(root: ElementTree.Element) -> None:
    for element in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(element)


def _make_ids_unique(root: ElementTree.Element, name: str) -> None:
    """Drops the ids that nothing refers to, and makes the others differ between figures."""
    reference = re.compile(r"url\(#([^)]+)\)")
    used: set[str] = set()
    for element in root.iter():
        used.update(href[1:] for href in (element.get(f"{{{_XLINK}}}href"),) if href)
        for value in element.attrib.values():
            used.update(reference.findall(value))
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            if attribute == "id":
                if value in used:
                    element.set("id", f"{name}-{value}")
                else:
                    del element.attrib["id"]
            elif attribute == f"{{{_XLINK}}}href":
                del element.attrib[attribute]
                element.set("href", f"#{name}-{value[1:]}")
            else:
                element.set(attribute, reference.sub(rf"url(#{name}-\1)", value))
