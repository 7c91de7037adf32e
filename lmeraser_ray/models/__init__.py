"""Everything that computes on pictures and features, as plain torch and NumPy in one process.

Begin with `backbone` (pictures to features), then `partition/` (records to shards), `learners/`
(a shard to a constituent) and `aggregation/` (answers to a prediction). `requirements` says what a
configuration asks of its backbone. Nothing here knows when it runs or where its results go: the
order is in `lmeraser_ray.pipeline`, Ray is in `lmeraser_ray.distributed`.
"""
