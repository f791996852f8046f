"""How work is run: the command line ``meso``, ingest, the demo, set-up of the database."""
