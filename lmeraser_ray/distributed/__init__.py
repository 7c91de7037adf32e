"""The only folder that knows Ray: it carries out, on one machine or a cluster, what the rest plans.

The rest reaches it through `pipeline/engines.py` alone. No decision of the flow is made here, and
no state that matters is kept here. Begin with `engine.py` (jobs as tasks), then `queue_actor.py`
(the queue as an actor) and `sweep.py` (trials under Ray Tune).
"""
