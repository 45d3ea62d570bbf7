# syntax=docker/dockerfile:1
# The service in a container; docs/deploy.md says how to build and run it.
#     docker build -t sigrl-tagger .                                  PyTorch on the CPU
#     docker build -t sigrl-tagger:onnx --build-arg TARGET=onnx .     OpenVINO and ONNX Runtime, no PyTorch
#     docker build -t sigrl-tagger:gpu --build-arg TARGET=gpu .       PyTorch with CUDA
ARG BASE=python:3.11-slim-bookworm
ARG TARGET=cpu

# Packages are installed from outside into /opt/sigrl, so that no image needs pip.
FROM ${BASE} AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/sigrl
WORKDIR /src
COPY deploy/locks/build.txt deploy/locks/
# A pip.conf of your own, where the registry is reached through a mirror: --secret id=pip,src=pip.conf
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip install --require-hashes --no-deps -r deploy/locks/build.txt

# /opt/app: our three packages and the bundled checkpoint. A change of code changes nothing below it.
FROM builder AS project
COPY pyproject.toml README.md LICENSE ./
COPY sigrl sigrl
COPY model model
COPY service service
COPY training training
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/sigrl/bin/python install --no-index --no-deps --target /opt/app /wheels/*

FROM builder AS packages-cpu
# The registry's own wheels of PyTorch bring several GB of CUDA along; an empty value takes them all the same.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY deploy/locks/torch.txt deploy/locks/cpu.txt deploy/locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/sigrl/bin/python install --no-deps \
        ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} -r deploy/locks/torch.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/sigrl/bin/python install --require-hashes --no-deps -r deploy/locks/cpu.txt
COPY deploy/slim.sh deploy/
RUN deploy/slim.sh /opt/sigrl && rm -r /opt/sigrl/lib/python3*/site-packages/torch/include

FROM builder AS packages-gpu
COPY deploy/locks/gpu.txt deploy/locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/sigrl/bin/python install --require-hashes --no-deps -r deploy/locks/gpu.txt
COPY deploy/slim.sh deploy/
RUN deploy/slim.sh /opt/sigrl

FROM builder AS packages-onnx
COPY deploy/locks/onnx.txt deploy/locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/sigrl/bin/python install --require-hashes --no-deps -r deploy/locks/onnx.txt
COPY deploy/slim.sh deploy/
RUN deploy/slim.sh /opt/sigrl

# The bundled checkpoint has no ONNX graphs: they are made here, where PyTorch is, and verified against it.
FROM packages-cpu AS exported
COPY deploy/locks/export.txt deploy/locks/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/sigrl/bin/python install --require-hashes --no-deps -r deploy/locks/export.txt
COPY --from=project /opt/app /opt/app
RUN /opt/app/bin/sigrl-train export /opt/app/sigrl/model/bundled -o /opt/exported \
    && rm -r /opt/app/sigrl/model/bundled /opt/app/bin/sigrl-train \
    && mv /opt/exported /opt/app/sigrl/model/bundled

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="SigRL Tagger" \
      org.opencontainers.image.description="Photographs and labels in your own words in, tags with probabilities out" \
      org.opencontainers.image.licenses="Apache-2.0"
# A number, as Kubernetes wants to see that it is not root's.
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin sigrl \
    && install --directory --owner=sigrl --group=sigrl --mode=0700 /data
ENV PATH=/opt/app/bin:/opt/sigrl/bin:$PATH PYTHONUNBUFFERED=1 SIGRL_DATA=/data
WORKDIR /data
VOLUME /data
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
# Ready, and not only alive: a proxy that heeds it sends no request to a model that does not answer.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/readyz' % os.getenv('SIGRL_PORT', '8000'), timeout=4)"]
ENTRYPOINT ["sigrl"]
CMD ["serve", "--host", "0.0.0.0"]

FROM runtime AS gpu
# Triton compiles the launcher of each kernel on its first use.
USER root
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY --from=packages-gpu /opt/sigrl /opt/sigrl
COPY --from=project /opt/app /opt/app

FROM runtime AS onnx
COPY --from=packages-onnx /opt/sigrl /opt/sigrl
COPY --from=exported /opt/app /opt/app

FROM runtime AS cpu
COPY --from=packages-cpu /opt/sigrl /opt/sigrl
COPY --from=project /opt/app /opt/app

FROM ${TARGET}
