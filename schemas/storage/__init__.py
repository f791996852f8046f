"""How the bytes of the tables are stored: the column type of arrays, stores of objects, fast reads and inserts."""
