"""From rows of the database to figures and tables on screen, for notebook, command line and page."""
