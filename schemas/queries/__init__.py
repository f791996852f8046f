"""What notebook, command line and page all ask, once."""
