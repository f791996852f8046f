"""The web page of ``meso serve``: shows the content of the database in a browser, read-only."""
