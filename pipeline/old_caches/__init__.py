"""Read the pickled caches of the scripts that this project replaces, without unpickling them."""
