"""What runs the pipeline: the command line ``meso``, ingest, workers, the demo."""
