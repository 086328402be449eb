# Halflight's images. Targets: `cpu` (the default, last) and `gpu`.
#
#   docker build -t halflight:cpu .
#   docker build -t halflight:gpu --target gpu .
#
# The image serves the built-in bundle. --build-arg BUNDLE=reference serves the reference bundle, whose
# weights the build then downloads. Two named contexts keep a build off the network; both are empty
# unless given:
#   --build-context weights=DIR   the reference bundle's weights, instead of downloading them
#   --build-context wheels=DIR    Python wheels (the lock's hashes still decide)
# A private package index: --build-arg PIP_INDEX_URL=..., or with a password in it
# --secret id=pip_conf,src=FILE. A proxy's own certificate: --secret id=ca_bundle,src=FILE.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG BUNDLE=halflight-2

FROM scratch AS weights
FROM scratch AS wheels

# ---- what every builder shares: pip in a directory of its own, never in an image that runs
FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/venv
# `pip-locked` installs from a lock with hashes, wheels only: nothing is compiled here.
COPY --chmod=0755 deploy/pip_locked.sh /usr/local/bin/pip-locked

# ---- dependencies, one stage for each of the two locks
FROM builder AS dependencies-cpu
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=bind,source=requirements/cpu.lock,target=/build/cpu.lock \
    --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    pip-locked /opt/venv/bin/python cpu.lock

FROM builder AS dependencies-gpu
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=bind,source=requirements/gpu.lock,target=/build/gpu.lock \
    --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    pip-locked /opt/venv/bin/python gpu.lock

# ---- what builds the project has no place where it runs
FROM dependencies-cpu AS environment-cpu
ARG VERSION=0.6.0
RUN --mount=type=bind,source=deploy/sbom.py,target=/build/sbom.py \
    /tools/bin/pip --python /opt/venv/bin/python uninstall --yes setuptools \
    && /opt/venv/bin/python /build/sbom.py --version "${VERSION}" --to /opt/venv/share/halflight

FROM dependencies-gpu AS environment-gpu
ARG VERSION=0.6.0
RUN --mount=type=bind,source=deploy/sbom.py,target=/build/sbom.py \
    /tools/bin/pip --python /opt/venv/bin/python uninstall --yes setuptools \
    && /opt/venv/bin/python /build/sbom.py --version "${VERSION}" --to /opt/venv/share/halflight

# ---- the project itself, apart from its dependencies: a small layer that changes often
FROM dependencies-cpu AS application
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY faces faces
COPY service service
COPY training training
COPY export export
RUN /tools/bin/pip --python /opt/venv/bin/python wheel --no-deps --no-build-isolation --no-index \
        --wheel-dir /build/wheel . \
    && /tools/bin/pip --python /opt/venv/bin/python install --no-deps --no-index \
        --target /opt/app /build/wheel/*.whl

# ---- the model bundle, one stage for each: the one that comes with the project, and the reference,
# ---- provisioned by the service's own command and verified by its digests
FROM scratch AS bundle-halflight-2
COPY models/halflight-2 /opt/halflight/bundles/halflight-2

FROM dependencies-cpu AS bundle-reference
ENV PYTHONPATH=/opt/app PATH=/opt/app/bin:/opt/venv/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 HALFLIGHT_CACHE=/opt/halflight
COPY --from=application /opt/app /opt/app
RUN --mount=type=bind,from=weights,target=/weights \
    --mount=type=secret,id=ca_bundle,target=/run/secrets/ca_bundle \
    if [ -n "$(ls -A /weights)" ]; then export HALFLIGHT_MODEL_DIR=/weights; fi; \
    if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi; \
    halflight models pull \
    && rm -rf /opt/halflight/models \
    && chmod -R a+rX,go-w /opt/halflight

# A stage of this file, not an image that could have a tag.
# hadolint ignore=DL3006
FROM bundle-${BUNDLE} AS bundle

# ---- what runs: no compiler, no pip in the environment, no torch, no root
FROM ${PYTHON_IMAGE} AS runtime
ARG BUNDLE
ARG VERSION=0.6.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="Halflight" \
      org.opencontainers.image.description="Matches masked near-infrared faces against visible-light enrolment photos" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/halflight/halflight" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
RUN groupadd --gid 10001 halflight \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin halflight \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
# ONNX Runtime's wheels report to their maker unless told not to before they are imported.
ENV PATH=/opt/app/bin:/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    HALFLIGHT_CACHE=/opt/halflight \
    HALFLIGHT_BUNDLE_DIR=/opt/halflight/bundles/${BUNDLE}
WORKDIR /data
EXPOSE 8000
# Ready means: the space is loaded, warmed on its real provider, and the index has caught up.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('HALFLIGHT_PORT') or 8000}/health/ready\", timeout=4)"]
ENTRYPOINT ["halflight"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--data", "/data"]

FROM runtime AS gpu
COPY --from=environment-gpu /opt/venv /opt/venv
COPY --from=bundle /opt/halflight /opt/halflight
COPY --from=application /opt/app /opt/app
# The CUDA and cuDNN libraries come as wheels: the loader must be told where they lie. A GPU that
# does not load is an error and never a silent run on the CPU.
ENV LD_LIBRARY_PATH=/opt/venv/lib/python3.11/site-packages/nvidia/cu13/lib:/opt/venv/lib/python3.11/site-packages/nvidia/cudnn/lib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HALFLIGHT_PROVIDERS='["CUDAExecutionProvider"]' \
    HALFLIGHT_ALLOW_FALLBACK=false
USER 10001:10001

FROM runtime AS cpu
COPY --from=environment-cpu /opt/venv /opt/venv
COPY --from=bundle /opt/halflight /opt/halflight
COPY --from=application /opt/app /opt/app
USER 10001:10001
