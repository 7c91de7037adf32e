"""Train a workspace on the cluster that this job is sent to; all options of `lmeraser train`.

    ray job submit --working-dir . -- python jobs/train.py --workspace s3://bucket/prefix \\
        --config configs/folder.yaml
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("train")
