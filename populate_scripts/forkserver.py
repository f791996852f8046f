"""Set-up of the fork server, the process that slots are forked from: it has everything imported and ignores SIGTERM.

SLURM sends SIGTERM to every process of a step. The slots then give back their jobs, and the fork server must live until
they have: the kernel kills them with it. It dies with the supervisor itself; without that it would outlive a killed
supervisor for as long as a slot runs.
"""

import signal

from populate_scripts.worker import die_with_parent

die_with_parent()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
