"""`python -m lmeraser_ray.train`: what a cluster runs. The verb is in `operations/train.py`."""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("train")
