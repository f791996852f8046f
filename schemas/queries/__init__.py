"""Questions to the database that notebook, command line and page all ask: each stands here once.

``sessions`` lists sessions and their trial events, ``tracking`` finds a tracking run and the FOVs it leaves out,
``cells`` says which tracked cells are in which sessions, ``errors`` why entries failed. Stored curves are in
``schemas.decoding.results``. Every question takes a number of statements that does not grow with what is asked about;
``tests/schemas/test_queries.py`` has the numbers.
"""
