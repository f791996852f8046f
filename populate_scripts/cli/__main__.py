"""``python -m populate_scripts.cli`` is ``meso``."""

from populate_scripts.cli import main

main()
