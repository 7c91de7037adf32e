"""The library in one object: a workspace that is trained, asked, made to forget, and checked.

Each method is what the verb of the same name does; see the modules `train`, `unlearn`, `predict`,
`evaluate`, `cost` and `verify`.
"""

from collections.abc import Sequence
from pathlib import Path

from lmeraser_ray.config import Config
from lmeraser_ray.config.quickstart import quickstart
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.cost import Costing, cost
from lmeraser_ray.operations.evaluate import Evaluation, evaluate
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.predict import Predicting, predict
from lmeraser_ray.operations.train import Training, train
from lmeraser_ray.operations.unlearn import Unlearning, unlearn
from lmeraser_ray.operations.verify import Verification, verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location, location


class Workspace:
    """A folder that holds records, features, constituents and the manifest that names them."""

    def __init__(self, root: str | Location, *, overrides: Sequence[tuple[str, str]] = ()) -> None:
        """root: a folder, or a URL such as s3://bucket/prefix.

        `overrides` are execution fields that differ from the last training's:
        `[("execution.engine", "inline")]`.
        """
        self.session = Session(location(str(root)), overrides=tuple(overrides))

    def train(self, config: Config | None = None) -> Training:
        """Train and publish; without a configuration, the quickstart on handwritten digits."""
        return train(self.session, config or quickstart())

    def predict(self, images: Sequence[bytes | Path]) -> Predicting:
        """Predict encoded pictures or picture files."""
        return predict(self.session, images)

    def evaluate(self) -> Evaluation:
        """Accuracy on test records and on the training records that remain."""
        return evaluate(self.session)

    def unlearn(
        self, *, records: Sequence[str] = (), subjects: Sequence[str] = (), quarantine: bool = False
    ) -> Unlearning:
        """Erase records, and subjects with all their records; with `quarantine`, what was trained
        on them stops answering at once."""
        return unlearn(
            self.session, ErasureTargets(tuple(records), tuple(subjects)), quarantine=quarantine
        )

    def cost(self, records: Sequence[str] = ()) -> Costing:
        """What the deletion of each of these records (or of each training record) would train
        again."""
        return cost(self.session, records)

    def fingerprint(self) -> str:
        """SHA-256 over all that is held of the private data."""
        return fingerprint(self.session)

    def verify(self, *, rebuild: bool = False) -> Verification:
        """Check every digest; with `rebuild`, train again and compare bytes."""
        return verify(self.session, rebuild=rebuild)
