"""Labels of one's own, classes or numbers, which are decoded like choice and stimulus."""

from __future__ import annotations

import datetime
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import datajoint as dj
import numpy as np

from pipeline.decoding import NDCSettings
from pipeline.decoding.own_labels import are_numbers, checked_labels
from pipeline.errors import ArgumentError, DataError, NotFoundError
from pipeline.reading import Read, at_new_places
from pipeline.settings.curves import CLASS_METRICS, EVENTS, NUMBER_METRICS, check_own_name
from pipeline.text import did_you_mean
from schemas.cascade import WholeDelete
from schemas.provenance import Deletion, now
from schemas.rows import content_key
from schemas.session import LABELLED, Behavior, trials_key, trials_of

schema = dj.Schema()
#: What labels are, by which they are decoded: two classes by logistic regression, numbers by ridge regression.
CLASSES, NUMBERS = "classes", "numbers"


@schema
class LabelSet(WholeDelete, dj.Manual):
    definition = """
    # labels of one's own: a target of curves
    label_set : char(32)                # hash of the name and of all labels
    ---
    label_name : varchar(16)            # name of the target
    labelled_by : varchar(255)          # account of the database
    labelled_at : datetime(6)           # UTC
    label_kind='classes' : varchar(8)   # classes (1 and 0), or numbers
    """

    class Labels(dj.Part):
        definition = """
        # labels of the trials of a session; they stay if the session is deleted, and fit when it is read again
        -> master
        labelled_eid : char(36)
        ---
        own_labels : <blob>             # (n_trials,) float64, 1 and 0, or numbers; NaN: none
        """

    class Trials(dj.Part):
        definition = """
        # the trials that labels of a session were given for; none: added before version 26
        -> master
        labelled_eid : char(36)
        labelled_trials : char(32)      # hash of the stimuli, choices and feedback of all trials, in their order
        """

    @classmethod
    def add(cls, name: str, labels: Mapping[str, Any], *, numbers: bool | None = None, by: str = "") -> dict:
        """Insert labels unless they are in the table, and return their key; the name now stands for them.

        Parameters
        ----------
        name : str
            Up to 16 of a to z, 0 to 9 and _, not beginning with a digit, and not that of another target.
        labels : mapping of eid to sequence of n_trials numbers
            1, 0 or NaN for each trial of sessions whose trials have been read; or numbers.
        numbers : bool, optional
            The labels are numbers, and not classes. By default they are if they have more than two different values.
        by : str
            Who gives them; by default the account of the database.

        Raises
        ------
        ArgumentError
            The name is not allowed.
        DataError
            There are no sessions, one has no trials in the database, or as ``checked_labels``.
        """
        check_own_name(name)
        if not labels:
            raise DataError(f"labels {name!r} are of no session")
        known = set((Behavior & [{"eid": eid} for eid in labels]).to_arrays("eid"))
        if missing := sorted(set(labels) - known):
            raise DataError("has no trials in the database", eid=missing[0], dataset=f"labels {name!r}",
                            do=f"Read it with: meso ingest {missing[0]}")  # fmt: skip
        if numbers is None:
            numbers = are_numbers(labels.values())
        trials = {eid: trials_of(eid) for eid in sorted(labels)}
        checked = {
            eid: checked_labels(labels[eid], len(one["choice"]), name, eid, numbers=numbers)
            for eid, one in trials.items()
        }
        kind, of_kind = (NUMBERS, float) if numbers else (CLASSES, int)
        plain = {eid: [None if np.isnan(one) else of_kind(one) for one in row] for eid, row in checked.items()}
        key = {"label_set": content_key([name, plain, *([kind] if numbers else ())])}
        given = [{**key, "labelled_eid": eid, "labelled_trials": trials_key(one)} for eid, one in trials.items()]
        with cls.connection.transaction:
            if not (cls & key):
                by = by or cls.connection.get_user()
                row = {"label_name": name, "labelled_by": by, "labelled_at": now()}
                cls.insert1({**key, **row, "label_kind": kind})
                cls.Labels.insert({**key, "labelled_eid": eid, "own_labels": row} for eid, row in checked.items())
            elif cls.named([name])[name] != key["label_set"] or cls._were_read_again(key, labels):
                cls.update1({**key, "labelled_at": now()})  # former labels, or those of former files, added again
            cls.Trials.insert(cls._new_trials(name, given))
        return key

    @classmethod
    def _were_read_again(cls, key: dict, eids: Iterable[str]) -> bool:
        """Return whether trials or wheels of sessions were deleted since labels were given."""
        given_at = (cls & key).fetch1("labelled_at")
        lost = (
            one for those in Deletion.files_of(eids).values() for one in those if one.until and one.until > given_at
        )
        return any(f"/_ibl_{what}." in path for one in lost for path in one.hashes for what in LABELLED.values())

    @classmethod
    def _new_trials(cls, name: str, given: list[dict]) -> list[dict]:
        """Return the rows that are not in ``Trials`` yet; warn of values that were given for other trials before."""
        new = [row for row in given if not (cls.Trials & row)]
        for row in new:
            if cls.Trials & {column: row[column] for column in ("label_set", "labelled_eid")}:
                warnings.warn(
                    f"session {row['labelled_eid']}, labels {name!r}: the same values were given before for other "
                    "trials, which were read again since. They are taken to be of the trials as they are now: if not, "
                    f"make new ones, and run: meso labels drop {name}", stacklevel=4,
                )  # fmt: skip
        return new

    @classmethod
    def named(cls, names: Iterable[str]) -> dict[str, str]:
        """Return by name the key of the labels that were added last.

        Raises
        ------
        NotFoundError
            There are no labels of that name.
        """
        rows = cls.proj("label_name", "labelled_at").to_dicts(order_by="labelled_at")
        latest = {row["label_name"]: row["label_set"] for row in rows}
        if missing := sorted(set(names) - set(latest)):
            raise NotFoundError(
                f"{missing[0]!r} is no target", expected=f"{', '.join(EVENTS)}, or the name of labels of your own",
                found=f"labels {', '.join(sorted(latest)) or 'of no name'} in the database",
                do=f"{did_you_mean(missing[0], [*EVENTS, *latest])}"
                "Add some with: meso labels add FILE, or in Python with labels={...}",
            )  # fmt: skip
        return {name: latest[name] for name in names}

    @classmethod
    def of_name(cls, name: str) -> LabelSet:
        """Return the labels of a name, former ones too.

        Raises
        ------
        NotFoundError
            There are none.
        """
        found = cls & {"label_name": name}
        if not found:
            known = sorted(set(cls.to_arrays("label_name")))
            raise NotFoundError(
                f"there are no labels {name!r}", found=f"labels {', '.join(known) or 'of no name'}",
                do=f"{did_you_mean(name, known)}'meso labels' lists them",
            )  # fmt: skip
        return found

    @classmethod
    def of_session(cls, label_set: str, eid: str, trials: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the labels of a session, (n_trials,) float64: 1, 0 or NaN, or numbers.

        Parameters
        ----------
        label_set, eid : str
        trials : mapping of ALF attribute to (n_trials,) float64
            As they are now.

        Raises
        ------
        DataError
            The set has no labels of the session, or labels of other trials.
        """
        found = (cls & {"label_set": label_set}).to_dicts()
        of_session = {"label_set": label_set, "labelled_eid": eid}
        rows = (cls.Labels & of_session).to_dicts()
        if not rows:
            missing = f"has no labels {found[0]['label_name']!r}" if found else ""
            problem = missing or "its labels are not in the database any more"
            raise DataError(problem, eid=eid, do="Add labels of all sessions with: meso labels add FILE")
        name, numbers = found[0]["label_name"], found[0]["label_kind"] == NUMBERS
        labels = checked_labels(rows[0]["own_labels"], len(trials["choice"]), name, eid, numbers=numbers)
        given_for = (cls.Trials & of_session).to_arrays("labelled_trials")
        if len(given_for) and trials_key(trials) not in given_for:
            raise DataError(
                "the labels were given for other trials", eid=eid, dataset=f"labels {name!r}",
                expected=f"the stimuli, choices and feedback of {len(labels)} trials as when the labels were added",
                found="others: the trials were read again since",
                do="Add labels of the trials as they are now: meso labels add FILE, or in Python labels={...}",
            )  # fmt: skip
        return labels


def notes_on_labels(
    eid: str,
    deleted: Sequence[Read],
    known: Mapping[str, str],
    of: Collection[str] = tuple(LABELLED.values()),
    given: Mapping[str, datetime.datetime] | None = None,
) -> Iterator[str]:
    """Yield a note if labels of a session were given when its trials or wheel were read from other files than now.

    They may be made of these. That the trials are the same, which is compared when labels are used, does not tell.

    Parameters
    ----------
    eid : str
    deleted : sequence of Read
        Files of deleted rows, the first deletion first.
    known : mapping of str to str
        The sha256 of each file that there are rows of, by path without revision.
    of : collection of str
        Which is compared: trials, wheel.
    given : mapping of str to datetime, optional
        What ``given_at`` returned for the session, to spare a statement.
    """
    if given is None:
        given = given_at([eid] if deleted else []).get(eid, {})
    named: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, when in given.items() if deleted else ():
        then: dict[str, str] = {}
        for one in (one for one in deleted if one.until and one.until > when):
            then = dict(one.hashes) | then
        lost = [path for path, sha256 in at_new_places(then, known).items() if known.get(path, sha256) != sha256]
        new = tuple(what for what in of if any(f"/_ibl_{what}." in path for path in lost))
        named[new] += [name]
    for new, names in named.items():
        if new:
            yield (
                f"session {eid}: the files of {' and '.join(new)} are others now, and labels "
                f"{', '.join(sorted(names))} were given before. If they are computed from these, such as reaction "
                "times or the speed of the wheel, add them again"
            )


def given_at(eids: Collection[str]) -> dict[str, dict[str, datetime.datetime]]:
    """Return when the labels of sessions were given, by session and name: the last that there are of each session.

    The name may stand for labels of other sessions since: curves of these stay. A statement, none without sessions.
    """
    of_eids = [{"labelled_eid": eid} for eid in eids]
    labels = LabelSet.proj("label_name", "labelled_at") * LabelSet.Labels.proj() & of_eids
    found: dict[str, dict[str, datetime.datetime]] = defaultdict(dict)
    for row in sorted(labels.to_dicts() if of_eids else [], key=itemgetter("labelled_at")):
        found[row["labelled_eid"]][row["label_name"]] = row["labelled_at"]
    return found


def of_kind(settings: NDCSettings) -> NDCSettings:
    """Return settings with a metric of the kind of their labels: of numbers r2, where the metric is auc, the default.

    Raises
    ------
    ArgumentError
        The metric is of the other kind.
    """
    found = (LabelSet & {"label_set": settings.labels}).to_dicts() if settings.labels else []
    if not found or (found[0]["label_kind"] == NUMBERS) == settings.of_numbers:
        return settings
    if settings.metric == NDCSettings.metric:
        return replace(settings, metric=NUMBER_METRICS[0])
    kinds = {CLASSES: CLASS_METRICS, NUMBERS: NUMBER_METRICS}
    kind = found[0]["label_kind"]
    raise ArgumentError(
        f"labels {settings.target!r} are {kind}, which are scored by {', '.join(kinds[kind])}, not {settings.metric!r}"
    )


def listed() -> list[dict[str, Any]]:
    """Return a row for each set of labels, the latest last: name, key, kind, sessions, trials, account, time.

    Of classes the trials of each are counted, of numbers those that have one. ``labelled_for`` is 'compared' if it
    is known for which trials the labels were given, else 'unknown': before version 26.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for row in LabelSet.Labels.to_dicts(order_by="KEY"):
        parts.setdefault(row["label_set"], []).append(row["own_labels"])
    with_trials, rows = set(LabelSet.Trials.to_arrays("label_set")), []
    for row in LabelSet.to_dicts(order_by="labelled_at"):
        labels = np.concatenate(parts[row["label_set"]])
        numbers = row["label_kind"] == NUMBERS
        rows.append({
            **row, "n_sessions": len(parts[row["label_set"]]), "n_labelled": int(np.isfinite(labels).sum()),
            "n_class_1": None if numbers else int((labels == 1).sum()),
            "n_class_0": None if numbers else int((labels == 0).sum()),
            "n_without": int(np.isnan(labels).sum()),
            "labelled_for": "compared" if row["label_set"] in with_trials else "unknown",
        })  # fmt: skip
    return rows
