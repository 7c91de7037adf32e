"""Measure systems side by side in a study; all options of `lmeraser compare`.

    ray job submit --working-dir . -- python jobs/compare.py --study /shared/study \\
        --systems lmeraser,sisa --seeds 0,1,2
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("compare")
