"""The command line ``meso``. Heavy imports wait until a command runs: ``meso --help`` is quick."""

from populate_scripts.cli import curves, database, exchange, figures, labels, responses, work
from populate_scripts.cli.group import main

__all__ = ["curves", "database", "exchange", "figures", "labels", "main", "responses", "work"]

main.arrange()  # importing the modules above has defined all commands
