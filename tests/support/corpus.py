"""The corpus of bad input: datasets of a session, ways of breaking each, and the expected outcome.

``FOV_TABLE``, ``BEHAVIOR_TABLE`` and ``UID_TABLE`` give the outcome for each dataset and way of breaking it: the error
that names the dataset, or that it is accepted, and why. Ways that have the same outcome for every dataset are in
``EVERYWHERE``.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from iblutil.io import parquet

from pipeline.demo.repository import session_eid

TIMES, SHIFT, ACTIVITY = "mpci.times.npy", "mpciStack.timeshift.npy", "mpci.ROIActivityDeconvolved.npy"
TYPES, POSITIONS = "mpciROIs.mpciROITypes.npy", "mpciROIs.stackPos.npy"
REGIONS, PLACES = "mpciROIs.brainLocationIds_ccf_2017_estimate.npy", "mpciROIs.mlapdv_estimate.npy"
CLASSIFIER, UUIDS = "mpciROIs.cellClassifier.npy", "mpciROIs.uuids.csv"
BAD, QC, QC_NAMES = "mpci.badFrames.npy", "mpci.mpciFrameQC.npy", "mpciFrameQC.names.tsv"
FLUORESCENCE, TYPE_NAMES = "mpci.ROIActivityF.npy", "mpciROITypes.names.tsv"
UIDS, SILHOUETTE = "mpciROIs.clusterUIDs.csv", "mpciROIs.clusterSilhouette.npy"
TRIALS, QUIESCENCE = "_ibl_trials.table.pqt", "_ibl_trials.quiescencePeriod.npy"
STIM_OFF, WHEEL_TIMES, WHEEL = "_ibl_trials.stimOff_times.npy", "_ibl_wheel.timestamps.npy", "_ibl_wheel.position.npy"
#: The index of the element that is overwritten, in ways of breaking that spoil a single element.
AT = 3


@dataclass(frozen=True)
class Refused:
    """The dataset is refused with an error.

    Attributes
    ----------
    says : str
        Regular expression, with what was expected and what was found.
    of : str
        The dataset that the error names if it is not the broken one: of two that disagree it names one.
    """

    says: str
    of: str = ""


@dataclass(frozen=True)
class Accepted:
    """The dataset is accepted: the rows are the planted ones, with NULL in some columns.

    Attributes
    ----------
    why : str
    null : tuple of str
        Columns.
    only_at : int, optional
        The row that has nothing there; all by default.
    """

    why: str
    null: tuple[str, ...] = ()
    only_at: int | None = None


Outcome = Refused | Accepted


@dataclass(frozen=True)
class Case:
    """One cell of the tables: a dataset, a way of breaking it, and the outcome."""

    dataset: str
    way: str
    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.dataset}: {self.way}"


class Evil:
    """An object that creates a folder if it is ever unpickled."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


