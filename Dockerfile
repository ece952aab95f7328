# The course in a container: CPU build of torch, an ordinary user, Jupyter's token left on.
#   docker build -t lfi . && docker run --rm -p 127.0.0.1:8888:8888 lfi
# With an NVIDIA GPU: docker build -t lfi --build-arg TORCH_INDEX= . && docker run --gpus all ...
ARG PYTHON=3.11
FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN useradd --create-home --uid 1000 learner \
 && install --directory --owner=learner --group=learner /course /opt/venv
USER 1000
WORKDIR /course
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The libraries come before the course: a changed notebook does not install torch again.
COPY --chown=learner pyproject.toml constraints.txt ./
RUN python -m venv /opt/venv \
 && pip install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} -c constraints.txt torch \
 && python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); q = p["project"]; \
      print(*p["build-system"]["requires"], *q["dependencies"], sep="\n"); \
      print(*q["optional-dependencies"]["notebooks"], sep="\n")' \
  | pip install -c constraints.txt -r /dev/stdin

COPY --chown=learner . .
RUN pip install --no-deps --no-build-isolation -e .

EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8888/api')"]
ENTRYPOINT ["/course/binder/start"]
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
