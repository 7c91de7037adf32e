"""`python -m lmeraser_ray.sweep`: what a cluster runs. The verb is in `study/sweep.py`."""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("sweep")
