"""What is trained on one shard: a learner turns a shard into a constituent, which answers queries.

Begin with `base` (what a learner is) and `prompt_head` (the paper's learner). `picture_learner`
and `sgd` are the frame of the learners by gradient descent, `closed_form` that of the learners on
integer statistics. A new learner is a module here, a section in `config/learner.py` and a line in
`registry`. Nothing here reads the store or knows which records exist beyond its shard.
"""
