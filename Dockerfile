# Targets: `cpu` (the default), `gpu`, `training`.   docker build --target gpu --tag crossrank:0.1.0-gpu .
#
# BASE may be any glibc image with Python >= 3.11 as `python3` and its `venv` module. Build and final stages
# share it, because a virtual environment links to the interpreter that made it.
ARG BASE=python:3.11-slim-bookworm

# ---- Build: one virtual environment per target, dependencies in a layer below the source ----
FROM ${BASE} AS builder
ENV PIP_CONSTRAINT=/src/.constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY pyproject.toml .constraints.txt ./
# An empty project is enough for pip to resolve the extras: a change of the source then keeps that layer.
RUN mkdir app training && touch README.md LICENSE NOTICE app/__init__.py training/__init__.py

FROM builder AS cpu-builder
# `--build-arg EXTRAS=cpu,torch` adds a runtime to the image.
ARG EXTRAS=cpu
RUN --mount=type=cache,target=/root/.cache/pip pip install ".[${EXTRAS}]"
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps . && pip uninstall --yes pip setuptools

FROM builder AS gpu-builder
# CUDA and cuDNN come as wheels, in the versions that this onnxruntime-gpu itself declares. A CUDA base image is
# no smaller, brings no Python, and its tag would have to be kept in step with the wheel by hand. The host gives
# only the driver: CUDA 13 needs 580 or newer.
RUN --mount=type=cache,target=/root/.cache/pip pip install ".[gpu]" "onnxruntime-gpu[cuda,cudnn]"
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps . && pip uninstall --yes pip setuptools

FROM builder AS training-builder
RUN --mount=type=cache,target=/root/.cache/pip pip install ".[training]"
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip install --no-deps .

# ---- Run: no compiler, no pip cache, an unprivileged user, a read-only root file system ----
FROM ${BASE} AS runtime
# The user has a name for the libraries that ask for it; USER is a number so that Kubernetes can see that it is
# not root. /cache (model downloads) and /tmp are all that is ever written to: mount something there.
RUN groupadd --gid 10001 crossrank \
    && useradd --no-log-init --uid 10001 --gid 10001 --home-dir /cache --create-home --skel /dev/null \
       --shell /usr/sbin/nologin crossrank
# The two *_TELEMETRY switches keep ONNX Runtime (1.29 and newer) and the Hub client from reporting to their makers.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    HF_HOME=/cache/huggingface \
    ORT_DISABLE_TELEMETRY=1 \
    HF_HUB_DISABLE_TELEMETRY=1
WORKDIR /cache
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS server
ENV RERANKER_HOST=0.0.0.0 \
    RERANKER_PORT=8080
EXPOSE 8080
# http.client, not urllib: a proxy in the environment must not be asked for a loopback address.
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['RERANKER_PORT']), timeout=2); c.request('GET', '/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["rerank-server"]

FROM server AS gpu
COPY --from=gpu-builder /opt/venv /opt/venv
# The wheels' libraries lie outside the loader's path, and cuDNN opens some of its own only when it needs them.
USER 0:0
RUN find /opt/venv -type d -path "*/nvidia/*/lib" > /etc/ld.so.conf.d/nvidia-wheels.conf && ldconfig
USER 10001:10001
# Explicit, so that a container without a GPU fails at start in place of serving slowly. The embedded int8 model is
# made for CPUs: serve an fp32 or fp16 graph here.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RERANKER_DEVICE=cuda

FROM runtime AS training
COPY --from=training-builder /opt/venv /opt/venv
WORKDIR /work
ENTRYPOINT ["rerank-training"]

# Last, so that a build that names no target gets the small image.
FROM server AS cpu
COPY --from=cpu-builder /opt/venv /opt/venv
