"""Tables of responses to kinds of trials, and of their stability over days."""
