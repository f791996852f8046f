"""The common style of all figures: rc settings, colours, layout, and files that contain their provenance."""

from __future__ import annotations

import io
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.path import Path
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

from pipeline.errors import ArgumentError
from pipeline.provenance import provenance_text

RC: Any = {
    "figure.dpi": 110,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib, so figures are the same on every machine
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "figure.titlesize": 10,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.fonttype": "none",  # text stays text, so it can be searched and edited
    "pdf.fonttype": 42,  # TrueType, for the same reason; the default, Type 3, is refused by some journals
    "svg.hashsalt": "meso",  # without it element ids are random, and the same figure gives different files
}
#: Widths of figures in journals, mm: of one column, and of a page.
WIDTHS = {"single": 89.0, "double": 183.0}
#: Largest part of a figure with such a width that a legend beside the axes may take; a wider one is put below them.
LEGEND_SHARE = 0.34
LEGEND_HANDLE_WIDTH = 0.55  # inches of a legend besides its text: handles and margins
LEGEND_LINE_HEIGHT = 0.15  # inches from one line of a legend to the next
LEGEND_MAX = 30  # largest number of regions that fit in a legend beside the axes
MAX_ROWS = 1200  # rows of an image with one row per cell; more cells are averaged to that many
#: The palette of Okabe and Ito (2008) without its yellow, which is too pale for lines.
LINE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
#: Positions (x, y) of a point's label relative to the point, in order of preference. Diagonal positions come first:
#: they are clear of an error bar, which is vertical, and of a flat line through the point.
LABEL_SIDES = ((1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
PANEL_GAP = 0.1  # inches between elements side by side
Y_LABEL_WIDTH = 0.55  # inches of the labels left of the axes
#: Relative luminance of linear red, green and blue (WCAG 2).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
UNKNOWN_COLOR = "#808080"
UNKNOWN_REGIONS = frozenset({"", "nan", "None", "unknown", "void", "root", "other"})

# By format: the metadata field for free text, the one for the software, and those that would hold the time of day.
_METADATA: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "png": ("Description", "Software", ()),
    "svg": ("Description", "Creator", ("Date",)),
    "pdf": ("Subject", "Creator", ("CreationDate",)),
}


@contextmanager
def style() -> Iterator[None]:
    """Context manager that sets matplotlib's rc settings to its defaults plus those of this package.

    The caller's settings (such as a dark theme) have no effect inside, and are restored afterwards.

    Examples
    --------
    >>> with style():
    ...     print(mpl.rcParams["pdf.fonttype"], mpl.rcParams["svg.fonttype"])
    42 none
    """
    # the defaults first: a setting that RC does not name must not come from the user's own style
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


class StyledFigure(Figure):
    """A Figure that keeps the style of this package and displays itself in a notebook.

    matplotlib creates ticks and reads font settings only when it draws, so a style that is active only while the
    figure is built would be partly lost. Jupyter displays a Figure made without pyplot as text, unless pyplot happens
    to be imported; with `_repr_png_` it always displays the image.

    Examples
    --------
    >>> StyledFigure(figsize=(1, 1))._repr_png_()[1:4]
    b'PNG'
    """

    #: Whether the width is a journal's, which a legend must not exceed.
    is_narrow = False
    #: Whether the legend is below the axes.
    has_legend_below = False

    def draw(self, renderer: Any) -> None:
        """Draw within `style`."""
        with style():
            super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save within `style`; parameters as in `matplotlib.figure.Figure.savefig`."""
        with style():
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(
    size: tuple[float, float], width: str | None, layout: Literal["constrained", "compressed"] = "constrained"
) -> StyledFigure:
    """Return an empty figure: of a size in inches, or of a journal's width and this height.

    Parameters
    ----------
    size : (float, float)
    width : {"single", "double"} or None
        89 mm or 183 mm, its legend included.
    layout : {"constrained", "compressed"}
        Compressed for axes of a fixed aspect.

    Raises
    ------
    ArgumentError
        The width is not one of these.

    Examples
    --------
    >>> [float(new_figure((7, 4), width).get_figwidth().round(2)) for width in ("single", "double", None)]
    [3.5, 7.2, 7.0]
    """
    if width is None:
        return StyledFigure(figsize=size, layout=layout)
    fig = StyledFigure(figsize=(figure_inches(width), size[1]), layout=layout)
    fig.is_narrow = True
    return fig


def figure_inches(width: str) -> float:
    """Return the width of a journal's figure in inches.

    Raises
    ------
    ArgumentError
        It is none of `WIDTHS`.
    """
    if width not in WIDTHS:
        raise ArgumentError(f"width must be one of {', '.join(WIDTHS)}, or None, not {width!r}")
    return WIDTHS[width] / 25.4


def columns_in(width: str | None, n_columns: int) -> int:
    """Return the number of panels side by side: one in a single column, three in two, as far as their labels fit."""
    return 1 if width == "single" else min(n_columns, 3) if width == "double" else n_columns


def grid_shape(n: int, n_columns: int) -> tuple[int, int]:
    """Return columns and rows of a grid of n panels, at most `n_columns` side by side."""
    width = min(n_columns, n)
    return width, -(-n // width)


def shared_axes(fig: Figure, n: int, n_columns: int) -> Iterator[Axes]:
    """Yield the n axes of a grid, one after the other.

    They share their limits. Only those at the left and at the bottom of a column keep their axis labels, also if the
    last row is incomplete.
    """
    width, height = grid_shape(n, n_columns)
    ax: Axes | None = None
    for i in range(n):
        ax = fig.add_subplot(height, width, i + 1, sharex=ax, sharey=ax)
        yield ax
        is_left, is_bottom = i % width == 0, i + width >= n
        if not is_left:
            ax.set_ylabel("")
        if not is_bottom:
            ax.set_xlabel("")
        ax.tick_params(labelleft=is_left, labelbottom=is_bottom)


def panel_letter(i: int) -> str:
    """Return the letter of a panel: a, b, ..."""
    return chr(ord("a") + i)


def title_panels(fig: Figure, titles: Sequence[str], width: int, **options: Any) -> None:
    """Set the title of each axes of a grid with `width` columns, wrapped to its width, with a letter if there are more.

    The legend must have been added before, because it takes part of the width.
    """
    room = (beside_legend(fig) - Y_LABEL_WIDTH) / width - PANEL_GAP
    for i, (ax, title) in enumerate(zip(fig.axes, titles, strict=True)):
        letter = f"{panel_letter(i)}  " if len(titles) > 1 else ""
        ax.set_title(wrapped(f"{letter}{heading(title)}", room, RC["axes.titlesize"]), **options)


def set_legend(fig: Figure, handles: Sequence[Any], *, below: bool = False, **kwargs: Any) -> None:
    """Add a legend beside the axes, at a distance: its handles should not look like data.

    In a figure of a journal's width it is below them if it would take much of the width, or if ``below``; the figure is
    then taller.
    """
    if isinstance(fig, StyledFigure) and fig.is_narrow:
        widest = max(map(_legend_width, handles))
        if below or widest > LEGEND_SHARE * fig.get_figwidth():
            _set_legend_below(fig, handles, **kwargs)
            return
    fig.legend(handles=handles, loc="outside right upper", alignment="left", borderaxespad=1, **kwargs)
    engine = fig.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=PANEL_GAP)


def _legend_width(handle: Any) -> float:
    """Return the width of an entry of a legend, inches."""
    return LEGEND_HANDLE_WIDTH + max(
        _inches(text, RC["legend.fontsize"]) for text in str(handle.get_label()).split("\n")
    )


def _set_legend_below(fig: StyledFigure, handles: Sequence[Any], title: str = "", **kwargs: Any) -> None:
    """Add a legend below the axes, in as many columns as fit, and the height that it needs."""
    room, size = fig.get_figwidth() - 2 * PANEL_GAP, RC["legend.fontsize"]
    shown = [handle for handle in handles if str(handle.get_label()).strip()]  # without empty lines
    for handle in shown:
        handle.set_label(wrapped(str(handle.get_label()).replace("\n", " "), room - LEGEND_HANDLE_WIDTH, size))

    def split(n_columns: int) -> list[Sequence[Any]]:
        length = -(-len(shown) // n_columns)
        return [shown[first : first + length] for first in range(0, len(shown), length)]

    fitting = [n for n in (3, 2) if sum(max(map(_legend_width, column)) for column in split(n)) <= room]
    columns = split(fitting[0] if fitting else 1)
    heading = wrapped(title.replace("\n", " "), room, size)
    kwargs["labelspacing"] = 0.3
    fig.legend(handles=shown, loc="outside lower left", alignment="left", ncols=len(columns), title=heading, **kwargs)
    n_lines = max(sum(str(handle.get_label()).count("\n") + 1 for handle in column) for column in columns)
    fig.set_figheight(fig.get_figheight() + LEGEND_LINE_HEIGHT * (n_lines + heading.count("\n") + 1.5))
    fig.has_legend_below = True


def beside_legend(fig: Figure) -> float:
    """Return the width in inches that a legend leaves for the axes, less a gap."""
    if not fig.legends or (isinstance(fig, StyledFigure) and fig.has_legend_below):
        return fig.get_figwidth() - PANEL_GAP
    texts = [text.get_text() for legend in fig.legends for text in (legend.get_title(), *legend.get_texts())]
    lines = [line for text in texts for line in text.split("\n")]
    return (
        fig.get_figwidth()
        - LEGEND_HANDLE_WIDTH
        - PANEL_GAP
        - max(_inches(line, RC["legend.fontsize"]) for line in lines)
    )


def settle(fig: Figure) -> None:
    """Run the layout once before drawing: axes with a fixed aspect reach their final place only in the second pass."""
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.execute(fig)


def label_points(ax: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], *, size: float = 7) -> None:
    """Label points without overlap of points, labels and lines of the axes; a label that fits nowhere is left out.

    The figure must have been laid out (`settle`).

    Parameters
    ----------
    ax : Axes
    points : sequence of (x, y)
    texts : sequence of str
        Label of each point.
    size : float
        Font size in points.

    Examples
    --------
    >>> ax = StyledFigure().add_subplot()
    >>> label_points(ax, [(0.5, 0.5), (0.5, 0.5001)], ["first", "second"])
    >>> [(text.get_text(), text.get_ha()) for text in ax.texts]
    [('first', 'left'), ('second', 'right')]
    """
    # All lengths and boxes below are in typographic points; a box is [lower left, upper right].
    points_per_pixel = 72 / ax.figure.dpi
    places = ax.transData.transform(np.reshape(points, (-1, 2))) * points_per_pixel
    frame = ax.bbox.get_points() * points_per_pixel
    # 3 points on each side of a point's centre are its marker
    taken = [np.array([place - 3, place + 3]) for place in places]
    lines = [
        Path(line.get_transform().transform(line.get_xydata()) * points_per_pixel)
        for line in ax.lines if line.get_linestyle() not in ("None", "none", "")
    ]  # fmt: skip
    for (x, y), place, text in zip(points, places, texts, strict=True):
        # 72 points per inch
        half = np.array([72 * _inches(text, size), size]) / 2
        # beside the point or, where that is taken, a little farther away
        for side, away in ((side, away) for away in (0, 7) for side in LABEL_SIDES):
            shift = np.multiply(side, half + np.array([3, 2]) + away)
            box = np.array([place + shift - half, place + shift + half])
            inside = (box[0] >= frame[0]).all() and (box[1] <= frame[1]).all()
            is_free = not any((box[0] < other[1]).all() and (other[0] < box[1]).all() for other in taken)
            if inside and is_free and not any(line.intersects_bbox(Bbox(box), filled=False) for line in lines):
                across = {1: "left", 0: "center", -1: "right"}[side[0]]
                offset = ((3 + away) * side[0], shift[1])
                ax.annotate(text, (x, y), offset, textcoords="offset points", fontsize=size, color="0.25", ha=across,
                            va="center_baseline", zorder=6)  # fmt: skip
                taken.append(box)
                break


def set_suptitle(fig: Figure, title: str) -> None:
    """Set a title above all axes, left of the legend."""
    is_narrow = isinstance(fig, StyledFigure) and fig.is_narrow
    size = RC["axes.titlesize"] if is_narrow else RC["figure.titlesize"]
    fig.suptitle(wrapped(title, beside_legend(fig), size), x=0.01, ha="left", fontsize=size)


def wrapped(text: str, inches: float, size: float) -> str:
    """Break a text into lines of at most `inches` at a font size in points: after a comma, or else between words.

    Examples
    --------
    >>> print(wrapped("Choice from 120 shared cells, 100 ms before the first movement", 3, 9))
    Choice from 120 shared cells,
    100 ms before the first movement
    >>> print(wrapped("Choice, 200 to 205 trials per session", 1.5, 9))
    Choice,
    200 to 205 trials per
    session
    """
    lines: list[str] = []
    for part in re.split(r"(?<=,) (?=\S)", text):
        longer = f"{lines[-1]} {part}" if lines else part
        if lines and _inches(longer, size) <= inches:
            lines[-1] = longer
        else:
            lines += _by_words(part, inches, size)
    return "\n".join(lines)


def _by_words(text: str, inches: float, size: float) -> list[str]:
    lines: list[str] = []
    for word in re.split(r"(?<=\S) (?=\S)", text):  # at single spaces: double ones separate a panel's letter
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _inches(longer, size) > inches:
            lines.append(word)
        else:
            lines[-1:] = [longer]
    return lines


def _inches(text: str, size: float) -> float:
    font = FontProperties(family=RC["font.sans-serif"], size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.03 * width / 72  # hinting moves glyphs to whole pixels, which makes rendered lines slightly longer


def heading(name: str) -> str:
    """Return a name with a capital letter at the start; those of regions within it stay as they are.

    Examples
    --------
    >>> heading("choice (regions=VISp)")
    'Choice (regions=VISp)'
    """
    return name[:1].upper() + name[1:]


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``VISp2/3`` before ``VISp10``.

    Examples
    --------
    >>> sorted(["VISp10", "VISp2/3", "MOs1"], key=natural_key)
    ['MOs1', 'VISp2/3', 'VISp10']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def distinct_region_colors(acronyms: Iterable[str], *, luminance: tuple[float, float] | None = None) -> dict[str, str]:
    """Return distinguishable colours for any mixture of areas and layers.

    The colours of the Allen atlas are not used because all layers of an area share one.

    Parameters
    ----------
    acronyms : iterable of str
        Acronyms, in any order and with repeats, such as one per neuron.
    luminance : (float, float), optional
        Least and largest relative luminance (WCAG 2) of the colours, 0 to 1, for papers that are not white.

    Returns
    -------
    dict of str to str
        Hex colour of each acronym, in natural order of the acronyms. It depends only on the set
        of acronyms. Unknown regions (``void``, ``root``, empty) are grey; no other region is.

    Examples
    --------
    >>> colors = distinct_region_colors(["VISp4", "VISp2/3", "VISp4", "void"])
    >>> list(colors), colors["void"]
    (['VISp2/3', 'VISp4', 'void'], '#808080')
    """
    names = sorted({str(acronym) for acronym in acronyms}, key=natural_key)
    known = [name for name in names if name not in UNKNOWN_REGIONS]
    colors = dict(zip(known, _palette(len(known), luminance), strict=True))
    return {name: colors.get(name, UNKNOWN_COLOR) for name in names}


@lru_cache
def _palette(n: int, luminance: tuple[float, float] | None) -> tuple[str, ...]:
    """Return `n` hex colours, chosen greedily: each is farthest from grey and all before it.

    Distance is measured in OKLab, for normal vision and for the two common kinds of colour blindness.
    """
    # candidates: (14**3, 3) colours on a regular grid of sRGB
    grid = np.linspace(0, 1, 14)
    rgb = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _oklab(_linear(rgb))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    # Very light and very dark colours are hard to see on paper and behind data; greys mean unknown; the most
    # saturated greens and magentas dominate all others.
    shown = (lab[:, 0] > 0.4) & (lab[:, 0] < 0.88) & (chroma > 0.07) & (chroma < 0.2)
    if luminance is not None:
        bright = _linear(rgb) @ LUMINANCE
        shown = (bright >= luminance[0]) & (bright <= luminance[1]) & (chroma > 0.07)
    rgb = rgb[shown]
    # a single region is drawn in nearly the blue of single lines
    chosen = [int(np.argmin(np.sum((rgb - to_rgb(LINE_COLORS[0])) ** 2, axis=1)))]
    rgb = np.vstack([rgb, to_rgb(UNKNOWN_COLOR)])
    views = [_oklab(np.clip(_linear(rgb) @ matrix.T, 0, 1)) for matrix in (np.eye(3), *_DICHROMATS)]

    def apart(i: int) -> np.ndarray:
        # Dichromats see a two-dimensional space, in which thirty colours cannot all differ, so normal vision counts,
        # too. With a weight of 0.8 for the worst view the first eight colours differ for all readers.
        seen = [np.linalg.norm(view - view[i], axis=1) for view in views]
        distance: np.ndarray = 0.2 * seen[0] + 0.8 * np.min(seen, axis=0)
        return distance

    nearest = apart(-1)  # the last colour is grey, which is reserved for unknown regions
    while len(chosen) < n:
        nearest = np.minimum(nearest, apart(chosen[-1]))
        chosen.append(int(np.argmax(nearest)))
    return tuple(to_hex(rgb[i]) for i in chosen[:n])


# Protanopia and deuteranopia, simulated in linear RGB (Machado, Oliveira & Fernandes 2009, severity 1).
_DICHROMATS = (
    np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
)


def _linear(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB (..., 3) in 0..1 to linear RGB, in which light adds up."""
    # the inverse of sRGB's transfer function (IEC 61966-2-1)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _oklab(linear: np.ndarray) -> np.ndarray:
    """Convert linear RGB (n, 3) in 0..1 to OKLab (n, 3) (Ottosson 2020), where distance is perceived difference."""
    to_lms = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    lab: np.ndarray = np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T
    return lab


def region_palette(acronyms: Iterable[str], colors: Mapping[str, str] | None) -> dict[str, str]:
    """Return the colour of each acronym from `colors`, or `distinct_region_colors`; grey if unknown or missing.

    Unknown regions are grey in any case: their colour in the Allen atlas is white, which cannot be seen on paper.

    Examples
    --------
    >>> region_palette(["VISp", "root", "MOs"], {"VISp": "#08858c", "root": "#ffffff"})
    {'MOs': '#808080', 'VISp': '#08858c', 'root': '#808080'}
    """
    distinct = distinct_region_colors(acronyms)
    if colors is None:
        return distinct
    return {name: UNKNOWN_COLOR if name in UNKNOWN_REGIONS else colors.get(name, UNKNOWN_COLOR) for name in distinct}


def pooled_regions(acronyms: Iterable[str], most: int) -> np.ndarray:
    """Return acronyms (N,) of str with at most `most` different values; the rarest become ``other``.

    Examples
    --------
    >>> pooled_regions(["A", "A", "B", "B", "C", "D"], 3).tolist()
    ['A', 'A', 'B', 'B', 'other', 'other']
    """
    regions = np.asarray(acronyms).astype(str)
    names, counts = np.unique(regions, return_counts=True)
    if len(names) <= most:
        return regions
    # "other" is one of the `most` values; stable: among equal counts the first names stay
    rare = names[np.argsort(-counts, kind="stable")[most - 1 :]]
    return np.where(np.isin(regions, rare), "other", regions)


def region_entries(acronyms: np.ndarray, colors: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the text, with the number of cells, and colour of each region in a legend; unknown regions come last.

    Examples
    --------
    >>> region_entries(np.array(["B", "A", "B", ""]), {"A": "#ff0000", "B": "#0000ff", "": "#808080"})
    [('A (1)', '#ff0000'), ('B (2)', '#0000ff'), ('unknown (1)', '#808080')]
    """
    names, counts = np.unique(acronyms, return_counts=True)
    n_cells = dict(zip(names.tolist(), counts.tolist(), strict=True))
    order = sorted(n_cells, key=lambda name: (name in UNKNOWN_REGIONS, natural_key(name)))
    return [(f"{elided(name) or 'unknown'} ({n_cells[name]})", colors[name]) for name in order]


def elided(text: str, most: int = 32) -> str:
    """Shorten a text to at most `most` characters by leaving out its middle: names often differ at either end.

    Examples
    --------
    >>> elided("Primary visual area, layer 2/3", 15)
    'Primary…yer 2/3'
    """
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def session_colors(dates: Sequence[Any]) -> list[str]:
    """Return colours from dark (early) to light (late), from viridis without its pale end.

    Parameters
    ----------
    dates : sequence
        One sortable value per session, such as ISO strings or dates, in any order.

    Returns
    -------
    list of str
        Hex colours, one per session in the order given, in equal steps by rank of the date.

    Examples
    --------
    >>> session_colors(["2024-05-02", "2024-05-01"])
    ['#7ad151', '#440154']
    """
    if not len(dates):
        return []
    order = sorted(range(len(dates)), key=lambda i: dates[i])
    # viridis above 0.8 is too pale on white
    levels = np.linspace(0, 0.8, len(dates))
    colors = [""] * len(dates)
    for level, index in zip(levels, order, strict=True):
        colors[index] = to_hex(mpl.colormaps["viridis"](level))
    return colors


def save(fig: Figure, path: str | pathlib.Path, provenance: Mapping[str, Any], *, dpi: int = 200) -> pathlib.Path:
    """Save a figure with its provenance inside the file.

    The provenance is JSON with sorted keys in the field *Description* (PNG, SVG) or *Subject* (PDF); the versions of
    this package and of matplotlib are in *Software* (PNG) or *Creator* (SVG, PDF). No time of day is written, so the
    same figure and provenance give the same bytes.

    Parameters
    ----------
    fig : Figure
        Any matplotlib figure.
    path : str or Path
        Ends in ``.png``, ``.svg`` or ``.pdf``. Missing folders are created.
    provenance : mapping
        Values by name: numbers, strings, arrays, dates, UUIDs, paths, or lists and mappings of them.
    dpi : int
        Dots per inch of PNG files and of images inside SVG and PDF files.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ArgumentError
        The suffix is not one of the three.
    ArgumentTypeError
        The provenance holds an object that cannot be written as JSON.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = save(StyledFigure(), folder.name + "/new/a.png", {"eid": "e1"})
    >>> with Image.open(file) as image:
    ...     print(image.info["Description"])
    {"eid": "e1"}
    >>> folder.cleanup()
    """
    path = pathlib.Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in _METADATA:
        raise ArgumentError(f"figures are saved as .png, .svg or .pdf, not as {path.suffix!r}: {path}")
    text, software, clocks = _METADATA[kind]
    metadata: dict[str, Any] = {text: provenance_text(provenance)}
    metadata[software] = f"meso {version('meso')}, matplotlib {mpl.__version__}"
    metadata.update(dict.fromkeys(clocks))  # None removes matplotlib's default, the current time
    buffer = io.BytesIO()  # so that a failure while drawing leaves no incomplete file
    with style():
        fig.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path
