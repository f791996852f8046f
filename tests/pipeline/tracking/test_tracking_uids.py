"""Files of cell UIDs: one line per ROI, nothing guessed."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.demo.repository import write_demo_repository, write_one_tables
from pipeline.errors import ConfigError, DataError
from pipeline.reading import open_one
from pipeline.tracking.uids import (
    UIDText,
    cells_in,
    check_form,
    is_in_same_order,
    mirror_folder,
    read_mirrored,
    read_session,
    reads_as_before,
    shared_uids,
    tracked_rows,
    uid_lines,
)

UIDS, SILHOUETTE = "mpciROIs.clusterUIDs.csv", "mpciROIs.clusterSilhouette.npy"
PLACE = {"eid": "an-eid", "fov": 2, "dataset": "uids.csv"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\nb", ["a", "b"]),
        ("a\r\n\r\nb\r\n", ["a", "", "b"]),
        ("\n\n\n", ["", "", ""]),
        ("nan\nNaN\nNAN\na", ["", "", "", "a"]),
        ("  a \n \t \n nan ", ["a", "", ""]),
        ("nanette\nbanana\n0\n", ["nanette", "banana", "0"]),
        ("", []),
    ],
)
def test_a_line_is_a_uid_or_nothing(text, expected):
    assert uid_lines(text) == expected


ONE, TWO = "0b1c64c4-7c0e-4c4c-9e53-2a1f3a4d5e6f", "7f9f2f7e-3b07-4a4b-8d5e-0c1d2e3f4a5b"
NO_CELL = [
    "", " ", "nan", "NaN", "NAN", "-1", "-1.0", "<missing>", "None", "none", "NA", "N/A", "<NA>", "NaT", "NULL", "null",
    '""', "''", '" "', "[]", "missing", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
]  # fmt: skip


@pytest.mark.parametrize("uid_form", ["uuid", "any"])
@pytest.mark.parametrize("placeholder", NO_CELL)
def test_a_placeholder_is_no_cell(placeholder, uid_form):
    text = f"{placeholder}\n{ONE}\n{placeholder}\n{TWO}\n{placeholder}\n"
    lines = uid_lines(text, uid_form)
    assert lines == ["", ONE, "", TWO, ""]
    check_form(lines, uid_form, **PLACE)
    assert tracked_rows(lines, 5, (), "error", **PLACE) == {ONE: 1, TWO: 3}
    assert cells_in(text, uid_form) == [ONE, TWO]


@pytest.mark.parametrize("uid_form", ["uuid", "any"])
def test_a_uuid_is_the_same_cell_in_capitals_and_in_quotes(uid_form):
    assert uid_lines(f'{ONE.upper()}\n"{ONE}"\n {ONE} \n', uid_form) == [ONE] * 3
    assert not reads_as_before(ONE.upper(), uid_form)
    assert reads_as_before(f"{ONE}\nnan\n\n{TWO}", uid_form)


def test_any_word_is_a_uid_only_on_request():
    lines = uid_lines("a\nB\n\nb\n", "any")
    assert lines == ["a", "B", "", "b"]
    check_form(lines, "any", **PLACE)
    check_form(uid_lines("a\n-1\n-1"), None, **PLACE)  # as before there were forms
    with pytest.raises(
        DataError, match=r"FOV_02, uids.csv: not cell UIDs.*expected a UUID.*3 other lines.*'a' for ROI 0"
    ):
        check_form(uid_lines("a\nB\n\nb\n", "uuid"), "uuid", **PLACE)


@pytest.mark.parametrize("uid_form", ["uuid", "any"])
@pytest.mark.parametrize("second", [",0.97", ";0.97", "\t0.97", f",{TWO}", ","])
def test_a_second_column_is_refused(second, uid_form):
    lines = uid_lines(f"{ONE}\n{TWO}{second}\n", uid_form)
    with pytest.raises(DataError, match=r"for ROI 1.*keep one column") as error:
        check_form(lines, uid_form, **PLACE)
    assert "--uid-form" not in str(error.value)
    assert cells_in(f"{ONE}\n{TWO}{second}\n", uid_form) == [ONE]


@pytest.mark.parametrize("word", ["0", "untracked", "x" * 65, "-2"])
def test_no_advice_turns_a_placeholder_into_a_cell(word):
    text = f"{word}\n{ONE}\n{word}\n"
    with pytest.raises(DataError, match="blank") as error:
        check_form(uid_lines(text, "uuid"), "uuid", **PLACE)
    assert "--uid-form any" not in str(error.value)
    with pytest.raises(DataError, match="leave their lines blank") as error:
        tracked_rows(uid_lines(text, "any"), 3, (), "error", **PLACE)
    assert "--duplicates first" not in str(error.value)
    for n, is_advised in ((2, True), (3, False)):  # a UUID at many ROIs may stand for none as well
        with pytest.raises(DataError, match="more than once") as error:
            tracked_rows([ONE] * n, n, (), "error", **PLACE)
        assert ("--duplicates first" in str(error.value)) == is_advised


def in_same_order(lines: list[str], others: list[str]) -> bool:
    return is_in_same_order(UIDText("\n".join(lines)), UIDText("\n".join(others)))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(13, 60))
def test_uids_in_the_same_order_are_known_whatever_lines_were_removed(seed, n):
    rng = np.random.default_rng(seed)
    lines = np.array([*(f"c{i}" for i in range(n)), *[""] * n], dtype=object)[rng.permutation(2 * n)]
    kept = lines[np.sort(rng.permutation(2 * n)[: 2 * n - rng.integers(n)])]
    assert in_same_order(["", *kept, ""], lines) == (sum(map(bool, kept)) >= 13)


def test_cells_of_another_extraction_are_in_an_order_of_their_own():
    """By chance 1.3 in a million pairs of 13 cells are in the same order, and fewer of more."""
    rng, lines = np.random.default_rng(0), [f"c{i}" for i in range(100)]
    for n in (13, 14, 100):
        assert not any(in_same_order(rng.permutation(lines[:n]), lines) for _ in range(1000))
        assert in_same_order(lines[:n], lines)
    assert not in_same_order(lines[:12], lines)  # which may be so by chance
    moved = [lines[i] for i in np.argsort(np.arange(100) + rng.normal(0, 2, 100))]  # sorted by places that moved a bit
    assert not in_same_order(moved, lines)


@given(uids=st.lists(st.sampled_from(["", "a", "b-1", "c"]), max_size=30), end=st.sampled_from(["\n", "\r\n"]))
def test_each_roi_keeps_its_line(uids, end):
    assert uid_lines("".join(uid + end for uid in uids)) == uids


@pytest.mark.parametrize("n_rois", [2, 4])
@pytest.mark.parametrize("duplicates", ["error", "first"])
def test_a_file_of_another_length_is_refused_with_both_numbers(n_rois, duplicates):
    with pytest.raises(DataError) as error:
        tracked_rows(["a", "", "b"], n_rois, (), duplicates, **PLACE)
    for part in ("an-eid", "FOV_02", "uids.csv", f"expected {n_rois} UIDs", "found 3 UIDs", "cut or padded"):
        assert part in str(error.value)


def test_rows_are_those_of_the_lines():
    assert tracked_rows(["", "b", "", "a"], 4, ("c",), "error", **PLACE) == {"b": 1, "a": 3}
    assert tracked_rows([""] * 4, 4, (), "error", **PLACE) == {}


def test_a_uid_twice_in_a_fov_is_refused_with_its_rois():
    with pytest.raises(DataError, match=r"FOV_02.*1 repeated, a at ROIs \[0, 3\]") as error:
        tracked_rows(["a", "", "b", "a"], 4, (), "error", **PLACE)
    assert "earlier FOV" not in str(error.value)


def test_a_uid_of_an_earlier_fov_is_refused():
    with pytest.raises(DataError, match=r"b at ROIs \[1\] and in an earlier FOV"):
        tracked_rows(["a", "b"], 2, {"b", "c"}, "error", **PLACE)


LINES = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=12)


@given(uids=LINES, taken=st.sets(st.sampled_from("abxy")))
def test_first_keeps_the_first_roi_of_each_and_none_that_an_earlier_fov_has(uids, taken):
    expected = {uid: uids.index(uid) for uid in set(uids) - taken - {""}}
    assert tracked_rows(uids, len(uids), iter(taken), "first", **PLACE) == expected


@given(uids=LINES, taken=st.sets(st.sampled_from("abxy")))
def test_error_is_raised_exactly_when_a_uid_comes_twice_in_the_session(uids, taken):
    seen = Counter([uid for uid in uids if uid] + [uid for uid in taken if uid in uids])
    if max(seen.values(), default=1) == 1:
        assert tracked_rows(uids, len(uids), taken, "error") == tracked_rows(uids, len(uids), taken, "first")
    else:
        with pytest.raises(DataError, match="more than once"):
            tracked_rows(uids, len(uids), taken, "error")


def test_an_unknown_rule_for_duplicates_is_refused():
    with pytest.raises(ConfigError, match="'last'"):
        tracked_rows([], 0, (), "last")


def test_shared_uids_are_in_every_session_and_in_lexicographic_order():
    sessions = {
        "s1": iter(["b", "B", "10", "9", "x"]),
        "s2": ["9", "x", "b", "10", "B", "y"],
        "s3": {"B", "b", "10", "9"},
    }
    assert shared_uids(sessions) == ["10", "9", "B", "b"]
    assert shared_uids({"s1": ["a"], "s2": []}) == []
    assert shared_uids({}) == []


# ------------------------------------------------------------------------------------------------------------ files


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("uids")
    return write_demo_repository(root, n_days=1, n_fovs=2, n_trials=20, n_shared=10, rois_per_fov=30)


@pytest.fixture
def alf(demo, tmp_path) -> Path:
    root = shutil.copytree(demo.root, tmp_path / "one")
    return next(root.glob("*/Subjects/*/*/001/alf"))


def read(alf: Path, eid: str, collection: str = "alf/FOV_01"):
    root = alf.parents[5]
    write_one_tables(root)
    return read_session(open_one(root), eid, collection)


def test_mirrored_file_is_read_whole(demo, alf):
    root = mirror_folder(alf.parent / "mirror", "SP999", demo.dates[0], 1)
    assert root == alf.parent / "mirror" / "ROICaT" / "SP999" / demo.dates[0] / "001" / "alf"
    shutil.copytree(alf / "FOV_01", root / "FOV_01")
    found = read_mirrored(root, 1)
    content = (alf / "FOV_01" / UIDS).read_bytes()
    assert (found.text, found.sha256) == (content.decode(), hashlib.sha256(content).hexdigest())
    assert found.origin == str(root / "FOV_01" / UIDS)
    np.testing.assert_array_equal(found.silhouette, np.load(alf / "FOV_01" / SILHOUETTE)[:, 0])
    assert read_mirrored(root, 0) is None


def test_file_of_the_session_holds_the_planted_rows(demo, alf):
    for fov, planted in demo.rows[demo.eids[0]].items():
        file = read(alf, demo.eids[0], f"alf/FOV_{fov:02d}")
        n_rois = len(np.load(alf / f"FOV_{fov:02d}" / "mpciROIs.stackPos.npy"))
        rows = tracked_rows(uid_lines(file.text), n_rois, (), "error")
        assert planted.items() <= rows.items()
        assert len(file.silhouette) == n_rois


def test_file_that_is_not_in_ones_tables_is_found_in_the_folder(demo, alf):
    text = (alf / "FOV_01" / UIDS).read_text()
    (alf / "FOV_01" / UIDS).rename(alf / "aside")
    one_before = read(alf, demo.eids[0])
    assert one_before is None
    (alf / "FOV_01" / UIDS).write_text(text)  # the tables are older
    found = read_session(open_one(alf.parents[5]), demo.eids[0], "alf/FOV_01")
    assert (found.text, found.origin) == (text, str(alf / "FOV_01" / UIDS))


def test_silhouette_may_be_missing(demo, alf):
    (alf / "FOV_01" / SILHOUETTE).unlink()
    assert read(alf, demo.eids[0]).silhouette is None


@pytest.mark.parametrize("newer", [UIDS, SILHOUETTE])
def test_silhouettes_of_another_revision_must_be_of_the_rois_with_a_uid(demo, alf, newer):
    """Each has the revision that ONE gives by default: those of two runs of ROICaT went together."""
    fov = alf / "FOV_01"
    (fov / "#2026-01-01#").mkdir()
    shutil.copy(fov / newer, fov / "#2026-01-01#" / newer)
    values, lines = np.load(fov / SILHOUETTE), uid_lines((fov / UIDS).read_text())
    np.testing.assert_array_equal(read(alf, demo.eids[0]).silhouette, values[:, 0])  # of the same ROIs
    quality = fov / ("#2026-01-01#" if newer == SILHOUETTE else "") / SILHOUETTE
    one_less = np.where(
        np.arange(len(values))[:, None] == next(i for i, uid in enumerate(lines) if uid), np.nan, values
    )
    for other in (one_less, np.full_like(values, 0.5), values[:-1]):
        np.save(quality, other)
        with pytest.raises(DataError, match="are of another revision than the UIDs") as error:
            read(alf, demo.eids[0])
        assert f"{quality}: " in str(error.value) and "FOV_01" in str(error.value)
        assert f"silhouettes of {np.isfinite(other).sum()} of {len(other)} ROIs" in str(error.value)
    shutil.copy(quality, (fov / "#2026-01-01#" / SILHOUETTE) if newer == UIDS else fov / SILHOUETTE)
    if newer == UIDS:
        assert len(read(alf, demo.eids[0]).silhouette) == len(values) - 1  # of the same revision: TrackedFOV compares


def test_a_byte_order_mark_is_not_part_of_the_first_uid(alf):
    (alf / "FOV_01" / UIDS).write_bytes(b"\xef\xbb\xbf\na\n")
    assert uid_lines(read_mirrored(alf, 1).text) == ["", "a"]


@pytest.mark.parametrize(
    ("name", "content"), [(UIDS, b"\xff\xfe\x00a"), (SILHOUETTE, b"\x93NUMPY\x01"), (SILHOUETTE, b"")]
)
def test_a_damaged_file_is_refused_by_name(alf, name, content):
    (alf / "FOV_01" / name).write_bytes(content)
    with pytest.raises(DataError, match=f"FOV_01/{name}"):
        read_mirrored(alf, 1)
