"""Where labelled pictures come from: one module a source, each a stream of entries.

Begin with `read_source`, which turns the entries of the configured source into checked records.
A source (`digits`, `folder`, `parquet`, `torchvision`) yields `SourceEntry` and knows nothing of
splits, erasures or other sources; `public_pictures` yields pictures that become no records. What
is kept of a record, and how, lives in `lmeraser_ray.data`.
"""
