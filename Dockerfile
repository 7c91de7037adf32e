# The environment of every node of the cluster: Ray's own image, the versions of constraints.txt, this package.
#
#   docker build --tag lmeraser-ray:0.8.0 .
#   docker build --tag lmeraser-ray:0.8.0-gpu --build-arg VARIANT=-gpu .
#
# torch comes with its own CUDA libraries, so both see GPUs where the node's driver is given to the container; Ray's -gpu has CUDA's tools too.
# DIGEST, which `make images` prints, is Ray's image for ever, whatever the registry has under the tag: --build-arg DIGEST=@sha256:…
ARG VARIANT=
ARG DIGEST=
FROM rayproject/ray:2.60.0-py311${VARIANT}${DIGEST}

WORKDIR /home/ray/lmeraser
COPY --chown=ray:users constraints.txt pyproject.toml README.md ./
COPY --chown=ray:users lmeraser_ray lmeraser_ray
COPY --chown=ray:users configs configs
RUN python -m pip install --no-cache-dir --require-hashes --requirement constraints.txt \
    && python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
    && rm -r lmeraser_ray \
    && lmeraser --version

# As a number, so that Kubernetes can see that it is not root.
USER 1000:100
