"""Every verb of the command line: the groups' verbs, joined."""

from collections.abc import Iterable

from lmeraser_ray.cli import (
    ask,
    attack,
    backup,
    checkup,
    demo,
    erase,
    evidence,
    figures,
    hand_on,
    inspect,
    queue,
    request_list,
    requests,
    secret,
    serve,
    study,
    tokens,
    train,
)
from lmeraser_ray.cli.completion import completion
from lmeraser_ray.cli.verb import Verb


def every_verb() -> Iterable[Verb]:
    """Return all verbs."""
    return VERBS.values()


GROUPS: dict[str, tuple[Verb, ...]] = {
    "train and predict": (*inspect.VERBS, *train.VERBS, *ask.VERBS, *hand_on.EXPORTS, *demo.VERBS),
    "serve": (*serve.VERBS, *tokens.VERBS),
    "erase": (*erase.VERBS, *requests.VERBS, *request_list.VERBS, *queue.VERBS),
    "prove": (*evidence.VERBS, *hand_on.REPORTS),
    "study": (*study.VERBS, *attack.VERBS, *figures.VERBS),
    "keep": (*checkup.VERBS, *backup.VERBS, *secret.VERBS, completion(every_verb)),
}
"""The verbs by heading, as `lmeraser --help` lists them."""
VERBS: dict[str, Verb] = {verb.name: verb for group in GROUPS.values() for verb in group}
