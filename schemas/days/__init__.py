"""One embedding of the cells that several sessions share: tables, and calls that fill them."""
