"""Text of others made harmless for a terminal, a spreadsheet or a file name; text of p and of scores."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

#: Control characters except tab and newline, and characters that change the direction of writing.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: First characters of a formula: a spreadsheet would compute it, and may start programs for it.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
#: Scores by their names in settings; "mixed" are panels with different ones, of classes and of numbers.
METRICS = {
    "auc": "AUC", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "r2": "R²",
    "spearman": "Spearman's ρ", "mixed": "score",
}  # fmt: skip


def printable(text: object) -> str:
    r"""Return text whose control characters are written out: an ESC would let a name move or recolour the terminal.

    Examples
    --------
    >>> print(printable("SP\x1b[2J072"))
    SP\x1b[2J072
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def did_you_mean(name: str, known: Iterable[str], least: float = 0.7) -> str:
    """Return a question about the known names that are most like a name, whatever its case, or '' if none is.

    Parameters
    ----------
    name : str
    known : iterable of str
    least : float
        Similarity, 0 to 1, as of ``difflib.SequenceMatcher.ratio``.

    Examples
    --------
    >>> did_you_mean("sp027", ["SP072", "SP999", "KM01"]), did_you_mean("x", ["SP072"])
    ('Did you mean SP072? ', '')
    """
    by_lower = {one.lower(): one for one in sorted(known, reverse=True)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=least)
    return f"Did you mean {' or '.join(by_lower[one] for one in near)}? " if near else ""


def counted(n: int, one: str, more: str, form: Callable[[int], str] = str) -> str:
    """Return a number, as text by ``form``, with the word for it.

    Examples
    --------
    >>> counted(1, "session", "sessions"), counted(0, "session", "sessions")
    ('1 session', '0 sessions')
    """
    return f"{form(n)} {one if n == 1 else more}"


def p_text(p: float | None, n_shuffles: int | None = None, name: str = "p") -> str:
    """Return p, or q, as text: with three decimals, about the resolution of a thousand shuffles.

    Parameters
    ----------
    p : float or None
        NaN and None stand for no p.
    n_shuffles : int, optional
        Number S of shuffles that p was counted in, if it was. The smallest p that they can give is 1 / (S + 1): it says
        that p is that or less.
    name : str
        Of the quantity; "" for the value alone, as in the cells of a table.

    Examples
    --------
    >>> p_text(0.0341), p_text(0.0002), p_text(None), p_text(0.0341, name="")
    ('p = 0.034', 'p < 0.001', 'p = –', '0.034')
    >>> p_text(1 / 41, 40), p_text(2 / 41, 40), p_text(1 / 41, 40, name="")
    ('p <= 0.024 (40 shuffles)', 'p = 0.049', '<= 0.024 (40 shuffles)')
    """
    if p is None or math.isnan(p):
        sign, value = "=", "–"
    elif n_shuffles and p <= 1.0001 / (n_shuffles + 1):
        floor = 1 / (n_shuffles + 1)
        sign, value = "<=", f"{floor:.3f}" if floor >= 0.0005 else f"{floor:.1g}"
        value += f" ({n_shuffles} shuffles)"
    else:
        sign, value = ("<", "0.001") if p < 0.001 else ("=", f"{p:.3f}")
    if name:
        return f"{name} {sign} {value}"
    return value if sign == "=" else f"{sign} {value}"


def signed(value: float, digits: int) -> str:
    """Return a number with its sign, and with a typographic minus, which is as wide as a plus.

    Examples
    --------
    >>> signed(-0.5, 2)
    '−0.50'
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def minus(value: float, digits: int) -> str:
    """Return a number with a typographic minus, as `signed`, and without a plus; 0 has no sign.

    Examples
    --------
    >>> minus(-0.5, 2), minus(-0.001, 2)
    ('−0.50', '0.00')
    """
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV, with an apostrophe before text that a spreadsheet would take for a formula.

    Examples
    --------
    >>> import pandas as pd
    >>> print(csv_text(pd.DataFrame({"subject": ["=1+1", "SP072"], "slope": [-0.5, 1.0]})), end="")
    subject,slope
    '=1+1,-0.5
    SP072,1.0
    """

    def cell(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    text: str = table.map(cell).to_csv(index=False)
    return text


def file_stem(*parts: Any, max_length: int = 100) -> str:
    """Return a valid file name without suffix; parts may contain slashes (``VISp2/3``), and long names are cut.

    Examples
    --------
    >>> file_stem("raster", "2024-05-01", "VISp2/3")
    'raster_2024-05-01_VISp2-3'
    """
    # \w keeps letters of other alphabets too, which file systems allow
    text = "_".join(re.sub(r"[^\w.+-]+", "-", str(part)) for part in parts)
    return text[:max_length].strip("-_.")
