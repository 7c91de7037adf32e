"""Models of all records under seeds of their own, for KLoM (Georgiev et al., arXiv 2410.23232).

    seeds 1 … N:      train(D)       → no-op; unlearned, exactly or by fine-tuning
    seeds N+1 … 2N:   train(D \\ F)   → oracles: they never saw the forget set F

KLoM asks how far the margins of unlearned models are from those of models that were trained without
F. Both sides vary by their randomness only, so a model here has all records of D, where a shadow
model has a half. A seed decides the sample, the shards and what is drawn in training; the split of
the records is the study's. By the law, `exact` and the oracles are draws from one distribution.
"""

from dataclasses import dataclass, replace

from lmeraser_ray.data.index import remaining
from lmeraser_ray.pipeline.flow import Flow
from lmeraser_ray.study.shadows import Answer, ForgetSet, Shadows
from lmeraser_ray.study.unlearners import fine_tune


@dataclass(frozen=True)
class Oracles:
    """Trains and asks models of all records. share: of the epochs, for fine-tuning; None where the
    learner cannot be trained on."""

    shadows: Shadows
    share: float | None

    def flow(self, number: int) -> Flow:
        """Return the study's flow under the seed of model `number` ≥ 1. (A random projection of
        features, where the learner has one, stays that of the study's seed.)"""
        ours = self.shadows.flow
        seed = ours.config.seed + number
        return replace(ours, config=ours.config.model_copy(update={"seed": seed}))

    def unlearned(self, number: int, forget: ForgetSet) -> dict[str, Answer]:
        """Return the answers of a model of all records: before a forget set is unlearned, after
        exact unlearning, and after fine-tuning."""
        shadows, flow = self.shadows, self.flow(number)

        def make() -> dict[str, Answer]:
            before = flow.evaluate(shadows.buckets, shadows.base).manifest
            planned = flow.plan(shadows.buckets, before)
            left = remaining(flow.store, shadows.index, forget.gone)
            after = flow.evaluate(left, before).manifest
            found = {"no-op": shadows.ask(before, flow), "exact": shadows.ask(after, flow)}
            if self.share is not None:
                tuned = fine_tune(flow, planned, before, forget.gone, share=self.share)
                found["fine-tuning"] = shadows.ask(tuned, flow)
            return found

        made_from = [self.share, shadows.digest_of(forget)]
        return shadows.recalled(f"attack.whole-{forget.name}-{number}", made_from, make)

    def retrained(self, number: int, forget: ForgetSet) -> Answer:
        """Return the answers of a model that was trained without a forget set: an oracle."""
        shadows, flow = self.shadows, self.flow(number)

        def make() -> dict[str, Answer]:
            left = remaining(flow.store, shadows.index, forget.gone)
            return {"oracle": shadows.ask(flow.evaluate(left, shadows.base).manifest, flow)}

        made_from = [shadows.digest_of(forget)]
        name = f"attack.oracle-{forget.name}-{number}"
        return shadows.recalled(name, made_from, make)["oracle"]
