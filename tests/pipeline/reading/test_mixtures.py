"""Which files that are written together were read in several revisions, without a file or a database."""

from __future__ import annotations

import pytest

from pipeline.reading import (
    Read,
    Source,
    as_saved_again,
    first_elsewhere,
    first_read,
    mixed_revisions,
    put_right,
    replaced_since_registration,
    since_deletions,
    since_registration,
    without_revision,
)

ACTIVITY, F, NEUROPIL = "mpci.ROIActivityDeconvolved.npy", "mpci.ROIActivityF.npy", "mpci.ROINeuropilActivityF.npy"
UUIDS, TYPES, CLASSIFIER = "mpciROIs.uuids.csv", "mpciROIs.mpciROITypes.npy", "mpciROIs.cellClassifier.npy"
POSITIONS, TIMES, SHIFT = "mpciROIs.stackPos.npy", "mpci.times.npy", "mpciStack.timeshift.npy"
REGIONS, PLACES = (f"mpciROIs.{name}_estimate.npy" for name in ("brainLocationIds_ccf_2017", "mlapdv"))
FINAL_REGIONS, FINAL_PLACES = (name.replace("_estimate", "") for name in (REGIONS, PLACES))
OF_FOV = (ACTIVITY, F, NEUROPIL, UUIDS, TYPES, CLASSIFIER, POSITIONS, TIMES, SHIFT, REGIONS, PLACES)
TRIALS = ("table.pqt", "stimOff_times.npy", "quiescencePeriod.npy")
SESSION = (
    *(f"alf/_ibl_trials.{name}" for name in TRIALS),
    *(f"alf/_ibl_wheel.{name}.npy" for name in ("timestamps", "position")),
    *(f"alf/FOV_{fov:02d}/{name}" for fov in range(2) for name in OF_FOV),
)  # fmt: skip
TABLE, OFF, PERIODS, WHEEL, TURNS = SESSION[:5]
FOLDER = "alf/FOV_00"


def told(new: dict[str, str], without: tuple[str, ...] = ()) -> list[tuple[str, set[str], set[str]]]:
    """Return the mixtures of a session of which some datasets are of a later revision, as datasets."""
    files = []
    for path in (*SESSION, *(path for path in new if path not in SESSION)):
        folder, _, name = path.rpartition("/")
        full = f"{folder}/#{new[path]}#/{name}" if new.get(path) else path
        files += [Source(full, "", new.get(path, ""), 1, "0" * 64)] if path not in without else []
    return [
        (one.what, set(map(without_revision, one.newer)), set(map(without_revision, one.older)))
        for one in mixed_revisions(files)
    ]  # fmt: skip


def all_of(*paths: str, revision: str = "2026-01-01") -> dict[str, str]:
    return dict.fromkeys(paths, revision)


def in_fov(*names: str) -> list[str]:
    return [f"{FOLDER}/{name}" for name in names]


ALIGNED = [path for path in SESSION if path.rpartition("/")[2] in (TIMES, "_ibl_wheel.timestamps.npy")] + [TABLE, OFF]


