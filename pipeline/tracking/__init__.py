"""Cell UIDs written by cross-day tracking (ROICaT): mirror them from a server, read and check the files."""
