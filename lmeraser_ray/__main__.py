"""`python -m lmeraser_ray VERB` is `lmeraser VERB`."""

from lmeraser_ray.cli.main import main

if __name__ == "__main__":
    main()
