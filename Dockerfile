FROM python:3.13-slim

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# The pipeline needs no right over the system or its own code.
RUN useradd --create-home --uid 1000 meso

WORKDIR /opt/meso
COPY . .
RUN pip install ".[ingest,s3,sftp]"

# docker build --build-arg MESO_COMMIT=$(git rev-parse HEAD): results name the code that made them.
ARG MESO_COMMIT=
ENV MESO_COMMIT=$MESO_COMMIT

USER meso
WORKDIR /home/meso
ENTRYPOINT ["meso"]
CMD ["--help"]
