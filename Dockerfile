# JupyterLab with the published runs: for Binder, which takes this file, and for Docker.
#   docker build -t skinlesion . && docker run --rm -p 8888:8888 skinlesion
# Notebooks 00, 04 (with study = "paper_lesion") and 06 need no image and no torch, nor does `make verify PYTHON=python`:
# so torch, most of the download, is left out. To train as well:
#   docker build --target everything -t skinlesion . && docker run --rm -it -v <folder>:/data skinlesion bash
#   make report PYTHON=python STUDY=quick DATA=/data
# Untried as a whole: no Docker daemon was at hand. Its commands were run by hand, in a fresh environment and as far as
# no root is needed, and in that environment notebooks 00, 04 and 06 and `make verify`.
FROM python:3.12-slim AS base
RUN apt-get update && apt-get install --yes --no-install-recommends gcc git libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
ARG NB_USER=jovyan
ARG NB_UID=1000
RUN adduser --disabled-password --gecos "" --uid ${NB_UID} ${NB_USER}
ENV USER=${NB_USER} HOME=/home/${NB_USER}
WORKDIR ${HOME}/study
RUN chown ${NB_UID} .
USER ${NB_USER}
RUN python -m venv ${HOME}/environment
ENV PATH=${HOME}/environment/bin:${PATH} PYTHONPATH=${HOME}/study/lib
COPY --chown=${NB_UID} requirements.lock ./
# Binder asks for the package `notebook`.
RUN pip install --no-cache-dir "$(grep -o '^uv==[^ ]*' requirements.lock)" \
    && awk '/^[a-z]/ {left = /^(torch|torchvision|torchmetrics|triton|nvidia-|cuda-|grad-cam|ttach|playwright|greenlet|pyee)/} !left' \
       requirements.lock > /tmp/without-torch.lock \
    && uv pip sync --no-cache --compile-bytecode --python ${HOME}/environment/bin/python /tmp/without-torch.lock \
    && uv pip install --no-cache --python ${HOME}/environment/bin/python "notebook>=7,<8"
COPY --chown=${NB_UID} CHANGELOG.md CITATION.cff LICENSE Makefile README.md pyproject.toml ./
COPY --chown=${NB_UID} lib lib
COPY --chown=${NB_UID} notebooks notebooks
COPY --chown=${NB_UID} parameters parameters
COPY --chown=${NB_UID} reports reports
RUN uv pip install --no-cache --python ${HOME}/environment/bin/python --no-deps --editable .
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "--notebook-dir=notebooks"]

FROM base AS everything
COPY --chown=${NB_UID} tests tests
RUN uv pip install --no-cache --python ${HOME}/environment/bin/python --requirement requirements.lock

# What is built where no target is named.
FROM base
