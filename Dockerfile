# One image per service, for any builder and any base that has Python 3.11 or newer with venv:
#   docker build --build-arg SERVICE=imap_gateway --tag mailboat/imap-gateway:0.1.0 .
# make images builds all five. SERVICE: smtp_ingress, imap_gateway, pop3_gateway, storage_api or delivery_worker.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG SERVICE
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
COPY libs libs
COPY services services
COPY tools/mailboatctl tools/mailboatctl
COPY tools/image tools/image
RUN ["/bin/sh", "-c", "exec python3 tools/image/install.py \"$SERVICE\" /opt/mailboat"]

FROM ${BASE_IMAGE}
ARG SERVICE
LABEL org.opencontainers.image.title="mailboat ${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/mailboat /opt/mailboat
# Nothing is written: the root may be read-only. Logs are JSON lines on stderr, at once.
ENV PATH=/opt/mailboat/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/mailboat/pycache \
    PYTHONUNBUFFERED=1
WORKDIR /
USER 10001:10001
ENTRYPOINT ["/opt/mailboat/bin/mailboat-service"]
