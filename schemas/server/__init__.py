"""The database server: settings, connection, SQL dialects, and the binding of table classes to it."""
