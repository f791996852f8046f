"""Caches of the scripts that this project replaces, read without unpickling."""
