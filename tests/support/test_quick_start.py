"""Commands that are forked from a process with the libraries behave like commands that Python starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import quick_start

ROOT = Path(__file__).parents[2]
SHOW = """
import json, os, signal, sys, threading
print(json.dumps([sys.argv, sys.path, dict(os.environ), os.getcwd(), sys.stdin.read(), sys.flags, sys.warnoptions,
                  __name__, threading.active_count(), str(signal.getsignal(signal.SIGTERM)), sys.stdout.isatty()]))
print(sorted({"datajoint", "populate_scripts", "schemas"} & set(sys.modules)), file=sys.stderr)
"""
#: What each command can read.
GIVEN = "one\ntwö\n"
ENDS = {
    "well": "print('ü')",
    "with a status": "import sys; sys.exit(7)",
    "with a message": "import sys; sys.exit('no')",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "with what was to be done at the end": "import atexit; atexit.register(print, 'end')",
    "after its threads": "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print(1))).start()",
    "after a question": "import sys; print(input('? ')); print([sys.stdin.read()])",
    "with a number that is no status": "import sys; sys.exit(259)",
}

WORKER = """
import multiprocessing, os, sys
import psutil

def slot(pipe):
    imported = sorted({"datajoint", "made_before", "schemas"} & set(sys.modules))
    pipe.send([os.environ["MADE_UP"], os.getcwd(), sys.argv, imported, psutil.Process(os.getppid()).ppid()])

if __name__ == "__main__":
    import pipeline.errors
    os.environ["MADE_UP"] = "2"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["made_before"])
    ours, theirs = context.Pipe()
    for _ in range(2):
        process = context.Process(target=slot, args=(theirs,))
        process.start()
        *found, parent = ours.recv()
        process.join()
        print(found, parent == os.getpid(), process.exitcode)
"""


def both(*arguments: str, cwd: Path = ROOT, **variables: str) -> list[tuple[int, str, str]]:
    """Return exit status and output of a command when Python starts it, and when it is forked."""
    place = {"env": {**os.environ, **variables}, "cwd": cwd, "timeout": 60}
    line = [sys.executable, *arguments]
    plain = subprocess.run(line, capture_output=True, text=True, input=GIVEN, **place)
    forked = quick_start.run(arguments, **place, given=GIVEN)
    return [(done.returncode, done.stdout, done.stderr) for done in (plain, forked)]


@pytest.mark.parametrize("how", ["-c", "-m", "file"])
def test_a_forked_command_finds_what_a_started_one_finds(tmp_path, how):
    (tmp_path / "show.py").write_text(SHOW)
    arguments = {"-c": ["-c", SHOW], "-m": ["-m", "show"], "file": [str(tmp_path / "show.py")]}[how]
    plain, forked = both(*arguments, "a", "b c", cwd=tmp_path, PYTHONPATH=str(ROOT / "docs"), MADE_UP="1")
    assert plain == forked
    assert plain[0] == 0 and plain[2] == "[]\n"


@pytest.mark.parametrize("how", ENDS)
def test_a_forked_command_ends_like_a_started_one(how):
    plain, forked = both("-c", ENDS[how])
    assert plain == forked


def test_slots_of_a_forked_worker_are_those_of_a_started_one(tmp_path):
    """Their fork server is a child of the worker; it has imported what it was asked to, and no tables of ours."""
    (tmp_path / "slots.py").write_text(WORKER)
    (tmp_path / "made_before.py").write_text("")
    plain, forked = both("-m", "slots", "worker", cwd=tmp_path, PYTHONPATH=str(ROOT), MADE_UP="1")
    line = f"{['2', str(tmp_path), [str(tmp_path / 'slots.py'), 'worker'], ['made_before']]} True 0\n"
    assert plain == forked == (0, 2 * line, "")


@pytest.mark.slow
def test_commands_of_meso_have_their_own_variables_whichever_server_forks_them(tmp_path):
    """The second with the same variables is forked from a server that has these, of which there are a few at a time."""
    names = ["Meso-", "1meso", "m!", "-", "Meso-"]
    for name in names:
        place = {"env": {**os.environ, "MESO_PREFIX": name}, "cwd": tmp_path, "timeout": 60}
        place["env"]["PYTHONPATH"] = str(ROOT)
        runs = [quick_start.run(["-m", "populate_scripts.cli", "status"], **place) for _ in range(3)]
        assert {run.returncode for run in runs} == {1}
        (said,) = {run.stderr for run in runs}
        assert said.startswith(f"Error: MESO_PREFIX={name!r}: use lower-case letters"), said
    assert 0 < len(quick_start._servers) <= quick_start.MAX_SERVERS < len(set(names))
    plain = subprocess.run(
        [sys.executable, "-m", "populate_scripts.cli", "status"], capture_output=True, text=True, **place
    )
    assert (plain.returncode, plain.stdout, plain.stderr) == (1, runs[2].stdout, runs[2].stderr)


def test_an_error_is_reported(tmp_path):
    plain, forked = both("-c", "1 / 0")
    assert plain[0] == forked[0] == 1
    assert plain[2].splitlines()[-1] == forked[2].splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_process_is_watched_and_ended_like_a_started_one(tmp_path):
    code = "import os, time; print(os.getsid(0) == os.getpid(), flush=True); open('began', 'w'); time.sleep(60)"
    for number in (signal.SIGTERM, signal.SIGKILL):
        (tmp_path / "began").unlink(missing_ok=True)
        process = quick_start.Process(["-c", code], env=os.environ, cwd=tmp_path)
        while not (tmp_path / "began").exists():
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.send_signal(number)
        assert process.communicate(60)[0] == "True\n"
        assert process.poll() == process.wait() == process.returncode == -number
        process.kill()  # it is gone: nothing is killed


@pytest.mark.slow
def test_a_command_that_takes_too_long_is_killed(tmp_path):
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(subprocess.TimeoutExpired):
        quick_start.run(["-c", code], env=os.environ, cwd=tmp_path, timeout=3)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):  # the killed process may take a moment to end
        if quick_start.run(["-c", f"import os; os.kill({pid}, 0)"], env=os.environ, cwd=ROOT, timeout=60).returncode:
            return
    raise AssertionError("it still runs")
