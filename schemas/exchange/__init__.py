"""Out of the database and back: export, caches of the scripts, verification."""
