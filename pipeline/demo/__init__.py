"""Generate a small ONE repository with known effects planted in its data, for the demo and the tests."""
