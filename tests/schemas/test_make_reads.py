"""What each ``make_compute`` reads is written down in CONTRIBUTING.md: DataJoint does not check it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import datajoint as dj
import pytest

import schemas
from pipeline.decoding import NDCSettings
from pipeline.embedding import EmbeddingSettings
from pipeline.embedding_days import EMBEDDED, DaysSettings
from pipeline.responses import SelectivitySettings, StabilitySettings
from pipeline.settings.signals import SignalSettings
from schemas.days.run import run_embedding
from schemas.decoding.cohorts import compare_mice
from schemas.decoding.run import run_ndc
from schemas.decoding.transfers import run_transfer
from schemas.labels import LabelSet
from schemas.responses.run import run_cells, run_stability
from schemas.server.binding import auto_populated, table_modules
from schemas.session import trials_of
from schemas.storage import bulk
from schemas.tracking import TrackingRun
from schemas.work.filling import fill
from schemas.work.reports import retry

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
pytestmark = pytest.mark.one_backend


def written_down() -> dict[str, set[str]]:
    """Return the tables that the page says each make_compute reads."""
    section = PAGE.read_text(encoding="utf-8").partition("## What must never change under its key")[2]
    rows = re.findall(r"^\| ([A-Z][\w, ]*) \| (.*) \|$", section, re.MULTILINE)
    known = set(table_names().values())
    assert rows
    return {
        name: {word for word in re.split(r"[,;] *", reads) if word in known}
        for names, reads in rows
        for name in names.split(", ")
    }


def table_names() -> dict[str, str]:
    """Return the names of all tables, parts included, by what they are called in SQL."""
    names = {}
    for module in table_modules().values():
        for table, _ in module.schema.declare_list:
            names[table.full_table_name] = table.__name__
            parts = [part for part in vars(table).values() if isinstance(part, type) and issubclass(part, dj.Part)]
            names |= {part.full_table_name: f"{table.__name__}.{part.__name__}" for part in parts}
    return names


@pytest.fixture(scope="module")
def filled(demo_sessions):
    """The demo with curves by settings that read as much as any: shuffled labels of other sessions, random cells."""
    run = TrackingRun.register("SP999")
    plain = NDCSettings(target="choice", ks=(8,), r=2, n_label_shuffles=2, n_bootstrap=4)
    much = NDCSettings(
        target="choice", ks=(8,), r=2, n_label_shuffles=2, n_bootstrap=4, null="imposter", cells="random",
        regions=("VISp", "VISa"),
    )  # fmt: skip
    larger = NDCSettings(target="choice", ks=(8,), r=3, n_label_shuffles=2, n_bootstrap=4)
    own = LabelSet.add("own", {eid: trials_of(eid)["choice"] > 0 for eid in demo_sessions})["label_set"]
    of_own = NDCSettings(target="own", labels=own, ks=(8,), r=2, n_label_shuffles=2, n_bootstrap=4)
    lost = NDCSettings(target="choice", ks=(1,), r=2, n_label_shuffles=2, n_bootstrap=4, cells="lost", n_cells=1)
    in_one = replace(plain, signal="fluorescence")
    asked = [plain, larger, much, of_own, lost, in_one]
    result = run_ndc(demo_sessions, run, asked)
    population = compare_mice(
        tasks=[{**result.session_set, "ndc_params": one.ndc_params} for one in result.targets[:1]]
    )
    assert population.notes == []
    beyond = replace(plain, beyond="stimulus", class_balance="none")  # the readouts need the trials, too
    assert run_transfer(demo_sessions, run, [plain, beyond]).failures == []
    assert run_stability(demo_sessions, run, settings=StabilitySettings(n_shuffles=200)).gaps
    for embedded in EMBEDDED:
        for signal in (None, SignalSettings("fluorescence")):
            run_embedding(demo_sessions, run, DaysSettings(embedded), signal=signal)
    of_signal = schemas.EmbeddingParams.add(EmbeddingSettings(signal=SignalSettings("fluorescence")))
    embeddings = [schemas.Embedding, schemas.RasterTiles]
    assert fill(embeddings, {"eid": demo_sessions[0], **of_signal}).made["RasterTiles"] == 1
    run_cells(demo_sessions[0], settings=SelectivitySettings(n_label_shuffles=2))
    yield result
    (schemas.EmbeddingParams & of_signal).delete()
    for table in (schemas.DaysParams, schemas.WindowSet, schemas.SelectivityParams, schemas.StabilityParams):
        (table & table.keys()).delete()
    for one in [*asked, beyond]:
        (schemas.NDCParams & schemas.NDCParams.add(one)).delete()
    (LabelSet & {"label_set": own}).delete()
    retry([schemas.TrialFeatures])


def test_every_three_part_make_is_written_down():
    three = {table.__name__ for table in auto_populated() if hasattr(table, "make_compute")}
    assert set(written_down()) == three


def test_what_make_compute_reads_is_written_down(filled, demo_sessions, database, monkeypatch):
    names, asked = table_names(), []
    query, stream = database.query, bulk.stream
    monkeypatch.setattr(database, "query", lambda sql, *args, **kw: asked.append(sql) or query(sql, *args, **kw))

    def noted_stream(rows, *columns, take):
        asked.append(rows.make_sql(list(columns)))
        stream(rows, *columns, take=take)

    monkeypatch.setattr(bulk, "stream", noted_stream)
    read, some = {}, [{"eid": eid} for eid in demo_sessions[:2]]
    for name in written_down():
        table = next(table for table in auto_populated() if table.__name__ == name)
        read[name] = set()
        done = table().key_source.proj() & table.proj()
        done = done & some if "eid" in table.primary_key else done  # the same tables are read for each session
        for key in done.to_dicts():
            fetched = table().make_fetch(key)
            asked.clear()
            table().make_compute(key, *fetched)
            selects = [sql for sql in asked if sql.lstrip().upper().startswith("SELECT")]
            read[name] |= {names[full] for full in names if any(full in sql for sql in selects)}
    expected = written_down()
    expected["Activity"].remove("DatabaseId")  # the demo's traces are in no store
    assert read == expected


def test_jobs_of_a_set_say_which_sessions_they_read(filled):
    """So that a delete takes them from their workers: files may be exchanged and put back while a job runs."""
    of_sets = [
        table for table in auto_populated() if "session_set" in table.primary_key and "eid" not in table.primary_key
    ]
    in_parts = {table for table in of_sets if "make_compute" in vars(table)}
    assert {schemas.Stability, schemas.SharedEmbedding} <= in_parts
    for table in in_parts:
        for key in table.proj().to_dicts():
            members = (schemas.SessionSet.Member & {"session_set": key["session_set"]}).to_arrays("eid")
            assert {row["eid"] for row in table.also_read(key)} == set(members), table.__name__