@pytest.mark.parametrize(
    "new",
    [
        {},
        all_of(*SESSION),
        all_of(*SESSION[:3]),  # trials extracted again: they are compared with the wheel
        all_of(*ALIGNED),
        all_of(*in_fov(*OF_FOV)),  # a FOV extracted again: its times are those of before
        all_of(*in_fov(TYPES)), all_of(*in_fov(POSITIONS)), all_of(*in_fov(ACTIVITY)),
        all_of(*in_fov(TYPES, POSITIONS)),
        all_of(*in_fov(REGIONS, PLACES)), all_of(*in_fov(SHIFT)), all_of(TURNS), all_of(*in_fov(NEUROPIL)),
        all_of(*in_fov(TYPES)) | all_of(*in_fov(ACTIVITY), revision="2025-01-01") | all_of(PERIODS, OFF, TABLE),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_written_or_corrected_by_itself_is_not_told(new):
    assert told(new) == []


@pytest.mark.parametrize(
    ("new", "older"),
    [
        ([TABLE, OFF, PERIODS, WHEEL, TURNS], in_fov(TIMES)),
        ([WHEEL], [TABLE, OFF]),
        (in_fov(TIMES), [WHEEL, "alf/FOV_01/mpci.times.npy"]),
        ([*in_fov(TIMES), TABLE, OFF, PERIODS], [WHEEL]),
        ([path for path in ALIGNED if path != WHEEL], [WHEEL]),
        ([path for path in ALIGNED if path not in (TABLE, OFF)], [TABLE, OFF]),
    ],
    ids=str,
)
def test_clocks_of_several_alignments_are_told(new, older):
    """Behaviour was aligned again, and the frame times are still to come, or the reverse."""
    ((_, newer, of_before),) = [one for one in told(all_of(*new)) if one[0] == "files with times"]
    assert newer == set(new) & {*ALIGNED, *in_fov(TIMES)} and set(older) <= of_before


def test_without_a_wheel_the_trials_are_the_clock_of_behaviour():
    """There is nothing that they are compared with."""
    new, wheel = all_of(TABLE, OFF, PERIODS), (WHEEL, TURNS)
    assert told(new, wheel) == [("files with times", {TABLE, OFF}, {f"alf/FOV_0{fov}/{TIMES}" for fov in (0, 1)})]


@pytest.mark.parametrize(
    "new",
    [(TYPES, CLASSIFIER), (F,), (ACTIVITY, F), (ACTIVITY, TYPES), (ACTIVITY, POSITIONS, UUIDS, TYPES),
     (ACTIVITY, CLASSIFIER), (POSITIONS, NEUROPIL), (UUIDS,)],
    ids=str,
)  # fmt: skip
def test_a_part_of_an_extraction_is_told(new):
    rest = {ACTIVITY, F, NEUROPIL, UUIDS, TYPES, CLASSIFIER, POSITIONS} - set(new)
    assert told(all_of(*in_fov(*new))) == [("files of ROIs", set(in_fov(*new)), set(in_fov(*rest)))]


def test_positions_with_their_places_are_of_other_rois():
    rest = {ACTIVITY, F, NEUROPIL, UUIDS, TYPES, CLASSIFIER}
    for places in ((REGIONS, PLACES), (REGIONS, FINAL_PLACES)):
        found = [one for one in told(all_of(*in_fov(POSITIONS, *places))) if one[0] == "files of ROIs"]
        assert found == [("files of ROIs", set(in_fov(POSITIONS)), set(in_fov(*rest)))]


def test_what_was_corrected_since_does_not_hide_the_older_part():
    new = all_of(*in_fov(ACTIVITY, F, POSITIONS, UUIDS, CLASSIFIER)) | all_of(*in_fov(TYPES), revision="2026-03-01")
    ((what, _, older),) = told(new)
    assert (what, older) == ("files of ROIs", set(in_fov(NEUROPIL)))


@pytest.mark.parametrize("new", [(REGIONS,), (PLACES,)], ids=str)
def test_regions_without_places_are_told(new):
    (other,) = {REGIONS, PLACES} - set(new)
    assert told(all_of(*in_fov(*new))) == [("regions and places in the brain", set(in_fov(*new)), set(in_fov(other)))]


@pytest.mark.parametrize(("final", "gone", "left"), [(FINAL_REGIONS, REGIONS, PLACES), (FINAL_PLACES, PLACES, REGIONS)])
def test_one_of_histology_beside_an_estimate_is_told_whatever_its_revision(final, gone, left):
    for new in (all_of(*in_fov(final), revision=""), all_of(*in_fov(final), revision="") | all_of(*in_fov(left))):
        found = told(new, tuple(in_fov(gone)))
        others = {f"alf/FOV_01/{name}" for name in (REGIONS, PLACES)}
        assert [one[0] for one in found] == ["regions and places in the brain"]
        assert found[0][2] == {*in_fov(left), *others}


def final(revision: str = "", fovs: tuple[int, ...] = (0, 1)) -> dict[str, str]:
    """Return final regions and places of FOVs."""
    return all_of(
        *(f"alf/FOV_{fov:02d}/{name}" for fov in fovs for name in (FINAL_REGIONS, FINAL_PLACES)), revision=revision
    )


ESTIMATES = tuple(path for path in SESSION if path.endswith((REGIONS, PLACES)))


def test_a_histology_is_of_all_fovs():
    """An estimate, and places that come with an extraction, are of one FOV."""
    of_first, of_second = set(final(fovs=(0,))), set(final(fovs=(1,)))
    what = "regions and places in the brain"
    for revision in ("", "2026-01-01"):
        assert told(final(revision), ESTIMATES) == []
        assert told(final(revision, (0,)), ESTIMATES[:2]) == [(what, of_first, set(ESTIMATES[2:]))]
    assert told(final() | final("2026-01-01", (0,)), ESTIMATES) == [(what, of_first, of_second)]
    extracted = final() | final("2026-01-01", (0,)) | all_of(*in_fov(*OF_FOV))
    assert told(extracted, ESTIMATES) == []
    # a histology of the other FOV after that: those of the extraction are of before
    assert told(extracted | final("2026-02-01", (1,)), ESTIMATES) == [(what, of_second, of_first)]


@pytest.mark.parametrize("new", [(OFF,), (PERIODS,), (TABLE,), (PERIODS, OFF)], ids=str)
def test_a_part_of_the_trials_is_told(new):
    found = [one for one in told(all_of(*new)) if one[0] == "files of trials"]
    assert found == [("files of trials", set(new), {TABLE, OFF, PERIODS} - set(new))]


def test_an_alignment_gives_no_periods_of_quiescence():
    """But times of frames, or of the wheel: without these the trials were extracted again."""
    assert told(all_of(*ALIGNED)) == []
    assert told(all_of(TABLE, OFF)) == [("files of trials", {TABLE, OFF}, {PERIODS})]
    # of which there are none while the trials are read first
    assert told(all_of(TABLE, OFF), tuple(path for path in SESSION if path not in (TABLE, OFF, PERIODS))) == []


def test_it_says_which_files_and_what_may_have_been_done():
    (found,) = mixed_revisions(
        [Source(f"alf/FOV_00/#2026-01-01#/{F}", "", "2026-01-01", 1, ""), Source(f"alf/FOV_00/{TYPES}", "", "", 1, "")]
    )
    assert str(found) == (
        f"files of ROIs are newer (alf/FOV_00/#2026-01-01#/{F}), and others are older (alf/FOV_00/{TYPES}). If the FOV "
        "was extracted again, files are still to come"
    )


# ---------------------------------------------------------------- since rows were deleted


def written(first: str = "a", **others: str) -> dict[str, str]:
    """Return hashes of the files of a session: all of one writing, but for those of FOV_00 that are named."""
    names = {"activity": ACTIVITY, "uuids": UUIDS, "types": TYPES, "positions": POSITIONS, "times": TIMES}
    return {path: first for path in SESSION if not path.endswith((F, NEUROPIL))} | {
        f"{FOLDER}/{names[name]}": writing for name, writing in others.items()
    }


def of_fov(files: dict[str, str]) -> dict[str, str]:
    return {path: sha256 for path, sha256 in files.items() if path.startswith(FOLDER)}


def by_hand(files: dict[str, str], trials: str | None = None) -> Read:
    return Read(files, trials)


def since(deleted: list[Read], known: dict[str, str], trials: str = "") -> list[tuple[str, set[str]]]:
    """Return what stands since rows were deleted, with the names of the newer files."""
    found = since_deletions(as_saved_again(deleted, known)[0], known, trials)
    return [(one.mixture.what, {path.rpartition("/")[2] for path in one.mixture.newer}) for one in found]


HALF = {"activity": "b", "uuids": "b"}
TOLD = [("files of ROIs", {ACTIVITY, UUIDS})]


def test_half_an_extraction_since_rows_were_deleted_is_told():
    assert since([by_hand(of_fov(written()))], written(**HALF)) == TOLD
    assert since([by_hand(written())], written(**HALF)) == TOLD  # the session was deleted
    assert since([by_hand(of_fov(written()))], written()) == []
    assert since([by_hand(written())], written("b")) == []
    assert since([by_hand(of_fov(written()))], written(activity="b")) == []  # deconvolved again
    # a FOV that has not been read again says nothing
    others = {path: sha256 for path, sha256 in written().items() if not path.startswith(FOLDER)}
    assert since([by_hand(of_fov(written()))], others) == []


def test_it_is_told_until_the_rest_has_come_or_the_former_files_are_back():
    first, half = by_hand(of_fov(written())), by_hand(of_fov(written(**HALF)))
    assert since([first, half], written(**HALF)) == TOLD
    rest = {path: "c" if sha256 == "a" else sha256 for path, sha256 in of_fov(written(**HALF, times="")).items()}
    rest = written() | rest | {f"{FOLDER}/{TIMES}": "a"}
    assert since([first, half], rest) == []
    assert since([first, half], written()) == []
    # half, the rest, and half of another one: the first half tells nothing of the last
    first, second = by_hand(of_fov(written())), by_hand(of_fov(written(**HALF)))
    third = by_hand(of_fov(written("b", times="a")))
    assert (
        since([first, second, third], written() | of_fov(written("b", **dict.fromkeys(HALF, "c"), times="a"))) == TOLD
    )


def by_update(files: dict[str, str], given: dict[str, str]) -> Read:
    return Read(files, None, Read(given, ""))


def test_of_files_that_an_update_read_as_it_compared_them_it_says_itself_whether_they_are_a_half():
    half = of_fov(written(**HALF))
    assert since([by_update(of_fov(written()), half)], written(**HALF)) == []
    assert since([by_hand(of_fov(written())), by_update(of_fov(written(activity="b")), half)], written(**HALF)) == []


def test_files_that_an_update_did_not_read_as_it_compared_them_are_compared_with_these_and_the_former_ones():
    whole, former = of_fov(written("b", times="a")), of_fov(written())
    later = written() | whole | of_fov(written("b", **dict.fromkeys(HALF, "c"), times="a"))
    assert since([by_update(former, whole)], later) == TOLD
    types = of_fov(written(types="b"))
    found = [("files of ROIs", {ACTIVITY, UUIDS, TYPES})]
    assert since([by_update(former, types)], written(**HALF, types="b")) == found
    # half of it was told of by the update; then the rest came
    assert since([by_update(former, of_fov(written(**HALF)))], written() | whole) == []
    assert since([by_update(former, whole)], written()) == []  # the former files are back


def test_a_file_that_was_moved_as_it_is_has_not_changed():
    there = {path.replace("alf/_ibl", "alf/task_00/_ibl"): sha256 for path, sha256 in written().items()}
    assert there != written()
    assert since([by_hand(written())], there) == []
    (found,) = since_deletions([by_hand(written())], there | {f"{FOLDER}/{TIMES}": "b"}, "")
    assert found.mixture.what == "files with times" and found.mixture.newer == (f"{FOLDER}/{TIMES}",)
    assert any("alf/task_00/" in path for path in found.mixture.older)


def test_clocks_are_compared_with_those_of_the_rows_that_stayed():
    assert since([by_hand(of_fov(written()))], written(times="b")) == [("files with times", {TIMES})]
    assert since([by_hand(written())], written() | dict.fromkeys(ALIGNED, "b"), "") == []


#: What is lacking of another FOV when a histology comes for one FOV only.
PLACED = [("regions and places in the brain", {FINAL_REGIONS, FINAL_PLACES})]


def placed(**writings: str) -> dict[str, str]:
    """Return the hashes of a session with final places, by FOV; a FOV that is not named has the estimate."""
    fovs = {f"alf/{name}": writing for name, writing in writings.items()}
    others = {path: sha256 for path, sha256 in written().items()
              if path not in ESTIMATES or path.rpartition("/")[0] not in fovs}  # fmt: skip
    return others | {f"{fov}/{name}": one for fov, one in fovs.items() for name in (FINAL_REGIONS, FINAL_PLACES)}


def test_a_histology_that_came_for_one_fov_is_told_until_the_rest_has_come():
    for before, half, whole in (
        (written(), placed(FOV_00="b"), placed(FOV_00="b", FOV_01="b")),
        (placed(FOV_00="a", FOV_01="a"), placed(FOV_00="b", FOV_01="a"), placed(FOV_00="b", FOV_01="b")),
    ):
        first, second = by_hand(before), by_hand(half)
        assert since([first], half) == PLACED and since([first, second], half) == PLACED
        assert since([first, second], whole) == [] and since([first, second], before) == []
        assert since([first], whole) == []


def test_places_that_come_with_an_extraction_are_no_histology():
    before = placed(FOV_00="a", FOV_01="a")
    new = {path: "b" for path in before if path.startswith(FOLDER) and not path.endswith(TIMES)}
    assert since([by_hand(before)], before | new) == []


def test_files_that_are_added_alone_are_no_extraction():
    """A download is completed."""
    lacking = {path: sha256 for path, sha256 in written().items() if not path.endswith((UUIDS, CLASSIFIER))}
    assert since([by_hand(lacking)], written()) == []


@pytest.mark.parametrize(
    ("changed", "is_put_right"),
    [
        ([f"{FOLDER}/{TYPES}"], True),
        ([f"{FOLDER}/{TYPES}", f"{FOLDER}/{CLASSIFIER}"], False),
        ([f"{FOLDER}/{REGIONS}"], True),
        ([f"{FOLDER}/{REGIONS}", f"{FOLDER}/{PLACES}"], False),
        ([f"{FOLDER}/{TIMES}"], True),
        ([f"{FOLDER}/{TIMES}", f"alf/FOV_01/{TIMES}"], False),
        ([PERIODS], True), ([TABLE], False), ([OFF], False), ([WHEEL], False),
    ],
    ids=str,
)  # fmt: skip
def test_of_refused_files_that_are_replaced_those_may_be_put_right_that_others_are_compared_with(changed, is_put_right):
    """Trials and wheel are compared to tenths of a second only; several files may be of another writing."""
    files = [Source(path, "", "", 1, "b") for path in changed]
    assert put_right(files) == (files if is_put_right else [])


def test_trials_are_told_by_what_they_are():
    trials = dict.fromkeys(SESSION[:3], "a")
    changed = written() | {TABLE: "b"}
    assert ("files of trials", {"_ibl_trials.table.pqt"}) in since([by_hand(trials, "old")], changed, "new")
    assert since([by_hand(trials, "old")], written() | dict.fromkeys([TABLE, OFF], "b"), "old") == [
        ("files with times", {TABLE.rpartition("/")[2], OFF.rpartition("/")[2]})
    ]


def test_a_signal_is_compared_only_if_it_was_there():
    signal = {f"{FOLDER}/{F}": "a", f"{FOLDER}/{NEUROPIL}": "a"}
    new = {path: "b" if path.startswith(FOLDER) else "a" for path in written()}
    assert since([by_hand(of_fov(written()))], new | signal) == [("files with times", {TIMES})]
    assert since([by_hand(signal)], written() | signal) == []
    assert ("files of ROIs", {F}) in since([by_hand(signal)], written() | signal | {f"{FOLDER}/{F}": "b"})


def test_a_later_writing_over_a_backup_of_a_former_one_is_told():
    """Files of the first writing were put back in place of the second, and half of a third came over them."""
    first, second = by_hand(of_fov(written())), by_hand(of_fov(written("b", times="a")))
    mixed = written() | of_fov(written(**dict.fromkeys(HALF, "c")))
    (found,) = since_deletions([first, second], mixed, "")
    assert found.mixture.newer == (f"{FOLDER}/{ACTIVITY}", f"{FOLDER}/{UUIDS}")
    assert {f"{FOLDER}/{name}" for name in (TYPES, POSITIONS, REGIONS)} <= set(found.mixture.older)
    # all of the first, all of a third, and the first with types that were corrected
    for sound in (written(), written() | of_fov(written("c", times="a")), written(types="c")):
        assert since([first, second], sound) == []
    # it stands when the rows are deleted and read once more, until the rest comes
    third = by_hand(of_fov(mixed))
    assert since([first, second, third], mixed) == TOLD
    assert since([first, second, third], written() | of_fov(written("c", times="a"))) == []


def test_of_what_was_corrected_twice_before_a_backup_is_put_back_nothing_is_told():
    """The backup is compared with the time that it is of, and not with one before the corrections."""
    corrected = written(activity="d", types="e")
    times = [written(), written(activity="d"), corrected, written("b", times="a")]
    assert since([by_hand(of_fov(one)) for one in times], written() | corrected) == []


def test_the_rest_of_a_half_that_comes_after_a_backup_is_no_new_half():
    times = [written(), written(**HALF), written()]
    assert since([by_hand(of_fov(one)) for one in times], written() | of_fov(written("b", times="a"))) == []


def test_clocks_of_a_later_alignment_beside_those_of_a_backup_are_told():
    now = written() | dict.fromkeys(ALIGNED, "a") | {WHEEL: "c", TABLE: "c", OFF: "c"}
    assert since([by_hand(written()), by_hand(written() | dict.fromkeys(ALIGNED, "b"))], now) == [
        ("files with times", {path.rpartition("/")[2] for path in (WHEEL, TABLE, OFF)})
    ]


def saved_again(files: dict[str, str]) -> Read:
    return Read(files, saved_again=True)


def test_files_that_were_saved_again_are_those_of_before():
    path = f"{FOLDER}/{UUIDS}"
    for times in ([by_hand(of_fov(written())), saved_again({path: "a"})],
                  [saved_again({path: "a"}), by_hand(of_fov(written(uuids="other bytes")))]):  # fmt: skip
        assert since(times, written(uuids="other bytes")) == []
    half = [by_hand(of_fov(written())), saved_again({path: "b"})]
    assert since(half, written(activity="b", uuids="other bytes")) == TOLD
    present = as_saved_again([saved_again({path: "a"}), saved_again({path: "A"})], {path: "AA"})[1]
    assert present == {(path, "a"): "AA", (path, "A"): "AA"}


def test_the_bytes_before_files_were_saved_again_stand_for_those_after():
    """Put back from a backup, also when they are saved again once more, in yet other bytes."""
    path = f"{FOLDER}/{TYPES}"
    first = [by_hand(of_fov(written(types="A"))), by_hand(of_fov(written("b", times="a")))]
    mixed = written() | of_fov(written("c", types="a", times="a"))
    (found,) = since_deletions(as_saved_again([saved_again({path: "a"}), *first], mixed)[0], mixed, "")
    assert found.mixture.older == (path,)
    assert since([saved_again({path: "a"}), *first], written()) == []
    assert since([saved_again({path: "a"}), *first, saved_again({path: "a"})], written(types="AA")) == []
    assert as_saved_again([saved_again({path: "a"}), *first], written())[1] == {(path, "A"): "a"}
    assert as_saved_again([saved_again({path: "a"}), *first], written("c"))[1] == {(path, "a"): "A"}


def of_both(first: str, second: str) -> dict[str, str]:
    return {f"alf/FOV_{fov:02d}/{ACTIVITY}": sha256 for fov, sha256 in enumerate((first, second))}


def test_files_that_were_first_in_another_fov_are_told_until_they_are_back():
    """Both in one deletion, or one after the other."""
    one, other = of_both("x", "y")
    exchanged = {one: other, other: one}
    apart = [Read({one: "x"}), Read({other: "y"})]
    assert first_elsewhere([Read(of_both("x", "y"))], of_both("y", "x")) == exchanged
    assert first_elsewhere(apart, of_both("y", "x")) == exchanged
    assert first_elsewhere([Read(of_both("x", "y")), Read(of_both("y", "x"))], of_both("x", "y")) == {}
    assert first_elsewhere([Read(of_both("x", "y")), Read(of_both("y", "x"))], of_both("v", "w")) == {}
    same = {path.replace(ACTIVITY, "mpci.badFrames.npy"): "none" for path in (one, other)}
    assert first_elsewhere([Read(same)], same) == {}


def registered(hashes: dict[str, str]) -> list[Source]:
    """Return files of a FOV with a sha256 (one letter) or, with two letters, a hash in ONE alone; '' is not known."""
    return [
        Source(f"{FOLDER}/{name}", "", "", 2, one if len(one) < 2 else "", one if len(one) == 2 else "")
        for name, one in hashes.items()
    ]


def read_as(hashes: dict[str, str]) -> list[Source]:
    """Return files that were read, with a sha256, and a hash in ONE if two more letters follow."""
    return [Source(f"{FOLDER}/{name}", "", "", 2, one[0], one[1:]) for name, one in hashes.items()]


def replaced(then: list[Source], now: list[Source], first: dict[str, str] | None = None) -> list[tuple]:
    """Return the names of newer and older files that were replaced between registration and the first reading."""
    known = {one.dataset: one.sha256 for one in now}
    found = replaced_since_registration(then, now, known | (first or {}))
    sides = ((one.mixture.newer, one.mixture.older) for one in found)
    return [tuple(sorted(path.rpartition("/")[2] for path in side) for side in both) for both in sides]


def test_single_datasets_that_were_replaced_before_they_were_read_are_told():
    now = read_as({POSITIONS: "x", PLACES: "y", TYPES: "c"})
    assert replaced(registered({POSITIONS: "a", PLACES: "b", TYPES: "c"}), now) == [
        (sorted([PLACES, POSITIONS]), [TYPES])
    ]
    assert replaced(registered({POSITIONS: "a", PLACES: "b", TYPES: "b"}), now) == []  # all of them
    assert replaced(registered({POSITIONS: "x", PLACES: "y", TYPES: "c"}), now) == []
    # places alone are of another histology
    assert replaced(registered({POSITIONS: "x", PLACES: "b", REGIONS: "d"}), [*now, *read_as({REGIONS: "e"})]) == []


def test_what_is_not_known_of_a_file_at_registration_is_not_told():
    """Neither that it is the same, nor that it is another."""
    now = read_as({ACTIVITY: "x", TYPES: "y", UUIDS: "c"})
    assert replaced(registered({ACTIVITY: "", TYPES: "b", UUIDS: "c"}), now) == [([TYPES], [UUIDS])]
    assert replaced(registered({ACTIVITY: "", TYPES: "b"}), now) == []
    assert replaced(registered({ACTIVITY: "", UUIDS: "c"}), now) == []
    assert replaced(registered({ACTIVITY: "s", UUIDS: "c"}), now) == [([ACTIVITY], [UUIDS])]  # of a sample


def test_hashes_in_one_are_compared_with_those_of_the_files_that_were_read():
    then = registered({ACTIVITY: "aa", TYPES: "bb", UUIDS: "cc"})
    assert replaced(then, read_as({ACTIVITY: "xaa", TYPES: "yzz", UUIDS: "z"})) == [([TYPES], [ACTIVITY])]
    assert replaced(then, read_as({ACTIVITY: "x", TYPES: "y", UUIDS: "z"})) == []  # the files were not those in ONE
    assert replaced(then, read_as({ACTIVITY: "xaaa", TYPES: "yzzz", UUIDS: "zccc"})) == []  # hashes of another kind


def test_a_revision_of_a_dataset_is_no_replacement():
    now = [Source(f"{FOLDER}/#2026-01-01#/{TYPES}", "", "2026-01-01", 2, "y"), *read_as({UUIDS: "c"})]
    found = replaced_since_registration(
        registered({TYPES: "b", UUIDS: "c"}), now, {f"{FOLDER}/{TYPES}": "y", f"{FOLDER}/{UUIDS}": "c"}
    )
    assert found == []


def test_what_changed_after_the_first_reading_is_not_since_registration():
    then = registered({TYPES: "b", CLASSIFIER: "c", UUIDS: "d"})
    now = read_as({TYPES: "x", CLASSIFIER: "y", UUIDS: "d"})
    assert len(replaced(then, now)) == 1
    assert replaced(then, now, {f"{FOLDER}/{TYPES}": "b", f"{FOLDER}/{CLASSIFIER}": "c"}) == []  # an update's
    # what was replaced, and is put back
    assert replaced(then, read_as({TYPES: "b", CLASSIFIER: "c", UUIDS: "d"}), {f"{FOLDER}/{TYPES}": "x"}) == []


def test_the_first_reading_is_that_of_the_first_deletion_that_has_a_file():
    deleted = [Read({"a": "1"}), Read({"a": "2", "b": "1"}), Read({"gone": "1"})]
    assert first_read(deleted, {"a": "3", "b": "2", "c": "1"}) == {"a": "1", "b": "1", "c": "1"}


def test_half_of_an_extraction_before_the_first_reading_is_completed_by_the_rest():
    """Of files that are all others than at registration in the end, no half is told."""
    half = {f"{FOLDER}/{name}": "x" if name in (TYPES, CLASSIFIER) else "a" for name in (TYPES, CLASSIFIER, UUIDS)}
    at_first = since_registration(dict.fromkeys(half, "a"), half)
    assert [one.mixture.newer for one in at_first] == [(f"{FOLDER}/{CLASSIFIER}", f"{FOLDER}/{TYPES}")]
    whole = dict.fromkeys(half, "x")
    assert len(since_deletions([Read(half)], whole, "")) == 1
    assert since_deletions([Read(half)], whole, "", at_first) == []


def test_trials_of_which_no_value_was_known_at_registration_count_as_times():
    """A new alignment changes the table and not the periods; a new extraction comes with those."""
    then = dict.fromkeys((TABLE, OFF, PERIODS, WHEEL), "a")
    aligned = then | dict.fromkeys((TABLE, OFF, WHEEL), "x")
    assert since_registration(then, aligned) == []
    (found,) = since_registration(then, then | {PERIODS: "x"})
    assert found.mixture.what == "files of trials"
    assert str(found.mixture).startswith(
        f"files of trials have changed since the session was registered ({PERIODS}), and"
    )
