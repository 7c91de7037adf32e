"""Work off erasure requests: `serve` until the job is stopped, `run` until none is left; all
options of `lmeraser queue`.

    ray job submit --working-dir . -- python jobs/erasure_queue.py serve \\
        --workspace s3://bucket/prefix
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("queue")
