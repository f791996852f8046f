"""FOVs, ROIs and activity: their tables, and the writing and reading of traces."""
