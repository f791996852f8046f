"""Conditions on trials in words, such as ``contrast > 0.1 and correct and block == 0.5``.

A small language over named columns of the trials. Python's ``ast`` only parses the text: each part is looked up in what
the grammar has, everything else is refused, and nothing is handed to Python to be evaluated.

    condition  = clause {"and" clause}
    clause     = comparison | truth column | "not" clause | clause "or" clause | "(" condition ")"
    comparison = number {("<" | "<=" | ">" | ">=" | "==" | "!=") number}, one or more
               | number ["not"] "in" "(" number {"," number} ")"
    number     = column | constant | "left" | "right" | "-" number | "abs(" number ")" | "(" number ")"
               | number ("+" | "-" | "*" | "/") number

A missing value makes a comparison unknown, neither true nor false; "not" of unknown is unknown, "and" and "or" are as
in SQL. Only trials for which a condition is true are chosen.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import ArgumentError, ArgumentTypeError
from pipeline.settings.records import Kind

#: Columns of the trials, and what each is.
COLUMNS = {
    "choice": "1 left, -1 right, 0 no choice",
    "correct": "true for a rewarded trial, false for an error and for no choice",
    "contrast": "of the stimulus, 0 to 1",
    "side": "of the stimulus: 1 left, -1 right",
    "signed_contrast": "contrast on the right minus contrast on the left, as in IBL: positive on the right",
    "block": "probability of a stimulus on the left: 0.8, 0.5 or 0.2",
    "trial_in_block": "trials since the block began, 0 for its first",
    "reaction_time": "first movement after the stimulus, s",
    "response_time": "response after the stimulus, s",
    "quiescence": "period of quiescence before the stimulus, s",
    "previous_choice": "choice of the trial before",
    "previous_correct": "whether the trial before was rewarded",
    "previous_side": "side of the trial before",
    "previous_contrast": "contrast of the trial before",
    "index": "number of the trial, 0 for the first of the session",
    "fraction": "index / n_trials: 0 at the first trial, below 1",
    "n_trials": "trials of the session",
}
#: Columns that are conditions by themselves; as numbers they are 1 and 0.
TRUTHS = ("correct", "previous_correct")
#: Words for numbers: choices and sides.
WORDS = {"left": 1.0, "right": -1.0}
#: What columns are called elsewhere: in ALF files, as targets, and in tables of labels.
_ALSO_CALLED = {
    "contrastLeft": "signed_contrast", "contrastRight": "signed_contrast", "feedback": "correct",
    "feedbackType": "correct", "firstMovement_times": "reaction_time", "probabilityLeft": "block",
    "quiescencePeriod": "quiescence", "response_times": "response_time", "rt": "reaction_time", "stimulus": "side",
    "trial": "index", "trial_index": "index",
}  # fmt: skip
#: Columns that follow from the choice in this trial.
OF_THE_CHOICE = ("choice", "correct")
#: Columns that are measured, and that no model of the mouse has.
MEASURED = ("reaction_time", "response_time")
#: Longest condition, in characters.
LONGEST = 500

_COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_SUMS, _PRODUCTS = {ast.Add: "+", ast.Sub: "-"}, {ast.Mult: "*", ast.Div: "/"}
#: Operators of other languages, and what is written here.
_MEANT = (
    (r"&&?", "and"), (r"\|\|?", "or"), (r"\b(?!and\b)(?i:and)\b", "and"), (r"\b(?!or\b)(?i:or)\b", "or"),
    (r"\b(?!not\b)(?i:not)\b", "not"), (r"=<", "<="), (r"=>", ">="), (r"<>", "!="), (r"!(?!=)", "not"),
    (r"(?<![<>=!])=(?![=<>])", "=="), ("\u2264", "<="), ("\u2265", ">="), ("\u2260", "!="),
)  # fmt: skip
#: How a text ends that is not complete.
_OPEN_END = re.compile(r"(\b(?:and|or|not|in)|not\s+in|[<>=!]=|[-+*/<>])$")
#: How strongly an operator binds; what binds less than its place needs is put in parentheses.
_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _SIGN, _ATOM = range(8)


@dataclass(frozen=True)
class Condition:
    """A condition in its canonical form.

    Spaces, parentheses, and how numbers are written make no difference; nor do the order and the repetition of clauses
    joined by ``and``, of alternatives joined by ``or``, and of values after ``in``: they are sorted, each once.
    ``a < b`` and ``b > a`` are two conditions.

    Attributes
    ----------
    text : str
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Return a condition from text.

        Raises
        ------
        ArgumentError
            The text is not a condition; the message says where it departs from the grammar.

        Examples
        --------
        >>> Condition.parse("(correct) and contrast>.10").text
        'contrast > 0.1 and correct'
        """
        found = cls(_truth(_parsed(text))[0])
        _parsed(found.text)  # numbers may be longer in it: 1e9 is 1000000000
        return found

    @property
    def clauses(self) -> tuple[ast.expr, ...]:
        """What ``and`` joins, parsed, in the order of the text: ``pipeline.behavior.trial_columns`` has the values."""
        whole = _parsed(self.text)
        return tuple(whole.values) if isinstance(whole, ast.BoolOp) and isinstance(whole.op, ast.And) else (whole,)

    @property
    def clause_texts(self) -> tuple[str, ...]:
        """The clauses as text.

        Examples
        --------
        >>> Condition.parse("correct and (side == left or contrast == 0)").clause_texts
        ('contrast == 0 or side == 1', 'correct')
        """
        return tuple(map(ast.unparse, self.clauses))

    @property
    def columns(self) -> frozenset[str]:
        """The names of the columns in it."""
        named = {node.id for node in ast.walk(_parsed(self.text)) if isinstance(node, ast.Name)}
        return frozenset(named & set(COLUMNS))


class ConditionText(Kind):
    """A condition on trials, or '' for none."""

    expected = "a condition on the trials such as 'contrast > 0.1 and correct'"
    metavar = "CONDITION"

    def take(self, value: object) -> str:
        if not isinstance(value, str):
            raise ArgumentTypeError
        return Condition.parse(value).text if value.strip() else ""


def columns_in(text: str) -> frozenset[str]:
    """Return the names of the columns in a condition; none for ''."""
    return Condition(text).columns if text else frozenset()


def n_clauses(text: str) -> int:
    """Return the number of clauses of a condition; 0 for ''."""
    return len(Condition(text).clauses) if text else 0


def clauses_in(text: str) -> tuple[str, ...]:
    """Return the clauses of a condition as text; none for ''."""
    return Condition(text).clause_texts if text else ()


def _parsed(text: str) -> ast.expr:
    """Return the tree of a text; raise ArgumentError if Python cannot parse it."""
    if len(text) > LONGEST:
        raise ArgumentError(f"it has {len(text)} characters, {LONGEST} are allowed")
    if "#" in text:  # what follows would be left out, and is written to be read
        raise ArgumentError("comments are not possible: leave out # and what follows")
    text = re.sub(r"\s", " ", text).strip()  # a long condition may be written in several lines
    try:
        with warnings.catch_warnings():  # such as that of "1is", which is refused anyway
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ArgumentError(_unreadable(text, error)) from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise ArgumentError(f"it cannot be read: {error}") from None


def _unreadable(text: str, error: SyntaxError) -> str:
    """Return where a text cannot be read, and what to write instead."""
    if end := _OPEN_END.search(text):
        return f"it cannot be read at its end: something is missing after {end[0]!r}"
    where = f"it cannot be read at character {error.offset}" if error.offset else "it cannot be read at its end"
    for pattern, word in _MEANT:
        if found := re.search(pattern, text):
            return f"{where}: write {word} instead of {found[0]}"
    return f"{where}: {error.msg}"


def _truth(node: ast.expr) -> tuple[str, int]:
    """Return the canonical text of something that is true or false, and how strongly it binds."""
    match node:
        case ast.BoolOp():
            return _joined(node)
        case ast.UnaryOp(op=ast.Not()):
            return f"not {_within(_truth(node.operand), _NOT)}", _NOT
        case ast.Compare():
            return _comparison(node), _COMPARISON
        case ast.Name(id=name) if name in TRUTHS:
            return name, _ATOM
    text = _number(node)[0]  # names what is unknown, before it is said that it is no condition
    raise ArgumentError(f"{text} is a number and not a condition: compare it, as in {text} > 0")


def _joined(node: ast.BoolOp) -> tuple[str, int]:
    """Return the canonical text of clauses or alternatives: sorted, each once."""
    word, rank = ("and", _AND) if isinstance(node.op, ast.And) else ("or", _OR)
    parts = {_within(part, rank + 1): part for part in map(_truth, _flat(node, type(node.op)))}
    if len(parts) == 1:
        return next(iter(parts.values()))
    return f" {word} ".join(sorted(parts)), rank


def _flat(node: ast.expr, op: type[ast.boolop]) -> Iterator[ast.expr]:
    """Yield what an operator joins: ``a and (b and c)`` is three clauses."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, op):
        for value in node.values:
            yield from _flat(value, op)
    else:
        yield node


