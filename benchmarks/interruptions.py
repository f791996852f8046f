"""Random interruptions of the whole pipeline, and the size of a worker that runs many jobs.

    python benchmarks/interruptions.py                 # 50 interruptions on the embedded PostgreSQL
    DJ_BACKEND=mysql DJ_HOST=127.0.0.1 DJ_USER=root DJ_PASS=... python benchmarks/interruptions.py   # on MySQL
    python benchmarks/interruptions.py --jobs 1000     # the memory of one worker instead, after 100 jobs and at the end

Generated sessions go through all tables to the comparison of their curves, traces in a store that is a folder. Again
and again `meso populate`, `meso worker` with two slots or a script like a notebook begins, and gets SIGINT, SIGTERM,
SIGKILL or SIGHUP: before its first job, or while it works. SIGINT and SIGHUP go to all of its processes, as a terminal
sends them. The caches of numba are those of earlier runs, or empty. When all is computed, it is compared, bit by bit,
with a run that nothing disturbed; then all is deleted, and it begins again. The end of it must have no error, no job
and no process left, and no object in the store, except those that killed jobs had written, which `meso store gc`
removes.

A job during which three workers died becomes an error by design. So after two deaths of a job, nothing is interrupted
until it is done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
NOTEBOOK = "import schemas; schemas.activate(); from schemas.work.filling import fill; fill()"
MESO = ["-m", "populate_scripts.cli"]
WAYS = {
    "populate": [*MESO, "populate"],
    "worker": [*MESO, "worker", "--slots", "2", "--until-done"],
    "notebook": ["-c", NOTEBOOK],
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)
#: Signals of a process that crashes.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
#: Seconds that an interrupted command may take to end, and its other processes after it.
PATIENCE, LINGER = 300, 10
#: Of the interruptions, those before the first job; the others come within so many seconds after the first began.
EARLY, WORK = 0.2, 6.0
#: Of the runs, those that begin without what numba has compiled, which takes them much longer.
COLD = 0.3
#: Columns that are random or place something: what they lead to is compared instead.
NOT_COMPARED = ("trace_object", "trace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interruptions", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, help="measure the size of a worker that runs so many jobs")
    asked = parser.parse_args()
    # handlers of our own, with which the commands get the default: after nohup, or in the background of a script, they
    # would ignore these signals
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # not below a folder of one user: if root runs this, the embedded server runs as another user
    with tempfile.TemporaryDirectory(prefix="meso-") as folder:
        set_up(Path(folder))
        try:
            return size_of_worker(asked.jobs) if asked.jobs else interrupt(asked.interruptions, asked.seed)
        finally:
            tear_down()


def set_up(folder: Path) -> None:
    """Declare the tables, and write and register two sessions."""
    (folder / "store").mkdir()
    folder.chmod(0o755)
    os.environ |= {
        "MESO_DATA_DIR": str(folder), "MESO_PREFIX": f"bench_{os.getpid()}_", "MESO_STORE": "folder",
        "DJ_STORES": json.dumps({"folder": {"protocol": "file", "location": str(folder / "store")}}),
        "NUMBA_CACHE_DIR": str(folder / "warm"), "DJ_SAFEMODE": "false", "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    sys.path.insert(0, str(ROOT))
    from pipeline.demo.repository import SUBJECT, write_demo_repository
    from populate_scripts.ingest import ingest
    from schemas.setup import migrations
    from schemas.tracking import TrackingRun

    migrations.init()
    truth = write_demo_repository(folder / "one", n_days=2, n_fovs=2, n_trials=120, n_shared=24, rois_per_fov=60)
    ingest(truth.eids, cache_dir=truth.root)
    TrackingRun.register(SUBJECT)


def ask() -> bool:
    """Ask for curves of two targets, unless they were asked for; return whether it was done now."""
    from pipeline.decoding import NDCSettings
    from schemas.decoding.tables import NDCFamily, NDCParams, NDCTask
    from schemas.session import Session
    from schemas.tracking import SessionSet, TrackingRun

    if SessionSet():
        return False
    session_set = SessionSet.add(sorted(map(str, Session.to_arrays("eid"))), TrackingRun.keys()[0])
    settings = [
        NDCSettings(target=target, ks=(4, 8, 16), r=5, n_label_shuffles=10) for target in ("choice", "stimulus")
    ]
    tasks = [{**session_set, **NDCParams.add(one)} for one in settings]
    NDCTask.insert(tasks)
    NDCFamily.add(tasks)
    return True


def tear_down() -> None:
    from schemas.server import embedded
    from schemas.server.binding import table_modules
    from schemas.server.connection import connect, has_own_server
    from schemas.server.settings import prefix

    how = "" if connect().adapter.backend == "mysql" else "CASCADE"
    for name in ("views", *reversed(table_modules())):
        connect().query(f"DROP SCHEMA IF EXISTS {prefix()}{name} {how}")
    if not has_own_server():
        embedded.stop()


# ------------------------------------------------------------------------------------------------- what there is


def tables() -> list:
    """Return the populated tables, and those in which curves are asked for, with parts, in order of dependencies."""
    from schemas import graph
    from schemas.decoding.tables import NDCFamily, NDCTask
    from schemas.server.binding import auto_populated, table_modules
    from schemas.tracking import SessionSet

    ours = {*auto_populated(), SessionSet, NDCTask, NDCFamily}
    declared = [table for module in table_modules().values() for table, _ in module.schema.declare_list]
    return [one for table in declared if table in ours for one in (table, *graph.parts_of(table))]


def contents() -> dict[str, str]:
    """Return a hash of all values of each table, and of the traces, by name."""
    import schemas

    found = {}
    for table in tables():
        names = [name for name in table.heading.names if name not in NOT_COMPARED]
        rows = table.proj(*(name for name in names if name not in table.primary_key)).to_dicts(order_by="KEY")
        found[table.full_table_name] = digest([[plain(row[name]) for name in names] for row in rows])
    for eid in sorted(map(str, schemas.Activity.to_arrays("eid"))):
        got = schemas.activity(schemas.ROI & {"eid": eid})
        found[eid] = digest([got.keys, plain(got.traces)])
    return found


def plain(value: object) -> object:
    """Return a value as text; an array with its type, shape and bytes."""
    if hasattr(value, "tobytes"):
        return [str(value.dtype), value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    return value


def digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def missing() -> bool:
    from schemas.server.binding import auto_populated
    from schemas.work.jobs import Queue

    return any(Queue(table).is_incomplete() for table in auto_populated())


def jobs() -> Counter:
    """Return the number of jobs of all tables by status."""
    from schemas.work.reports import jobs_by_status

    found: Counter = Counter()
    for (_, status), n in jobs_by_status().items():
        found[str(status)] += n
    return found


def most_deaths() -> int:
    from schemas.work.tables import Attempt

    return max((int(n) for n in Attempt.to_arrays("n_deaths")), default=0)


def clear() -> None:
    """Delete what is populated and asked for, and all jobs."""
    from schemas.rows import jobs_of
    from schemas.server.binding import auto_populated

    for table in auto_populated():
        jobs_of(table).delete_quick()
    for table in reversed(tables()):
        table().delete_quick()


# --------------------------------------------------------------------------------------------------- interruptions


def start(way: str, cache: str) -> subprocess.Popen:
    folder = Path(os.environ["NUMBA_CACHE_DIR"]).parent / cache
    if cache == "cold":
        shutil.rmtree(folder, ignore_errors=True)
    log = (folder.parent / "log").open("wb")
    return subprocess.Popen(
        [sys.executable, *WAYS[way]], cwd=ROOT, env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def interrupted(process: subprocess.Popen, number: signal.Signals) -> tuple[bool, bool]:
    """Send the signal at a random moment; return whether it was sent in time, and whether a job was running then."""
    if random.random() < EARLY:
        delay = random.uniform(0, 5)
    else:
        begin = time.monotonic()
        while process.poll() is None and not jobs()["reserved"] and time.monotonic() - begin < PATIENCE:
            time.sleep(0.05)
        delay = random.uniform(0, WORK)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        n_running = jobs()["reserved"]
        if process.poll() is None:
            to_all = number in (signal.SIGINT, signal.SIGHUP)
            (os.killpg if to_all else os.kill)(process.pid, number)
            return True, bool(n_running)
    return False, False


def ended(process: subprocess.Popen) -> list[str]:
    """Wait for the end of a command, and return the processes that are left of it, and what is wrong with its end."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return [f"did not end within {PATIENCE} s"]
    deadline = time.monotonic() + LINGER
    while (left := of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    log = (Path(os.environ["MESO_DATA_DIR"]) / "log").read_text()
    crashed = [f"crashed: {one.name}" for one in CRASHES if process.returncode == -one or f"signal {one:d};" in log]
    return [*crashed, *(f"left running: {' '.join(one)}" for one in left)]


def of_session(leader: int) -> list[list[str]]:
    """Return the command lines of living processes of a session."""
    found = []
    for one in psutil.process_iter(["pid", "status", "cmdline"]):
        try:
            if os.getsid(one.pid) == leader and one.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(one.info["cmdline"] or [])
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def interrupt(n: int, seed: int) -> int:
    """Interrupt so many runs, compare what they made, and print what was seen; return the exit code."""
    from schemas.server.connection import connect

    random.seed(seed)
    clear()
    problems = run_all()
    undisturbed = contents()
    print(f"{connect().adapter.backend}: {len(undisturbed)} tables and sessions to compare")
    counts: Counter = Counter()
    slowest = 0.0
    clear()
    while counts["interruptions"] < n:
        way, number = random.choice(list(WAYS)), random.choice(SIGNALS)
        cache = "cold" if random.random() < COLD else "warm"
        process = start(way, cache)
        was_sent, was_running = interrupted(process, number) if most_deaths() < 2 else (False, False)
        sent = time.monotonic()
        said = ended(process) if was_sent else ended_well(process)
        took = (time.monotonic() - sent) * was_sent
        slowest = max(slowest, took)
        counts["interruptions"] += was_sent
        counts["while a job was running"] += was_running
        counts.update({number.name: was_sent, way: was_sent, cache: was_sent})
        said += [f"{jobs()['error']} errors"] if jobs()["error"] else []
        problems += [f"{way}, {number.name}, {cache} cache: {text}" for text in said]
        case = f"{counts['interruptions']:3} {way:9} {number.name:8} {cache} {was_sent=} {was_running=} {took:.1f} s"
        print(case, *said, flush=True)
        if said:
            print((Path(os.environ["MESO_DATA_DIR"]) / "log").read_text()[-3000:], flush=True)
        if not missing() and not ask():
            problems += compare(undisturbed)
            counts["compared"] += 1
            clear()
    problems += [*run_all(), *compare(undisturbed)]
    counts["compared"] += 1
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"the slowest ended {slowest:.0f} s after its signal")
    print("\n".join(problems) or "all equal to the undisturbed run; no error, no job and no process left")
    return int(bool(problems))


