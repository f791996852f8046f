"""What several tests need: servers, browsers, sessions to break, databases of former versions."""