def _comparison(node: ast.Compare) -> str:
    left = _within(_number(node.left), _SUM)
    if isinstance(node.ops[0], ast.In | ast.NotIn) and len(node.ops) == 1:
        return _membership(left, node.comparators[0], isinstance(node.ops[0], ast.In))
    for op in node.ops:
        if type(op) not in _COMPARISONS:
            word = {ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not"}[type(op)]
            raise ArgumentError(f"{word!r} is not possible there: compare with {' '.join(_COMPARISONS.values())}")
    rights = (_within(_number(right), _SUM) for right in node.comparators)
    return " ".join([left, *(f"{_COMPARISONS[type(op)]} {one}" for op, one in zip(node.ops, rights, strict=True))])


def _membership(left: str, values: ast.expr, inside: bool) -> str:
    """Return the canonical text of ``in`` and ``not in``; a single value is compared."""
    items = values.elts if isinstance(values, ast.Tuple | ast.List | ast.Set) else [values]
    if not items:
        raise ArgumentError("the values after 'in' are missing")
    known = sorted({_constant(item) for item in items})
    if len(known) == 1:
        return f"{left} {'==' if inside else '!='} {_spelled(known[0])}"
    return f"{left} {'in' if inside else 'not in'} ({', '.join(map(_spelled, known))})"


def _constant(node: ast.expr) -> float:
    """Return a value after 'in'."""
    text = _number(node)[0]
    value = _value(text)
    if value is None:
        raise ArgumentError(f"after 'in' there must be numbers in parentheses, not {text}")
    return value


def _value(text: str) -> float | None:
    """Return the value of the canonical text of a number, None if it is not a constant."""
    try:
        return float(text)
    except ValueError:
        return None


def _number(node: ast.expr) -> tuple[str, int]:
    """Return the canonical text of a number, and how strongly it binds."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _of_value(value)
        case ast.Name(id=name) if name in COLUMNS:
            return name, _ATOM
        case ast.Name(id=name) if name in WORDS:
            return _of_value(WORDS[name])
        case ast.Name(id=name):
            raise ArgumentError(_unknown(name))
        case ast.UnaryOp(op=ast.UAdd()):
            return _number(node.operand)
        case ast.UnaryOp(op=ast.USub()):
            inner = _number(node.operand)
            known = _value(inner[0])
            return (f"-{_within(inner, _SIGN)}", _SIGN) if known is None else _of_value(-known)
        case ast.BinOp() if type(node.op) in _SUMS | _PRODUCTS:
            rank = _SUM if type(node.op) in _SUMS else _PRODUCT
            left, right = _within(_number(node.left), rank), _within(_number(node.right), rank + 1)
            return f"{left} {(_SUMS | _PRODUCTS)[type(node.op)]} {right}", rank
        case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
            return f"abs({_number(inner)[0]})", _ATOM
    raise ArgumentError(_refused(node))


def _of_value(value: float) -> tuple[str, int]:
    """Return the canonical text of a constant: 0.1 for .10, and 1 for 1.0 and True."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ArgumentError("a number in it is too large")
    return _spelled(number), _SIGN if number < 0 else _ATOM


def _spelled(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _within(part: tuple[str, int], least: int) -> str:
    """Return a text in a place whose operator binds as ``least``: in parentheses if it binds less."""
    text, rank = part
    return text if rank >= least else f"({text})"


def _unknown(name: str) -> str:
    near = (
        [_ALSO_CALLED[name]] if name in _ALSO_CALLED else difflib.get_close_matches(name.lower(), [*COLUMNS, *WORDS], 1)
    )
    meant = f", did you mean {near[0]}?" if near else "."
    return f"there is no column {name!r}{meant} The columns are {', '.join(COLUMNS)}; left is 1 and right -1"


def _refused(node: ast.expr) -> str:
    """Return why a part of a text is not in the grammar."""
    text = ast.unparse(node)
    match node:
        case ast.Constant(value=str()):
            return f"{text} is text: write left or right without quotes, other values as numbers"
        case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return f"{text} is a condition where a number is needed"
        case ast.Tuple():
            return f"a comma is possible only between the values after 'in', not in {text}: write and, or 0.1 for 0,1"
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return f"& and | are not possible in {text}: write and, or"
        case ast.Call():
            return f"{text}: the only function is abs, of one number"
    return f"{text} is not possible: there are columns, numbers, + - * /, comparisons, in, and, or, not, abs()"
