"""Create a database as version 13 did, with two curves and their comparison: a script, run by test_database."""

from __future__ import annotations

from schemas import provenance
from schemas.decoding import tables as decoding
from schemas.setup import migrations, views
from support import version_1
from support.before_responses import without_responses
from support.former_tables import without_lines, without_tables

#: Beginnings of the lines that versions 14 and 16 added.
NEW_LINES = {
    decoding.NDCParams: ("intervals=", "beyond="),
    decoding.NDCResult: ("k_star_continuous", "k_half", "p_curve", "n_minority="),
    decoding.NDCResult.Curve: ("influences=",),
}
NEW_PARTS, NEW_TABLES = ("DayTrend", "DayValue"), ("NDCCohort", "NDCPopulation")
TASK = {"session_set": "5" * 32, "ndc_params": version_1.ROWS[0]["ndc_params"]}


def make() -> None:
    """Declare the tables of version 13; insert two sessions with a curve each, and their comparison."""
    without_responses()
    without_tables(decoding.schema, NEW_TABLES)
    for table, beginnings in NEW_LINES.items():
        without_lines(table, beginnings)
    for name in NEW_PARTS:
        delattr(decoding.NDCComparison, name)
    views.queries = dict  # those of this version show the new columns
    migrations.init(migrations=migrations.MIGRATIONS[:13])
    version_1.insert_rows()
    insert_comparison()


def insert_comparison() -> None:
    """Insert a comparison of the two curves of version 1."""
    for eid, p in zip(version_1.EIDS, (0.01, 0.02), strict=True):  # which version 1 did not have
        decoding.NDCResult.update1({**TASK, "eid": eid, "p_largest": p})
    key = decoding.NDCFamily.add([TASK])
    software = {"environment": provenance.Environment().fetch1("environment")}
    row = {**key, "n_judged": 2, "n_lacking": 0, **software}
    decoding.NDCComparison.insert1(row, allow_direct_insert=True)
    decoding.NDCComparison.Result.insert(
        ({**key, **TASK, "eid": eid, "q_value": 0.02, "k_star_common": 8} for eid in version_1.EIDS),
        allow_direct_insert=True,
    )
    trend = {"k_star_slope": -1.0, "n_dated": 2, "n_censored": 0, "mean_day": 0.5, "mean_log_k": 3.5}
    decoding.NDCComparison.Trend.insert1({**key, **TASK, **trend}, allow_direct_insert=True)


if __name__ == "__main__":
    make()
