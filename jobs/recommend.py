"""Find which system suits the data: trials of the named systems with Ray Tune on this cluster; all
options of `lmeraser recommend`.

    ray job submit --working-dir . -- python jobs/recommend.py --study /shared/study \\
        --config configs/folder.yaml --person
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("recommend")
