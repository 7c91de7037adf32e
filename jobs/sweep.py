"""Find which threshold to train with: a Ray Tune sweep on this cluster; all options of `lmeraser
sweep`.

    ray job submit --working-dir . -- python jobs/sweep.py --study /shared/study \\
        --config configs/folder.yaml --thresholds 5:40:8
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("sweep")
