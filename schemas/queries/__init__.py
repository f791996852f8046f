"""Queries that the notebook, the command line and the web page share.

``ids`` finds the session that a user names, ``sessions`` lists sessions and their trial events, ``tracking`` finds a
tracking run and the FOVs it leaves out, ``cells`` returns which tracked cells are in which sessions, ``errors`` the
errors of failed jobs. Stored curves are read by ``schemas.decoding.results``. The number of SQL statements of each
function is stated in its docstring, does not grow with the number of sessions, cells or curves, and is tested in
``tests/schemas/test_queries.py``. The first call in a process takes more, as DataJoint reads the definitions of the
tables.
"""
