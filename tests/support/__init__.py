"""Helpers that several tests share: servers, browsers, sessions to break, databases of earlier versions."""