# ---------------------------------------------------------------------------------------------------- ways of breaking


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the contents of a file: an array, the rows of a table, or the lines of a text."""
    if path.suffix == ".pqt":
        table = pd.read_parquet(path)
        table.iloc[change(np.arange(len(table)))].reset_index(drop=True).to_parquet(path)
    elif path.suffix == ".csv":
        head, lines = _lines(path)
        _write(path, [*head, *change(np.array(lines, dtype=object))])
    else:
        np.save(path, change(np.load(path)))


def _lines(path: Path) -> tuple[list[str], list[str]]:
    n_head = int(path.name == UUIDS)
    lines = path.read_text().splitlines()
    return lines[:n_head], lines[n_head:]


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _twice(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array])


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _pickled(path: Path) -> None:
    evil = Evil(path.parent / "executed")
    if path.suffix == ".npy":
        np.save(path, np.array([evil], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(evil))


def _huge_header(path: Path) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**12},)}}{' ' * 50_000}\n".encode()
    path.write_bytes(b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + bytes(800))


def _spoil(path: Path, value: float) -> None:
    """Overwrite a number with NaN or infinity."""
    if path.suffix == ".pqt":
        table = pd.read_parquet(path)
        table.loc[AT, "choice"] = value
        table.to_parquet(path)
    elif path.suffix == ".csv":
        head, lines = _lines(path)
        _write(path, [*head, *lines[:AT], str(value), *lines[AT + 1 :]])
    else:
        array = np.load(path)
        array = array if array.dtype.kind == "f" else array.astype(float)
        array[AT] = value
        np.save(path, array)


def _text(path: Path) -> None:
    if path.suffix == ".pqt":
        table = pd.read_parquet(path)
        table.assign(choice=table["choice"].map(str)).to_parquet(path)
    else:
        rewrite(path, lambda array: array.astype("U8"))


def _complex(path: Path) -> None:
    rewrite(path, lambda array: array + 1j)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone"))


def _denied(path: Path) -> None:
    path.chmod(0)


#: Ways that are applied before ONE's tables are written, which list the files that exist then.
WAYS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "no bytes": lambda path: path.write_bytes(b"") and None,
    "truncated": _half,
    "pickled": _pickled,
    "huge header": _huge_header,
    "text": _text,
    "complex": _complex,
    "empty": lambda path: rewrite(path, lambda a: a[:0]),
    "shorter": lambda path: rewrite(path, lambda a: a[: len(a) // 2]),
    "longer": lambda path: rewrite(path, _twice),
    "NaN": lambda path: _spoil(path, np.nan),
    "infinity": lambda path: _spoil(path, np.inf),
}
#: Ways that are applied after ONE's tables were written: they list a file that cannot be read. (File permissions do not
#: stop root from reading.)
LATER: dict[str, Callable[[Path], None]] = {"a folder": _folder, "a FIFO": _fifo, "dangling": _dangling} | (
    {"denied": _denied} if os.geteuid() else {}
)
ALL_WAYS = WAYS | LATER

# ------------------------------------------------------------------------------------------------------------ outcomes

_NO_ARRAY = Refused(r"cannot be read as a plain array.*expected a complete .npy file of numbers, found \d+ bytes")
_NOT_READ = r"file cannot be read .expected a readable file, found "
#: The outcomes that are the same for every ``.npy`` file.
EVERYWHERE: dict[str, Outcome] = {
    "missing": Refused("dataset is missing"),
    "no bytes": _NO_ARRAY,
    "truncated": _NO_ARRAY,
    "pickled": Refused(r"cannot be read as a plain array.*hold objects.*found \d+ bytes"),
    "huge header": Refused(r"cannot be read as a plain array.*Header info length.*found \d+ bytes"),
    "text": Refused("does not hold numbers .expected integers or floats, found <U8"),
    "complex": Refused("does not hold numbers .expected integers or floats, found complex"),
    "a folder": Refused(_NOT_READ + "Is a directory"),
    "a FIFO": Refused("is not a file .expected a regular file, found a FIFO"),
    "dangling": Refused("ONE lists the dataset but cannot provide the file"),
    "denied": Refused(_NOT_READ + "Permission denied"),
}


def _one_per_roi(**others: Outcome) -> dict[str, Outcome]:
    differ = "arrays of one FOV differ in their number of ROIs .expected {n} ROIs as in the activity, found "
    return {
        "empty": Refused(differ + "0"),
        "shorter": Refused(differ + "{n_half}"),
        "longer": Refused(differ + "{n_twice}"),
        "NaN": Refused(f"not whole numbers .expected integers, found .*nan.* for ROI {AT}"),
        "infinity": Refused(f"not whole numbers .expected integers, found .*inf.* for ROI {AT}"),
        **others,
    }


OPTIONAL, UNNAMED = "an optional dataset", "classes without names"
_NO_NAMES = Refused("not names of classes .expected a number, a tab and a name per line, found no line")
_FRAMES = "frame times and activity differ in length .expected {t} frames as in the activity, found "
_NOT_UUIDS = "invalid uuids .expected one uuid per ROI, found '{value}' for ROI " + str(AT)
_TEXT = {
    "pickled": Refused(r"is not text .*expected UTF-8, found \d+ bytes"),
    **{way: EVERYWHERE[way] for way in LATER},
}
_XYZ = ("ml", "ap", "dv")
_NOT_FINITE = "activity is not finite .expected finite numbers, found {value} at frame " + f"{AT} of ROI 0"

#: For each dataset of a FOV the outcome of each way of breaking it; then, by name, special ways for one dataset.
FOV_TABLE: dict[str, dict[str, Outcome]] = {
    TIMES: {
        **EVERYWHERE,
        "empty": Refused(_FRAMES + "0 times"),
        "shorter": Refused(_FRAMES + "{t_half} times"),
        "longer": Refused(_FRAMES + "{t_twice} times"),
        "NaN": Refused(f"not finite .expected times in s, found 1, the first at frame {AT}"),
        "infinity": Refused(f"not finite .expected times in s, found 1, the first at frame {AT}"),
    },
    SHIFT: {
        **EVERYWHERE,
        "empty": Refused(r"outside the scan lines .expected rows 0 to -1, found rows \d+ to \d+"),
        "shorter": Refused(r"outside the scan lines .expected rows 0 to 255, found rows \d+ to \d+"),
        "longer": Accepted("lines without a ROI do no harm"),
        "NaN": Refused("expected finite times in s, one per line .*found 1 not finite"),
        "infinity": Refused("expected finite times in s, one per line .*found 1 not finite"),
    },
    ACTIVITY: {
        **EVERYWHERE,
        "missing": Accepted("the fluorescence is taken"),
        "empty": Refused("the FOV is empty .expected 2 frames and 2 ROIs or more, found 0 frames, {n} ROIs"),
        "shorter": Refused("expected {t_half} frames as in the activity, found {t} times", of=TIMES),
        "longer": Refused("expected {t_twice} frames as in the activity, found {t} times", of=TIMES),
        "NaN": Refused(_NOT_FINITE.replace("{value}", "nan")),
        "infinity": Refused(_NOT_FINITE.replace("{value}", "inf")),
    },
    TYPES: {**EVERYWHERE, **_one_per_roi()},
    POSITIONS: {**EVERYWHERE, **_one_per_roi()},
    REGIONS: {**EVERYWHERE, **_one_per_roi(), "missing": Accepted(OPTIONAL, ("region_id",))},
    PLACES: {
        **EVERYWHERE,
        **_one_per_roi(
            NaN=Accepted("a ROI of which the place is not known", _XYZ, AT),
            infinity=Refused(f"positions are not finite .expected micrometres, or NaN, found .*inf.* for ROI {AT}"),
        ),
        "missing": Accepted(OPTIONAL, _XYZ),
    },
    CLASSIFIER: {
        **EVERYWHERE,
        **_one_per_roi(
            NaN=Accepted("a ROI that was not classified", ("cell_probability",), AT),
            infinity=Refused(f"not probabilities .expected 0 to 1, or NaN, found inf for ROI {AT}"),
        ),
        "missing": Accepted(OPTIONAL, ("cell_probability",)),
    },
    UUIDS: {
        **_TEXT,
        **_one_per_roi(
            NaN=Refused(_NOT_UUIDS.replace("{value}", "nan")), infinity=Refused(_NOT_UUIDS.replace("{value}", "inf"))
        ),
        "missing": Accepted(OPTIONAL, ("roi_uuid",)),
        "no bytes": Refused("expected {n} ROIs as in the activity, found 0 uuids"),
        "truncated": Refused(r"expected {n} ROIs as in the activity, found \d+ uuids"),
    },
}

_FLAGS = "flags of frames and activity differ in length .expected {t} frames as in the activity, found "


def _flags(largest: int) -> dict[str, Outcome]:
    not_flags = f"not flags of frames .expected whole numbers from 0 to {largest}, found {{value}} at frame {AT}"
    return {
        **EVERYWHERE,
        "missing": Accepted(OPTIONAL),
        "empty": Refused(_FLAGS + "0"),
        "shorter": Refused(_FLAGS + "{t_half}"),
        "longer": Refused(_FLAGS + "{t_twice}"),
        "NaN": Refused(not_flags.replace("{value}", "nan")),
        "infinity": Refused(not_flags.replace("{value}", "inf")),
    }


FOV_TABLE |= {
    BAD: _flags(1),
    QC: _flags(2**32 - 1),
    QC_NAMES: {**_TEXT, "missing": Accepted(UNNAMED), "no bytes": _NO_NAMES},
    TYPE_NAMES: {**_TEXT, "missing": Accepted("neurons are the ROIs of type 1"), "no bytes": _NO_NAMES},
}

_NO_TABLE = Refused(r"cannot be read as a table .*expected a complete parquet file, found \d+ bytes")


def _lengths(positions: str, times: str) -> Refused:
    says = f"wheel times and positions differ in length .expected {positions} positions, found {times} times"
    return Refused(says, of=WHEEL_TIMES)


def _wheel(**others: Outcome) -> dict[str, Outcome]:
    return {
        **EVERYWHERE,
        "NaN": Refused(f"wheel values are not finite .expected finite numbers, found nan at sample {AT}"),
        "infinity": Refused(f"wheel values are not finite .expected finite numbers, found inf at sample {AT}"),
        **others,
    }


_STIM_OFF_DIFFERS = "stimOff_times differs from the trials table in length"
_QUIESCENCE_DIFFERS = "quiescencePeriod differs from the trials table in length"
BEHAVIOR_TABLE: dict[str, dict[str, Outcome]] = {
    TRIALS: {
        "missing": Refused("the session has no trials table", of=f"task_XX/{TRIALS}"),
        "no bytes": _NO_TABLE,
        "truncated": _NO_TABLE,
        "pickled": _NO_TABLE,
        "text": Refused("choice does not hold numbers .expected integers or floats, found (object|str)"),
        "empty": Refused(f"{_STIM_OFF_DIFFERS} .expected 0 trials as in the table, found 20", of=STIM_OFF),
        "shorter": Refused(f"{_STIM_OFF_DIFFERS} .expected 10 trials as in the table, found 20", of=STIM_OFF),
        "longer": Refused(f"{_STIM_OFF_DIFFERS} .expected 40 trials as in the table, found 20", of=STIM_OFF),
        "NaN": Accepted("a trial without a choice", ("choice",), AT),
        "infinity": Refused(f"choice has an impossible value .expected -1 or 0 or 1, or NaN, found inf in trial {AT}"),
        **{way: EVERYWHERE[way] for way in LATER},
    },
    QUIESCENCE: {
        **EVERYWHERE,
        "missing": Accepted(OPTIONAL, ("quiescence_period",)),
        "empty": Refused(f"{_QUIESCENCE_DIFFERS} .expected 20 trials as in the table, found 0"),
        "shorter": Refused(f"{_QUIESCENCE_DIFFERS} .expected 20 trials as in the table, found 10"),
        "longer": Refused(f"{_QUIESCENCE_DIFFERS} .expected 20 trials as in the table, found 40"),
        "NaN": Accepted("a trial without a period", ("quiescence_period",), AT),
        "infinity": Refused(
            f"quiescencePeriod has an impossible value .expected finite numbers.*found inf in trial {AT}"
        ),
    },
    WHEEL_TIMES: _wheel(
        missing=Refused("the session has no wheel", of=f"task_XX/{WHEEL_TIMES}"),
        empty=_lengths("{w}", "0"), shorter=_lengths("{w}", "{w_half}"), longer=_lengths("{w}", "{w_twice}"),
    ),
    WHEEL: _wheel(
        empty=_lengths("0", "{w}"), shorter=_lengths("{w_half}", "{w}"), longer=_lengths("{w_twice}", "{w}"),
    ),
}  # fmt: skip

_NOT_UIDS = "not cell UIDs .expected a UUID per line, blank if the ROI is not tracked, found "
_UIDS_DIFFER = "the UID file does not fit the FOV .expected {n} UIDs for {n} ROIs, found "
_NOT_FITTING = "the number of silhouettes is not that of the ROIs .expected {n} values, found "
UID_TABLE: dict[str, dict[str, Outcome]] = {
    UIDS: {
        **_TEXT,
        "missing": Accepted("a FOV that was not tracked"),
        "no bytes": Refused(_UIDS_DIFFER + "0 UIDs"),
        "truncated": Refused(f"{_UIDS_DIFFER}\\d+ UIDs|{_NOT_UIDS}1 other"),
        "empty": Refused(_UIDS_DIFFER + "0 UIDs"),
        "shorter": Refused(_UIDS_DIFFER + "{n_half} UIDs"),
        "longer": Refused(_UIDS_DIFFER + "{n_twice} UIDs"),
        "NaN": Accepted("a ROI that was not tracked", only_at=AT),
        "infinity": Refused(_NOT_UIDS + f"1 other lines, the first 'inf' for ROI {AT}"),
    },
    SILHOUETTE: {
        **EVERYWHERE,
        "missing": Accepted(OPTIONAL, ("silhouette",)),
        "empty": Refused(_NOT_FITTING + "0", of=UIDS),
        "shorter": Refused(_NOT_FITTING + "{n_half}", of=UIDS),
        "longer": Refused(_NOT_FITTING + "{n_twice}", of=UIDS),
        "NaN": Accepted("a ROI without a silhouette", ("silhouette",), AT),
        "infinity": Refused("silhouettes are not finite .expected finite numbers, or NaN, found infinity"),
    },
}


# ---------------------------------------------------------------------------------------- folders and whole sessions


def _set(name: str, index: object, value: float) -> Callable[[Path], None]:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return lambda folder: rewrite(folder / name, change)


def _column_of(name: str) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / name, lambda a: a[:, None])


def _keep_rois(fov: Path, n: int) -> None:
    rewrite(fov / ACTIVITY, lambda a: a[:, :n])
    for name in (TYPES, CLASSIFIER, POSITIONS, PLACES, REGIONS, UUIDS):
        rewrite(fov / name, lambda a: a[:n])


def _newer_is_sound(fov: Path) -> None:
    for name in (TIMES, TYPES, ACTIVITY):
        (fov / "#2025-01-01#").mkdir(exist_ok=True)
        (fov / "#2025-01-01#" / name).write_bytes((fov / name).read_bytes())
        WAYS["NaN" if name == TIMES else "shorter"](fov / name)


def _newer_is_broken(fov: Path) -> None:
    (fov / "#2025-01-01#").mkdir()
    np.save(fov / "#2025-01-01#" / TIMES, np.load(fov / TIMES)[:-5])


def _contradicting_types(fov: Path) -> None:
    is_neuron = np.arange(len(np.load(fov / TYPES))) % 2
    np.save(fov / TYPES, is_neuron)
    np.save(fov / CLASSIFIER, np.where(is_neuron, 0.1, 0.9))


def _copy_fov(fov: Path) -> None:
    for path in (fov.parent / "FOV_00").iterdir():
        (fov / path.name).write_bytes(path.read_bytes())


def _trials(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    return lambda alf: change(pd.read_parquet(alf / TRIALS)).to_parquet(alf / TRIALS)


def _times_of_trials(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Return a way to change all times of trials."""

    def spoil(alf: Path) -> None:
        table = pd.read_parquet(alf / TRIALS)
        names = [name for name in table if "times" in name or "intervals" in name]
        table[names] = change(table[names])
        table.to_parquet(alf / TRIALS)
        rewrite(alf / STIM_OFF, change)

    return spoil


