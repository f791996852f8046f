"""A small ONE repository with a planted truth."""
