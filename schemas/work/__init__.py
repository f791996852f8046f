"""Populating the tables: jobs, workers and their heartbeats, and reports on them."""
