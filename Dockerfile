# The environment of every node of the cluster: Ray's own image, the versions of constraints.txt, this package.
#
#   docker build --tag lmeraser-ray:0.5.0 .
#   docker build --tag lmeraser-ray:0.5.0-gpu --build-arg VARIANT=-gpu .
#
# torch comes with its own CUDA libraries, so both see GPUs where the node's driver is given to the container; Ray's -gpu has CUDA's tools too.
ARG VARIANT=
FROM rayproject/ray:2.60.0-py311${VARIANT}

WORKDIR /home/ray/lmeraser
COPY --chown=ray:users constraints.txt pyproject.toml README.md ./
COPY --chown=ray:users lmeraser_ray lmeraser_ray
COPY --chown=ray:users configs configs
RUN python -m pip install --no-cache-dir --constraint constraints.txt . \
    && rm -r lmeraser_ray \
    && lmeraser --version

# As a number, so that Kubernetes can see that it is not root.
USER 1000:100
