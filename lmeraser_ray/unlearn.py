"""`python -m lmeraser_ray.unlearn`: what a cluster runs. The verb is in `operations/unlearn.py`."""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("unlearn")
