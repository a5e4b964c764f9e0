#   docker build --target worker-cpu .                                     the worker with the embedded ComfyUI
#   docker build .                                                         the worker with ComfyUI for NVIDIA GPUs
#   docker build --target worker-models --build-arg MODELS=flux1-schnell . that with models in it
#
# Base images and sources are arguments, so that mirrors and other versions work: docs/customize.md.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:593bd06efe90efa80dc4eee3948be7c0fde4134606dd40d8dd8dbcade98e669c
# "base" has the CUDA runtime alone. The mathematical libraries come with torch; "runtime" would bring them twice.
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-base-ubuntu24.04@sha256:133c78a0575303be34164d0b90137a042172bdf60696af01a3c424ab402d86e2
ARG COMFYUI_VERSION=0.26.0


# --- the worker's own Python environment: no torch in it, ever ---

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS cpu-base
# The distribution's release, given by the base image, pins these packages.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

FROM cpu-base AS cpu-python
COPY image/install-worker image/requirements/worker.txt /image/
RUN --mount=type=cache,target=/root/.cache/pip /image/install-worker /opt/worker


# --- worker-cpu: the embedded ComfyUI, for laptops, compose and tests ---

FROM cpu-base AS worker-cpu
COPY --from=cpu-python /opt/worker /opt/worker
COPY image/start /app/image/start
COPY handler.py test_input.json /app/
COPY src /app/src
# The SDK's own default, DEBUG, writes whole results and credentials of jobs into the log.
ENV COMFYUI_PATH=/app/src/local_comfyui \
    COMFY_ARGS="--base-directory /comfyui" \
    PYTHONUNBUFFERED=1 \
    RUNPOD_LOG_LEVEL=INFO
WORKDIR /app
# 8000: the local endpoint (python -m local_runpod). 8188: ComfyUI, on the loopback interface only.
EXPOSE 8000 8188
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/worker/bin/python", "-m", "comfy_worker", "healthy"]
# tini hands SIGTERM to the worker and collects orphans. The start is in CMD, which RunPod's Hub runs without it.
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/app/image/start"]
LABEL org.opencontainers.image.title="comfyui-serverless-worker (CPU, embedded ComfyUI)" \
      org.opencontainers.image.description="Run ComfyUI workflows as a serverless API on RunPod"


# --- ComfyUI with torch, in an environment of its own ---

# hadolint ignore=DL3006
FROM ${CUDA_IMAGE} AS cuda-base
# git and gcc stay in the image: custom nodes are cloned, and Triton compiles at run time.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates gcc git libc6-dev libgl1 libglib2.0-0 python3 python3-dev python3-venv tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

FROM cuda-base AS cuda-python
COPY image/install-worker image/requirements/worker.txt /image/
RUN --mount=type=cache,target=/root/.cache/pip /image/install-worker /opt/worker

FROM cuda-base AS comfyui
# From what changes least to what changes most: torch is the largest layer by far.
COPY image/install-comfyui /image/
COPY image/requirements/torch.txt /image/requirements/
ARG TORCH=""
ARG TORCH_INDEX_URL=""
RUN --mount=type=cache,target=/root/.cache/pip /image/install-comfyui /comfyui torch
COPY image/requirements/comfyui.txt /image/requirements/
RUN --mount=type=cache,target=/root/.cache/pip /image/install-comfyui /comfyui packages
ARG COMFYUI_REPOSITORY=https://github.com/comfyanonymous/ComfyUI.git
ARG COMFYUI_VERSION
ARG COMFYUI_COMMIT=f6c162ddcfbd7eefb39c06fe5b8d4c46e8d09f40
RUN --mount=type=cache,target=/root/.cache/pip /image/install-comfyui /comfyui source
# Custom nodes: the snapshot's, then those in image/custom_nodes. A node that cannot be imported stops the build.
COPY image/comfy_image /image/comfy_image
COPY image/comfy-node-install /usr/local/bin/
COPY image/custom_nodes /image/custom_nodes
COPY snapshot.json /image/
RUN --mount=type=cache,target=/root/.cache/pip comfy-node-install --snapshot /image/snapshot.json --own /image/custom_nodes


# --- worker: the production image; models come from a network volume or from RunPod's cache ---

FROM comfyui AS worker
COPY --from=cuda-python /opt/worker /opt/worker
COPY image/start /app/image/start
COPY handler.py test_input.json /app/
COPY src /app/src
ENV COMFYUI_PATH=/comfyui \
    PYTHONUNBUFFERED=1 \
    RUNPOD_LOG_LEVEL=INFO
WORKDIR /app
EXPOSE 8000 8188
HEALTHCHECK --interval=30s --timeout=5s --start-period=300s CMD ["/opt/worker/bin/python", "-m", "comfy_worker", "healthy"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/app/image/start"]
ARG COMFYUI_VERSION
LABEL org.opencontainers.image.title="comfyui-serverless-worker" \
      org.opencontainers.image.description="Run ComfyUI workflows as a serverless API on RunPod" \
      comfyui.version="${COMFYUI_VERSION}"


# --- worker-models: worker, with the models of one or more manifests in image/models ---

FROM cpu-base AS models
# Nothing else from here, or a change to it would download the models again.
COPY image/comfy_image/__init__.py image/comfy_image/fetch.py /image/comfy_image/
COPY image/models /image/models
ARG MODELS=""
# Partial downloads stay in the cache, so that a build that was cut off goes on where it stopped.
RUN --mount=type=cache,target=/var/cache/models --mount=type=secret,id=hf_token \
    PYTHONPATH=/image python3 -m comfy_image.fetch --partial /var/cache/models --manifests /image/models /models ${MODELS}

FROM worker AS worker-models
COPY --from=models /models /comfyui/models


# --- what a build without a target makes, RunPod's GitHub and Hub builds among them ---

FROM worker
