"""How the training records are divided into shards, and what a deletion would change of it.

Begin with `adaptive` (Algorithms 1 and 2 of the paper), then `stage`, which finds or computes the
partition of the live records in the store; `public` makes prototypes from public pictures.
`deletion` computes the cost of deletions without training, with `chains`, `recluster` and
`expected`. Nothing here trains anything.
"""
