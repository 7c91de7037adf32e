"""`python -m lmeraser_ray.fingerprint`; the function is in `verify.py`."""

if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("fingerprint")
