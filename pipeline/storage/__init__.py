"""Arrays as bytes, and where in a store they lie."""
