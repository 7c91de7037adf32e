"""Check a workspace, and with --rebuild train it again and compare every byte; all options of
`lmeraser verify`.

    ray job submit --working-dir . -- python jobs/verify.py --workspace s3://bucket/prefix \\
        --rebuild
"""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main("verify")
