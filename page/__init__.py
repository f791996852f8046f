"""The page that ``meso serve`` shows: what is in the database, to look at, for people with a browser."""
