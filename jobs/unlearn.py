"""Erase records or people from a workspace: submit the request and wait for its certificate; all
options of `lmeraser unlearn`.

    ray job submit --working-dir . -- python jobs/unlearn.py --workspace s3://bucket/prefix \\
        --subjects_file /shared/letter-118
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("unlearn")
