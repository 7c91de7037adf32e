"""The service: predictions and erasure requests over HTTP.

Here lives what callers over HTTP see: routes, tokens' rights, answers as JSON. No work is done
here: `operations/` does it. No Ray: `distributed/serving.py` runs the same application in replicas.
Begin with `application`, which joins the routes; `serve` is what `lmeraser serve` does.
"""
