"""Curves of several sets of sessions asked for together: of pairs of sessions of a mouse, or of several mice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from pipeline.decoding.fits.together import least_q
from pipeline.errors import ArgumentError, DataError
from schemas.decoding.cohorts import MiceRun, compare_mice
from schemas.decoding.naming import dates_of
from schemas.decoding.results import NDCRun, unreachable_q
from schemas.decoding.rows import p_of
from schemas.decoding.tables import NDCComparison, NDCFamily, NDCResult, NDCTask
from schemas.session import Session
from schemas.work.filling import fill

if TYPE_CHECKING:
    import pandas as pd

PAIRS = ("consecutive", "all")
#: What p and q of pairs of sessions say.
OF_SHUFFLES = (
    "p compares a curve with shuffled labels of its own session, in the cells of the pair: the session is decoded, and "
    "not that the two differ. A session has the same shuffles in all its pairs, so its p there rise and fall together; "
    "q over all pairs (Benjamini-Hochberg) holds for such tests"
)


@dataclass(repr=False)
class ManyRuns:
    """Neuron-dropping curves of several sets of sessions.

    Attributes
    ----------
    kind : {'pair', 'subject'}
        What the sets are.
    runs : dict of str to NDCRun
        By the dates of the pair, or the subject.
    failed : dict of str to str
        Why another set has no curves.
    family : dict
        Key of NDCFamily: all these curves, over which q in ``table`` is computed; empty without a curve.
    q_values : dict of (session_set, ndc_params, eid) to float
    mice : MiceRun or None
        The slopes of the mice and their means; None for pairs, or if no mouse has a curve.
    remarks : list of str
        On the choice of the sets.
    """

    kind: str
    runs: dict[str, NDCRun]
    failed: dict[str, str]
    family: dict[str, str] = field(default_factory=dict)
    q_values: dict[tuple[str, str, str], float] = field(default_factory=dict)
    mice: MiceRun | None = None
    remarks: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<ManyRuns of {len(self.runs)} {self.kind}s, {len(self.failed)} failed; see .table and .runs>"

    @property
    def table(self) -> pd.DataFrame:
        """One row per set, session and target: as ``NDCRun.table``, with the set, its shared cells, and q over all."""
        import pandas as pd

        # the key of the family and q are those of all the sets together
        parts = [
            run.table.assign(**{self.kind: name, "n_shared": run.n_shared, **self.family})
            for name, run in self.runs.items()
        ]
        if not parts:
            return pd.DataFrame(columns=[self.kind, "n_shared"])
        table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
        keys = zip(table["session_set"], table["ndc_params"], table["eid"], strict=True)
        table["q_value"] = [self.q_values.get(key) for key in keys]
        judged = table["p_curve"].notna()
        shuffles = table["n_label_shuffles"].where(judged)
        table["q_least"] = [None if s != s else least_q(int(judged.sum()), int(s)) for s in shuffles]
        first = [self.kind, "n_shared"]
        return table[first + [name for name in table if name not in first]]

    def failure_lines(self) -> list[str]:
        """Return a line of text for each set without curves, and for each session without in one of the others."""
        return [
            *(f"{name}: {message}" for name, message in self.failed.items()),
            *(f"{name}: {line}" for name, run in self.runs.items() for line in run.failure_lines()),
        ]

    def notes(self) -> list[str]:
        """Return all remarks, each once, with the sets that it is of unless it is of all."""
        of: dict[str, list[str]] = {}
        for name, run in self.runs.items():
            # a set's own family is not what q here is over
            for text in run.notes:
                if text != unreachable_q(n_judged([run]), run.settings):
                    of.setdefault(text, []).append(name)
        own = [
            text if len(names) == len(self.runs) else f"{', '.join(names)}: {text}" for text, names in of.items()
        ]  # fmt: skip
        return [*self.remarks, *own, *(self.mice.notes if self.mice else [])]


def pairs_of(eids: Sequence[str], kind: str) -> dict[str, tuple[str, str]]:
    """Return pairs of sessions by their dates: of each session and the next one, or all.

    Parameters
    ----------
    eids : sequence of str
        Ids of registered sessions of one subject.
    kind : {'consecutive', 'all'}

    Raises
    ------
    ArgumentError
        ``kind`` is neither.
    DataError
        There are fewer than two sessions.
    """
    if kind not in PAIRS:
        raise ArgumentError(f"pairs must be one of {', '.join(PAIRS)}, not {kind!r}")
    rows = (Session & [{"eid": eid} for eid in eids]).to_dicts(order_by="session_date, session_number")
    if len(rows) < 2:
        raise DataError("a pair needs two sessions", expected="2 or more", found=f"{len(rows)}")
    names = dates_of(rows)
    chosen = pairwise(names) if kind == "consecutive" else combinations(names, 2)
    return {f"{names[first]} {names[second]}": (first, second) for first, second in chosen}


def run_many(
    kind: str, sets: Mapping[str, Sequence[str]], ask: Callable[[Sequence[str]], NDCRun], *, progress: bool = False
) -> ManyRuns:  # fmt: skip
    """Compute the curves of several sets of sessions; one that fails does not stop the others.

    Parameters
    ----------
    kind : {'pair', 'subject'}
        Of subjects, the slopes are then compared: see ``compare_mice``.
    sets : mapping of str to sequence of str
        Ids of sessions by name of the set.
    ask : callable
        Returns the curves of the sessions of a set, or raises a DataError.
    progress : bool
        Show a progress bar over the sets.
    """
    from tqdm import tqdm

    found = ManyRuns(kind, {}, {})
    for name, eids in tqdm(sets.items(), desc=kind.capitalize(), disable=not progress):
        try:
            found.runs[name] = ask(eids)
        except DataError as error:
            found.failed[name] = str(error)
    tasks = _tasks(found.runs.values())
    if tasks:
        found.family = NDCFamily.add(tasks)
        fill([NDCComparison], found.family)
        rows = (NDCComparison.Result & found.family).proj("q_value").to_dicts()
        found.q_values = {(row["session_set"], row["ndc_params"], row["eid"]): row["q_value"] for row in rows}
    if tasks and kind == "subject":
        found.mice = compare_mice(tasks=tasks)
    if kind == "pair" and any(one.n_label_shuffles for run in found.runs.values() for one in run.settings):
        found.remarks.append(OF_SHUFFLES)
    settings = [one for run in found.runs.values() for one in run.settings]
    if text := unreachable_q(n_judged(found.runs.values()), settings):
        found.remarks.append(text)
    return found


def n_judged(runs: Iterable[NDCRun]) -> int:
    """Return the number of curves of some runs that have a p."""
    return sum(p_of(row) is not None for run in runs for target in run.targets for row in target.curves)


def _tasks(runs: Any) -> list[dict[str, str]]:
    """Return the keys of NDCTask of runs that have a curve."""
    asked = [{**run.session_set, "ndc_params": target.ndc_params} for run in runs for target in run.targets]
    return (NDCTask & asked & NDCResult.proj()).keys(order_by="KEY") if asked else []
