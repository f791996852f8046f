"""The database server: which one, the connection, and what ties the tables to it."""
