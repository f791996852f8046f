"""Figures and terminal tables made from rows of the database, for notebook, command line and web page."""
