"""What becomes of sessions later: they are deleted, or read again because their files have changed."""
