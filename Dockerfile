FROM python:3.13-slim

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# An unprivileged user: the pipeline needs to change neither the system nor its own code.
RUN useradd --create-home --uid 1000 meso

WORKDIR /opt/meso
COPY . .
# PyQt5 (GPL, 200 MB) comes with ibllib; nothing here imports it. What the image contains: docs/operation/docker.md
RUN pip install ".[ingest,s3,sftp]" && pip uninstall --yes PyQt5 PyQt5-Qt5 PyQt5-sip

# docker build --build-arg MESO_COMMIT=$(git rev-parse HEAD): results record the commit of the code that computed them.
ARG MESO_COMMIT=
ENV MESO_COMMIT=$MESO_COMMIT

USER meso
WORKDIR /home/meso
ENTRYPOINT ["meso"]
CMD ["--help"]
