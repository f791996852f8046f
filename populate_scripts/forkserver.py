"""What the process is like that slots are forked from: everything is imported, and SIGTERM does not end it.

SLURM sends SIGTERM to every process of a step. The slots stop by themselves, and need the process that they were forked
from for that: they die with it, and it dies with the supervisor. (By itself it would live as long as a slot does.)
"""

import signal

from populate_scripts.worker import die_with_parent

die_with_parent()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
