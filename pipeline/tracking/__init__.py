"""Cell UIDs that tracking writes: mirrored from a server, and read from files."""
