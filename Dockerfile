FROM python:3.13-slim

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# The pipeline needs no right over the system or its own code.
RUN useradd --create-home --uid 1000 meso

WORKDIR /opt/meso
COPY . .
RUN pip install ".[ingest]"

USER meso
WORKDIR /home/meso
ENTRYPOINT ["meso"]
CMD ["--help"]
