"""Which files of a new alignment or extraction have changed and which have not, without a file or a database."""

from __future__ import annotations

import pytest

from pipeline.reading import Change, Source, half_aligned, half_extracted, half_trials

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


def recorded(*paths: str) -> list[Source]:
    return [Source(path, "", "", 1, "0" * 64) for path in paths]


def changed(*paths: str, kind: str = "content") -> list[Change]:
    return [Change(path, kind, "", "") for path in paths]


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
    found = half_trials(changed(*new), recorded(*OF_TRIALS, *beside), "alf", are_others=are_others)
    assert found == ((new, [path for path in OF_TRIALS if path not in new]) if is_told else ([], []))


def in_fov(*names: str) -> list[str]:
    return [f"alf/FOV_00/{name}" for name in names]


@pytest.mark.parametrize("behind", CLOCKS)
def test_the_one_file_of_an_alignment_that_has_not_changed_is_named(behind):
    """It was looked for by table: the times of stimuli that go off could stay those of the former clock."""
    new = [path for path in CLOCKS if path != behind]
    assert half_aligned(changed(*new), recorded(*CLOCKS, *OTHERS)) == (sorted(new), [behind])


@pytest.mark.parametrize("new", [(), CLOCKS, OTHERS, in_fov(*OF_ROIS)], ids=["none", "all", "others", "ROIs"])
def test_all_or_none_of_an_alignment_is_whole(new):
    assert half_aligned(changed(*new), recorded(*CLOCKS, *OTHERS, *in_fov(*OF_ROIS))) == ([], [])


def test_a_revision_is_the_dataset_that_it_takes_the_place_of():
    new = changed("alf/FOV_00/#2026-01-01#/mpci.times.npy", kind="revision")
    assert half_aligned(new, recorded(*CLOCKS[3:])) == ([CLOCKS[3]], [CLOCKS[4]])


@pytest.mark.parametrize(
    "new", [(UUIDS,), (ACTIVITY, UUIDS), (ACTIVITY, TYPES), (ACTIVITY, POSITIONS), (ACTIVITY, UUIDS, TYPES)], ids=str
)
def test_a_part_of_an_extraction_is_named(new):
    rest = [name for name in OF_ROIS if name not in new]
    found = half_extracted(changed(*in_fov(*new)), recorded(*in_fov(*OF_ROIS, "mpci.times.npy")))
    assert found == (sorted(in_fov(*new)), sorted(in_fov(*rest)))


@pytest.mark.parametrize(
    "new", [(), OF_ROIS, (ACTIVITY,), (POSITIONS,), (TYPES, POSITIONS), (REGIONS,), ("mpci.times.npy",)], ids=str
)
def test_what_is_corrected_or_deconvolved_again_is_no_part_of_an_extraction(new):
    assert half_extracted(changed(*in_fov(*new)), recorded(*in_fov(*OF_ROIS, "mpci.times.npy"))) == ([], [])


def test_uuids_that_were_added_to_an_old_extraction_are_no_new_one():
    old = [name for name in OF_ROIS if name != UUIDS]
    assert half_extracted(changed(*in_fov(UUIDS), kind="new"), recorded(*in_fov(*old))) == ([], [])


@pytest.mark.parametrize(
    ("new", "same"), [((F,), (UUIDS, TYPES)), ((F, UUIDS, TYPES), (NEUROPIL,)), ((F,), (NEUROPIL,))], ids=str
)
def test_fluorescence_is_of_a_new_extraction_and_has_neuropil_of_its_own(new, same):
    found = half_extracted(changed(*in_fov(*new)), recorded(*in_fov(*new, *same, "mpci.times.npy")))
    assert found == (sorted(in_fov(*new)), sorted(in_fov(*same)))
    assert half_extracted(changed(*in_fov(NEUROPIL)), recorded(*in_fov(*new, *same, NEUROPIL))) == ([], [])
    assert half_extracted(changed(*in_fov(F), kind="new"), recorded(*in_fov(*OF_ROIS))) == ([], [])


def test_what_is_gone_or_not_used_any_more_has_not_changed():
    for kind in ("gone", "unused"):
        assert half_extracted(changed(*in_fov(*OF_ROIS), kind=kind), recorded(*in_fov(*OF_ROIS))) == ([], [])
