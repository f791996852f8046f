"""Figures and terminal tables made from rows of the database, for notebook, command line and web page."""

import schemas  # noqa: F401  # before DataJoint, whose search for datajoint.json it guards
