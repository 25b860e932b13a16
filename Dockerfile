# Three targets: `bundle` (the last, so the default) is /opt/srvinit and nothing else, to be copied
# from; `demo` is a server under srvinit; `freeze` builds the bundle. Needs BuildKit, for the cache
# mounts; what Docker 20.10 has built in is enough. The bases are arguments: a mirror's, or your own.
ARG BUILDER=debian:12-slim
ARG DEMO=debian:12-slim

FROM ${BUILDER} AS freeze
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update \
    && apt-get install --yes --no-install-recommends \
        binutils gcc libpython3.11-dev musl-tools python3 python3-venv
WORKDIR /src
# First what changes seldom: PyInstaller and the packages to freeze are a layer of their own.
COPY packaging/freeze.py packaging/linking.py packaging/requirements.txt packaging/
RUN --mount=type=cache,target=/root/.cache/pip python3 packaging/freeze.py --only-venv
COPY LICENSE ./
COPY packaging packaging
COPY srvinit srvinit
RUN python3 packaging/freeze.py --output /opt/srvinit

FROM ${DEMO} AS demo
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    rm -f /etc/apt/apt.conf.d/docker-clean \
    && apt-get update \
    && apt-get install --yes --no-install-recommends python3-uvicorn uvicorn
COPY --from=freeze /opt/srvinit /opt/srvinit
COPY demo/app.py /srv/app.py
WORKDIR /srv
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 8080
ENV PATH=/opt/srvinit:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SRVINIT_BIND=:8080 \
    SRVINIT_WORKER_REQUIRE=listen \
    SRVINIT_WORKER_TIMEOUT=30s \
    SRVINIT_SHUTDOWN_GRACE_PERIOD=10s
LABEL org.opencontainers.image.title="srvinit demo" \
      org.opencontainers.image.description="Four uvicorn workers on one socket, under srvinit" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["/opt/srvinit/srvinit", "--"]
CMD ["uvicorn", "--fd", "3", "--log-level", "warning", "app:app"]

FROM scratch AS bundle
ARG VERSION=
LABEL org.opencontainers.image.title="srvinit" \
      org.opencontainers.image.description="PID 1 that forks, recycles and stops workers on one socket: COPY --from=srvinit /opt/srvinit /opt/srvinit" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
COPY --from=freeze /opt/srvinit /opt/srvinit
# Not root where it is run as it is, to show its version, say.
USER 65532:65532
ENTRYPOINT ["/opt/srvinit/srvinit"]
