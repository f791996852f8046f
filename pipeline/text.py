"""Text of others, such as names of subjects and files, made harmless for a terminal or a spreadsheet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Control characters except tab and newline, and characters that change the direction of writing.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: First characters of a formula: a spreadsheet would compute it, and may start programs for it.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def printable(text: object) -> str:
    r"""Return text whose control characters are written out: an ESC would let a name move or recolour the terminal.

    Examples
    --------
    >>> print(printable("SP\x1b[2J072"))
    SP\x1b[2J072
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


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
