"""Settings, each declared once: allowed values, help, option, column. Importing it takes no time."""
