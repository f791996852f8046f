"""Models of a mouse's choices, and simulated sessions of the task."""
