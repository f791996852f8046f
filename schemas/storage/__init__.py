"""Bytes beneath the tables: the column type of arrays, stores of objects, fast reads and inserts."""