def run_all() -> list[str]:
    """Run everything that is missing, and then the curves, without interruption; return what is wrong."""
    said = ended_well(start("populate", "warm"))
    return said + (ended_well(start("populate", "warm")) if ask() else [])


def ended_well(process: subprocess.Popen) -> list[str]:
    """Wait for a command that nothing interrupts."""
    code = process.wait(1200)
    return [f"exit code {code}"] if code else []


def compare(undisturbed: dict[str, str]) -> list[str]:
    """Return how the tables, jobs and objects differ from those of an undisturbed run."""
    from schemas.imaging.objects import orphans, remove
    from schemas.imaging.tables import Activity

    found = contents()
    wrong = [name for name in undisturbed.keys() | found.keys() if undisturbed.get(name) != found.get(name)]
    left = [f"{n} jobs {status}" for status, n in jobs().items() if n]
    for orphan in orphans("folder", older_than=0):
        remove(orphan)
    n_objects = len([path for path in (Path(os.environ["MESO_DATA_DIR"]) / "store").rglob("*") if path.is_file()])
    lost = [f"{n_objects} objects for {len(Activity())} FOVs"] if n_objects != len(Activity()) else []
    print(f"    complete: {len(wrong)} differ, {left or 'no job left'}, {n_objects} objects", flush=True)
    return [*(f"{name} differs" for name in wrong), *left, *lost]


# --------------------------------------------------------------------------------------------------- size of a worker


def size_of_worker(n_jobs: int) -> int:
    """Run the whole pipeline in this process again and again, and print its memory."""
    from schemas.server.binding import auto_populated
    from schemas.work.runner import JobRunner
    from schemas.work.states import Status

    done, sizes = 0, {}
    with JobRunner() as runner:
        while done < n_jobs:
            if not done or not ask():
                clear()
            for table in auto_populated():
                outcomes = [outcome for _, outcome in runner.run_all(table)]
                assert all(outcome.status == Status.DONE for outcome in outcomes), outcomes
                done += len(outcomes)
            sizes[done] = psutil.Process().memory_info().rss / 1e6
            print(f"{done} jobs: {sizes[done]:.0f} MB", flush=True)
    at_100 = next(size for number, size in sizes.items() if number >= 100)
    print(f"{sizes[done] - at_100:+.0f} MB from 100 to {done} jobs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