def _second_task(files: str, change: Callable[[Path], None] = lambda folder: None) -> Callable[[Path], None]:
    """Return a way to put files of a session's behaviour also in a task folder, changed there."""

    def copy(alf: Path) -> None:
        task = alf / "task_00"
        task.mkdir(exist_ok=True)
        for path in alf.glob(files):
            (task / path.name).write_bytes(path.read_bytes())
        change(task)

    return copy


#: Names of folders that are no FOVs, though they hold imaging.
FOLDERS = ("FOV_1", "FOV_00_deep", "fov_02", "plane0")
#: The name of a FOV that is a symbolic link to a folder.
LINKED = "FOV_09"

#: Ways of breaking the folder of a FOV, with the outcome.
FOV_EXTRAS: dict[tuple[str, str], tuple[Callable[[Path], None], Outcome]] = {
    (TIMES, "go back"): (
        lambda fov: rewrite(fov / TIMES, lambda t: np.r_[t[:10], t[8], t[11:]]),
        Refused(r"expected increasing times, found 1 steps that do not increase, the first after frame 9: [\d.]+ s, "),
    ),
    **{
        (name, "of a column"): (_column_of(name), Accepted("vectors as MATLAB writes them"))
        for name in (TIMES, SHIFT, TYPES, CLASSIFIER, REGIONS, BAD, QC)
    },
    (TIMES, "in ms"): (
        lambda fov: rewrite(fov / TIMES, lambda t: 1000 * t),
        Refused(r"frame times are not in s .expected a frame period of 0.01 to 1.0 s, found \d{3}[\d.]* from "),
    ),
    (TIMES, "numbers of frames"): (
        lambda fov: rewrite(fov / TIMES, lambda t: np.arange(len(t))),
        Refused("frame times are not in s .expected a frame period of 0.01 to 1.0 s, found 1 from 0.0 to "),
    ),
    (SHIFT, "in ms"): (
        lambda fov: rewrite(fov / SHIFT, lambda t: 1000 * t),
        Refused(r"do not fit into a frame .expected 0 to 0.\d+ s, the frame period, found 0 to \d+"),
    ),
    (PLACES, "in mm"): (
        lambda fov: rewrite(fov / PLACES, lambda a: a / 1000),
        Refused(r"not in micrometres from bregma .expected the furthest coordinate at 50 to 20000, found \d\.\d+: "),
    ),
    (TIMES, "rounded to a tenth"): (
        lambda fov: rewrite(fov / TIMES, lambda t: t.round(1)),
        Refused(r"times are rounded .expected times in steps below 10% .*found multiples of 0.1 s, 5\d% of the period"),
    ),
    (SHIFT, "zero"): (
        lambda fov: rewrite(fov / SHIFT, np.zeros_like),
        Refused(
            "scan lines are not one after the other .expected 5e-06 s or more .*found 0 s in the mean of 512 lines"
        ),
    ),
    (SHIFT, "in minutes"): (
        lambda fov: rewrite(fov / SHIFT, lambda s: s / 60),
        Refused("scan lines are not one after the other .expected 5e-06 s or more .*found 6.93333e-07 s"),
    ),
    (ACTIVITY, "ROIs in another order"): (
        lambda fov: rewrite(fov / ACTIVITY, lambda a: a[:, ::-1]),
        Refused(
            f"not of the ROIs in {FLUORESCENCE} .*or more, found [2-6]\\d% among ROIs \\d+ to \\d+; "
            "in another order it is 50 %"
        ),
    ),
    (ACTIVITY, "fluorescence under its name"): (
        lambda fov: (fov / ACTIVITY).write_bytes((fov / FLUORESCENCE).read_bytes()) and None,
        Refused(r"not those of deconvolved activity .expected none below zero.*found otherwise in {n} of {n} ROIs"),
    ),
    (ACTIVITY, "not filled to the end"): (
        lambda fov: rewrite(fov / ACTIVITY, lambda a: np.where(np.arange(len(a))[:, None] < len(a) // 2, a, 0)),
        Refused(
            "ends in zeros of all ROIs.*expected values up to the last of {t} frames, found .* from frame {t_half} on"
        ),
    ),
    (TYPES, "contradict the classifier"): (
        _contradicting_types,
        Refused(f"types of ROIs contradict {CLASSIFIER} .*found 0% of pairs; the median of neurons is 0.10, of others"),
    ),
    (TYPES, "without a name"): (
        _set(TYPES, AT, 5),
        Refused(f"a type of ROIs has no name .expected types of {TYPE_NAMES}: 0, 1, found 5"),
    ),
    (TYPE_NAMES, "unknown"): (
        lambda fov: (fov / TYPE_NAMES).write_text("roi_values\troi_labels\n0\tno cell\n1\tblob\n") and None,
        Refused("not known whether ROIs of these names are neurons .expected 'cell', .*found 'blob'"),
    ),
    (POSITIONS, "planes first"): (
        lambda fov: rewrite(fov / POSITIONS, lambda p: p[:, [2, 0, 1]]),
        Refused(r"columns are in another order .expected row y, column x and plane.*found 1, \d+ and \d+ different"),
    ),
    (PLACES, "in voxels"): (
        lambda fov: rewrite(fov / PLACES, lambda a: a / 25),
        Refused("do not have the scale of .*expected 0.3 to 5.0 µm in the brain for each pixel.*found 0.05"),
    ),
    (BAD, "of a class"): (
        lambda fov: rewrite(fov / BAD, lambda a: 2 * a.astype(int)),
        Refused("expected whole numbers from 0 to 1, found 2 at frame 5"),
    ),
    (QC, "of a class without a name"): (
        _set(QC, AT, 9),
        Refused("a class of frames has no name .expected classes of mpciFrameQC.names.tsv: 0, 2, found 9"),
    ),
    (QC_NAMES, "of one column"): (
        lambda fov: (fov / QC_NAMES).write_text("qc_labels\nok\n") and None,
        Refused("not names of classes .expected a number, a tab and a name per line, found 'ok'"),
    ),
    (TIMES, "two revisions, the newer sound"): (_newer_is_sound, Accepted("the newer is read")),
    (TIMES, "two revisions, the newer broken"): (_newer_is_broken, Refused(_FRAMES + r"\d+ times")),
    (TIMES, "two default revisions"): (
        _newer_is_broken,
        Refused(
            "several default revisions of the dataset .expected one default revision, "
            rf"found alf/FOV_\d\d/#2025-01-01#/{TIMES} .dataset [0-9a-f-]+., alf/FOV_\d\d/{TIMES} .dataset"
        ),
    ),
    (TIMES, "listed without a size"): (lambda fov: None, Accepted("the file is read")),
    (TIMES, "listed with backslashes"): (lambda fov: None, Accepted("tables may come from Windows")),
    (TIMES, "listed twice"): (lambda fov: None, Accepted("both rows say the same")),
    (ACTIVITY, "no ROI"): (lambda fov: _keep_rois(fov, 0), Refused(r"the FOV is empty .*found {t} frames, 0 ROIs")),
    (ACTIVITY, "one ROI"): (
        lambda fov: _keep_rois(fov, 1),
        Refused(r"the FOV has too few frames or ROIs .expected 2 frames and 2 ROIs or more, found {t} frames, 1 ROIs"),
    ),
    (ACTIVITY, "of one dimension"): (
        lambda fov: rewrite(fov / ACTIVITY, lambda a: a[:, 0]),
        Refused(r"not a matrix .expected \(frames, ROIs\), found \({t},\)"),
    ),
    (ACTIVITY, "the FOV twice"): (
        _copy_fov,
        Refused("copy of another FOV's .expected other values in each FOV, found the same values in FOV_00"),
    ),
    (REGIONS, "unknown ids"): (
        _set(REGIONS, [2, 5], 123_456_789),
        Refused("2 ROIs have a region id.*expected ids of the Allen CCF 2017, found 123456789"),
    ),
    (REGIONS, "of two columns"): (
        lambda fov: rewrite(fov / REGIONS, lambda a: np.c_[a, a]),
        Refused(r"shape.*expected \({n},\), found \({n}, 2\)"),
    ),
    (PLACES, "of two columns"): (
        lambda fov: rewrite(fov / PLACES, lambda a: a[:, :2]),
        Refused(r"shape.*expected \({n}, 3\), found \({n}, 2\)"),
    ),
    (POSITIONS, "beyond the lines"): (
        _set(POSITIONS, (AT, 0), 512),
        Refused(r"outside the scan lines .expected rows 0 to 511, found rows \d+ to 512", of=SHIFT),
    ),
    (POSITIONS, "half a pixel"): (
        lambda fov: rewrite(fov / POSITIONS, lambda a: a + 0.5),
        Refused(r"not whole numbers .expected integers, found \d+.5 for ROI 0"),
    ),
    (CLASSIFIER, "per cent"): (
        lambda fov: rewrite(fov / CLASSIFIER, lambda a: 100 * a),
        Refused(r"not probabilities .expected 0 to 1, or NaN, found [\d.]+ for ROI \d+"),
    ),
    (UUIDS, "one twice"): (
        lambda fov: rewrite(fov / UUIDS, lambda a: np.r_[a[:-1], a[:1]]),
        Refused("uuids repeat .expected {n} unique uuids, found {n_less}"),
    ),
}
#: Ways of breaking the alf folder of a session.
BEHAVIOR_EXTRAS: dict[tuple[str, str], tuple[Callable[[Path], None], Outcome]] = {
    (TRIALS, "no trial in any file"): (
        lambda alf: [rewrite(alf / name, lambda a: a[:0]) for name in (TRIALS, QUIESCENCE, STIM_OFF)] and None,
        Refused("the trials table is empty .expected 1 trial or more, found 0"),
    ),
    (TRIALS, "no choices"): (
        _trials(lambda table: table.drop(columns="choice")),
        Refused("lacks columns .expected choice, found intervals_0"),
    ),
    (TRIALS, "half a choice"): (
        _trials(lambda table: table.assign(choice=0.5)),
        Refused("choice has an impossible value .expected -1 or 0 or 1, or NaN, found 0.5 in trial 0"),
    ),
    (TRIALS, "go back"): (
        _trials(lambda table: table.iloc[::-1]),
        Refused(
            r"trial times decrease .expected trials in order of time, each once, "
            r"found intervals_0 [\d.]+ s, then .* in trial 1"
        ),
    ),
    (TRIALS, "each twice"): (
        lambda alf: [rewrite(alf / name, lambda a: a.repeat(2)) for name in (TRIALS, QUIESCENCE, STIM_OFF)] and None,
        Refused("a trial is there twice .expected trials in order of time, each once, found intervals_0 .* in trial 1"),
    ),
    (TRIALS, "the same in two folders"): (
        _second_task("_ibl_trials.*"),
        Refused(
            f"is a copy of alf/{TRIALS} .expected tasks one after the other, found .*; 40 of 40 times are the same",
            of=f"task_00/{TRIALS}",
        ),
    ),
    (TRIALS, "of two tasks at once"): (
        _second_task("_ibl_trials.*", _times_of_trials(lambda t: t + 0.123)),
        Refused(f"overlaps in time with alf/{TRIALS} .expected tasks one after the other", of=f"task_00/{TRIALS}"),
    ),
    (TRIALS, "of another task beside"): (
        _second_task("_ibl_trials.*", _trials(lambda table: table.drop(columns="choice"))),
        Accepted("the sound task is taken"),
    ),
    (TRIALS, "in ms"): (
        _times_of_trials(lambda t: 1000 * t + 1e6),
        Refused(r"does not overlap imaging at all.*expected times in s between [\d.]+ and [\d.]+ s.*found \d{7}"),
    ),
    (WHEEL_TIMES, "the same in two folders"): (
        _second_task("_ibl_wheel.*"),
        Refused(f"is a copy of alf/{WHEEL_TIMES} .expected tasks one after the other", of=f"task_00/{WHEEL_TIMES}"),
    ),
    (WHEEL_TIMES, "of another clock"): (
        lambda alf: rewrite(alf / WHEEL_TIMES, lambda t: t + 1e6),
        Refused(r"does not overlap imaging at all.*expected times in s between [\d.]+ and [\d.]+ s.*found 10\d{5}"),
    ),
    (WHEEL_TIMES, "go back"): (
        lambda alf: rewrite(alf / WHEEL_TIMES, lambda t: np.r_[t[:10], t[8], t[11:]]),
        Refused(
            r"wheel times decrease .expected times in increasing order, found [\d.]+ s, then [\d.]+ s at sample 10"
        ),
    ),
    (WHEEL_TIMES, "of a year"): (
        _set(WHEEL_TIMES, -1, 3e7),
        Refused(r"too long .expected at most one day, found [\d.]+ to 30000000.0 s"),
    ),
    (WHEEL, "one sample"): (
        lambda alf: [rewrite(alf / name, lambda a: a[:1]) for name in (WHEEL, WHEEL_TIMES)] and None,
        Refused("too few wheel samples .expected 2 samples or more, found 1 samples", of=WHEEL_TIMES),
    ),
}  # fmt: skip


def _uid_line(change: Callable[[str], str], *at: int) -> Callable[[Path], None]:
    """Return a way to change lines of a UID file; those of all ROIs without `at`."""

    def spoil(fov: Path) -> None:
        lines = (fov / UIDS).read_text().splitlines()
        for i in at or range(len(lines)):
            lines[i] = change(lines[i])
        _write(fov / UIDS, lines)

    return spoil


def _constant(word: str) -> Callable[[str], str]:
    return lambda line: word


#: Ways of breaking the UID file of a FOV.
UID_EXTRAS: dict[tuple[str, str], tuple[Callable[[Path], None], Outcome]] = {
    **{
        (UIDS, f"the placeholder {word}"): (
            _uid_line(_constant(word), AT, AT + 1),
            Accepted("ROIs that were not tracked"),
        )
        for word in ("-1", "<missing>", "None", "NA", "NULL", '""')
    },
    (SILHOUETTE, "per cent"): (
        lambda fov: rewrite(fov / SILHOUETTE, lambda a: 100 * a),
        Refused(
            r"not silhouettes .expected numbers from -1 to 1, or NaN, .* others, the first [\d.]+ for ROI", of=UIDS
        ),
    ),
    (UIDS, "in capitals"): (_uid_line(str.upper), Accepted("letter case does not make another cell")),
    (UIDS, "of two columns"): (
        _uid_line(lambda line: f"{line},0.9"),
        Refused(_NOT_UIDS + r"{n} other lines, the first '[\w-]*,0.9' for ROI 0"),
    ),
    (UIDS, "an own placeholder"): (
        _uid_line(_constant("none found"), AT, AT + 1),
        Refused(_NOT_UIDS + f"2 other lines, the first 'none found' for ROI {AT}.*blank, and keep one column.?$"),
    ),
}


def cases(
    table: dict[str, dict[str, Outcome]],
    extras: dict[tuple[str, str], tuple[Callable[[Path], None], Outcome]] | None = None,
) -> list[Case]:
    """Return the cells of a table that this user can break, and the special ways for single datasets."""
    found = [
        Case(dataset, way, outcome) for dataset, row in table.items() for way, outcome in row.items() if way in ALL_WAYS
    ]
    return found + [Case(*name, outcome) for name, (_, outcome) in (extras or {}).items()]


FOV_CASES = cases(FOV_TABLE, FOV_EXTRAS)
BEHAVIOR_CASES = cases(BEHAVIOR_TABLE, BEHAVIOR_EXTRAS)
UID_CASES = cases(UID_TABLE, UID_EXTRAS)


def break_now(case: Case, folder: Path) -> None:
    """Break a dataset before ONE's tables are written."""
    extra = (FOV_EXTRAS | BEHAVIOR_EXTRAS | UID_EXTRAS).get((case.dataset, case.way))
    if extra:
        extra[0](folder)
    elif case.way in WAYS:
        WAYS[case.way](folder / case.dataset)


def break_later(case: Case, folder: Path) -> None:
    """Break a dataset after ONE's tables were written."""
    if case.way in LATER:
        LATER[case.way](folder / case.dataset)


#: Ways of spoiling ONE's table of datasets: from the table and the rows of a dataset, (n,) bool, to another table.
LISTED: dict[str, Callable[[pd.DataFrame, np.ndarray], pd.DataFrame]] = {
    "two default revisions": lambda table, rows: table.assign(default_revision=table["default_revision"] | rows),
    "listed without a size": lambda table, rows: table.assign(file_size=table["file_size"].mask(rows)),
    "listed with backslashes": lambda table, rows: table.assign(
        rel_path=table["rel_path"].where(~rows, table["rel_path"].str.replace("/", "\\"))
    ),
    "listed twice": lambda table, rows: pd.concat([table, table[rows]]),
}


def break_listings(root: Path, folders: dict[Case, Path]) -> None:
    """Spoil the rows of datasets in ONE's table, after it was written."""
    table, metadata = parquet.load(root / "datasets.pqt")
    for case, folder in folders.items():
        if case.way in LISTED:
            lab, _, subject, date, number, alf, fov = folder.parts[-7:]
            eids = table.index.get_level_values("eid") == session_eid(lab, subject, date, number)
            names = table["rel_path"].str.fullmatch(rf"{alf}/{fov}/(#.+#/)?{re.escape(case.dataset)}")
            table = LISTED[case.way](table, eids & names.to_numpy(dtype=bool))
    parquet.save(root / "datasets.pqt", table, metadata)
