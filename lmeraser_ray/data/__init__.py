"""What comes in: records, the sources that they come from, and the layout in which they are kept.

Begin with `record` (one labelled picture), then `ingest` (from a source to buckets), `buckets` (the
stored layout) and `index` (the live records as columns). `reader` reads stored rows back for a
worker, `feature_file` keeps their features. Nothing here knows of a model: what computes on
pictures lives in `lmeraser_ray.models`, the order of the steps in `lmeraser_ray.pipeline`.
"""
