"""Arrays as bytes, and their places in object stores."""
