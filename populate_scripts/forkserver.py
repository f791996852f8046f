"""Set-up of the fork server, the process that slots are forked from: it has everything imported and ignores signals.

SLURM sends SIGTERM to every process of a step, and a terminal that is closed SIGHUP. The slots then give back their
jobs, and the fork server must live until they have: the kernel kills them with it. It dies with the supervisor itself;
without that it would outlive a killed supervisor for as long as a slot runs.
"""

import signal

from populate_scripts.worker import die_with_parent

die_with_parent()
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
