"""Exporting sessions, importing caches of the old scripts, and verifying stored arrays."""
