"""Every verb of the command line: the groups' verbs, joined."""

from lmeraser_ray.cli import (
    ask,
    attack,
    backup,
    demo,
    erase,
    evidence,
    figures,
    queue,
    requests,
    study,
    train,
)

GROUPS = {
    "train and predict": (*train.VERBS, *ask.VERBS, *demo.VERBS),
    "erase": (*erase.VERBS, *requests.VERBS, *queue.VERBS),
    "prove": evidence.VERBS,
    "study": (*study.VERBS, *attack.VERBS, *figures.VERBS),
    "keep": backup.VERBS,
}
"""The verbs by heading, as `lmeraser --help` lists them."""
VERBS = {verb.name: verb for group in GROUPS.values() for verb in group}
