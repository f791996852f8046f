"""FOVs, ROIs and activity: the tables, and how traces go in and out."""
