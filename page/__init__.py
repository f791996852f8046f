"""The web page of ``meso serve``: shows the content of the database in a browser, read-only."""

import schemas  # noqa: F401  # before DataJoint, whose search for datajoint.json it guards
