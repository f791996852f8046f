"""Which files of a new alignment or extraction have changed and which have not, without a file or a database."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pipeline.reading import Read, mixtures_since

ACTIVITY, UUIDS, TYPES = "mpci.ROIActivityDeconvolved.npy", "mpciROIs.uuids.csv", "mpciROIs.mpciROITypes.npy"
POSITIONS, REGIONS = "mpciROIs.stackPos.npy", "mpciROIs.brainLocationIds_ccf_2017_estimate.npy"
F, NEUROPIL = "mpci.ROIActivityF.npy", "mpci.ROINeuropilActivityF.npy"
OF_ROIS = (ACTIVITY, UUIDS, TYPES, POSITIONS, REGIONS)
CLOCKS = (
    "alf/_ibl_trials.table.pqt", "alf/_ibl_trials.stimOff_times.npy", "alf/_ibl_wheel.timestamps.npy",
    "alf/FOV_00/mpci.times.npy", "alf/FOV_01/mpci.times.npy",
)  # fmt: skip
#: Recorded files that an alignment does not give anew.
OTHERS = ("alf/_ibl_trials.quiescencePeriod.npy", "alf/_ibl_wheel.position.npy", "alf/FOV_00/mpciStack.timeshift.npy")


def told(what: str, recorded: Iterable[str], new: Iterable[str], **trials: str) -> tuple[list[str], list[str]]:
    """Return the changed and the other datasets of a group, if some of the recorded ones are new, or new ones came."""
    former = dict.fromkeys(recorded, "a")
    now = Read(former | dict.fromkeys(new, "b"), trials.get("now"))
    found = [one for one in mixtures_since(Read(former, trials.get("before")), now) if one.what == what]
    return (list(found[0].newer), list(found[0].older)) if found else ([], [])


ROIS = "files of ROIs"
OF_TRIALS = [f"alf/_ibl_trials.{name}" for name in ("quiescencePeriod.npy", "stimOff_times.npy", "table.pqt")]
PERIODS, OFF, TABLE = OF_TRIALS


@pytest.mark.parametrize(
    ("new", "are_others", "is_told"),
    [
        ([TABLE], True, True), ([OFF, TABLE], True, True), ([PERIODS], False, True), ([PERIODS, OFF], False, True),
        ([TABLE], False, False), ([OFF, TABLE], False, False), ([OFF], False, False), ([], False, False),
        (OF_TRIALS, True, False),
    ],
)  # fmt: skip
def test_a_part_of_new_trials_is_named_but_not_a_new_alignment(new, are_others, is_told):
    """The files of another task are not compared."""
    beside = ["alf/task_01/_ibl_trials.table.pqt", "alf/task_01/_ibl_trials.quiescencePeriod.npy"]
    found = told("files of trials", [*OF_TRIALS, *beside], new, before="a", now="b" if are_others else "a")
    assert found == ((new, [path for path in OF_TRIALS if path not in new]) if is_told else ([], []))


def in_fov(*names: str) -> list[str]:
    return [f"alf/FOV_00/{name}" for name in names]


@pytest.mark.parametrize("behind", CLOCKS)
def test_the_one_file_of_an_alignment_that_has_not_changed_is_named(behind):
    """It was looked for by table: the times of stimuli that go off could stay those of the former clock."""
    new = [path for path in CLOCKS if path != behind]
    assert told("files with times", [*CLOCKS, *OTHERS], new) == (sorted(new), [behind])


@pytest.mark.parametrize("new", [(), CLOCKS, OTHERS, in_fov(*OF_ROIS)], ids=["none", "all", "others", "ROIs"])
def test_all_or_none_of_an_alignment_is_whole(new):
    assert told("files with times", [*CLOCKS, *OTHERS, *in_fov(*OF_ROIS)], new) == ([], [])


@pytest.mark.parametrize(
    "new", [(UUIDS,), (ACTIVITY, UUIDS), (ACTIVITY, TYPES), (ACTIVITY, POSITIONS), (ACTIVITY, UUIDS, TYPES)], ids=str
)
def test_a_part_of_an_extraction_is_named(new):
    rest = [name for name in OF_ROIS if name not in new]
    found = told(ROIS, in_fov(*OF_ROIS, "mpci.times.npy"), in_fov(*new))
    assert found == (sorted(in_fov(*new)), sorted(in_fov(*rest)))


@pytest.mark.parametrize(
    "new", [(), OF_ROIS, (ACTIVITY,), (POSITIONS,), (TYPES, POSITIONS), (REGIONS,), ("mpci.times.npy",)], ids=str
)
def test_what_is_corrected_or_deconvolved_again_is_no_part_of_an_extraction(new):
    assert told(ROIS, in_fov(*OF_ROIS, "mpci.times.npy"), in_fov(*new)) == ([], [])


def test_uuids_that_were_added_to_an_old_extraction_are_no_new_one():
    old = [name for name in OF_ROIS if name != UUIDS]
    assert told(ROIS, in_fov(*old), in_fov(UUIDS)) == ([], [])


@pytest.mark.parametrize(
    ("new", "same"), [((F,), (UUIDS, TYPES)), ((F, UUIDS, TYPES), (NEUROPIL,)), ((F,), (NEUROPIL,))], ids=str
)
def test_fluorescence_is_of_a_new_extraction_and_has_neuropil_of_its_own(new, same):
    found = told(ROIS, in_fov(*new, *same, "mpci.times.npy"), in_fov(*new))
    assert found == (sorted(in_fov(*new)), sorted(in_fov(*same)))
    assert told(ROIS, in_fov(*new, *same, NEUROPIL), in_fov(NEUROPIL)) == ([], [])
    assert told(ROIS, in_fov(*OF_ROIS), in_fov(F)) == ([], [])


def test_what_is_gone_or_not_used_any_more_has_not_changed():
    former, left = Read(dict.fromkeys(in_fov(*OF_ROIS), "a")), Read(dict.fromkeys(in_fov(POSITIONS, REGIONS), "a"))
    assert mixtures_since(former, left) == []


def test_activity_that_is_seen_to_be_of_other_rois_is_a_part_of_an_extraction():
    """By a sample of its values, which is looked at only if no more than it has changed."""
    former, looked_at = Read(dict.fromkeys(in_fov(*OF_ROIS), "a")), []

    def is_of_other_rois(folder: str) -> bool:
        looked_at.append(folder)
        return True

    (found,) = mixtures_since(former, Read(former.hashes | {in_fov(ACTIVITY)[0]: "b"}), is_of_other_rois)
    assert found.newer == tuple(in_fov(ACTIVITY)) and set(found.older) == set(in_fov(*OF_ROIS)) - set(found.newer)
    assert looked_at == ["alf/FOV_00"]
    (found,) = mixtures_since(former, Read(former.hashes | {in_fov(UUIDS)[0]: "b"}), is_of_other_rois)
    assert len(looked_at) == 1
