"""Settings, each declared once: what it may be, its words, its column. Imports nothing that takes time."""
