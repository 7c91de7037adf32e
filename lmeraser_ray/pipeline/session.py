"""What every command shares: a workspace, its configuration, its request database, the engine
and the progress, opened and closed in one place."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import CHANGEABLE, override
from lmeraser_ray.config.several import several
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.pipeline.engines import open_engine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.pipeline.workspace_folder import Published, WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import Store

if TYPE_CHECKING:  # with torch: not for the commands that only look into the request database
    from lmeraser_ray.pipeline.choice import Choice
    from lmeraser_ray.pipeline.engine import Engine
    from lmeraser_ray.pipeline.flow import Flow, Prototypes

T = TypeVar("T")
EngineMaker = Callable[[Store, Config, BackboneCard], "Engine"]


@dataclass(frozen=True)
class Session:
    """A workspace as one command opens it. make_engine: tests put a recorder, or a leaky
    learner, in the place of the real engine, which is what None stands for."""

    root: Location
    progress: Progress = field(default_factory=lambda: Progress(quiet=True))
    make_engine: EngineMaker | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    """Fields of the workspace's configuration that this command replaces; none may be identity."""

    def __post_init__(self) -> None:
        """Errors: `TypeError` where the overrides are no pairs."""
        several(self.overrides, "overrides", tuple, list)

    @property
    def folder(self) -> WorkspaceFolder:
        """The workspace's files, to be read; `folder.locked()` yields what writes."""
        return WorkspaceFolder(self.root, dict(self.overrides).get("queue.database"))

    def config(self) -> Config:
        """The configuration of the workspace's last training, with this command's overrides.

        Errors: `ConfigError` where an override would change the identity of what is published.
        """
        kept = self.folder.load_config()
        config = override(kept, self.overrides)
        foreign = [name for name, _ in self.overrides if not name.startswith(CHANGEABLE)]
        if foreign or config.identity() != kept.identity():
            names = ", ".join(f"--{name}" for name, _ in self.overrides)
            raise ConfigError(
                f"{names} would change what this workspace is: only execution, queue and serve "
                "fields can differ here. Train another workspace."
            )
        return config

    def names(self) -> Pseudonymizer:
        """The keyed hashes of ids under the workspace's secret. Errors: `ConfigError` where there
        is no workspace, which would get a secret otherwise."""
        self.folder.require()
        return self.folder.names()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The workspace's request database, as its configuration has it."""
        self.folder.require()
        with closing(Database.open(self.root, self.config().queue.database)) as database:
            yield database

    def consistently(self, read: Callable[[Published], T]) -> T:
        """What `read` returns for the published state. Where the next state was published, and this
        one purged, while `read` was at work, it is called again for that."""
        while True:
            current = self.folder.current()
            try:
                return read(self.folder.require_state())
            except VerificationError:
                if self.folder.current() == current:
                    raise

    @contextmanager
    def flow(
        self,
        store: Store,
        config: Config,
        card: BackboneCard,
        public: "Prototypes" = (),
        choice: "Choice | None" = None,
    ) -> "Iterator[Flow]":
        """The flow on a store, with an engine that is closed at the end of the context. public: the
        stored public prototypes, empty where no partition has any; choice: of the sweep that chose
        the configuration. Errors: `ConfigError`, before any work, where the backbone's weights are
        a file and none is named."""
        config.backbone.require_weights()
        from lmeraser_ray.pipeline.flow import Flow

        real = partial(open_engine, pace=self.folder.pace(), say=self.progress.say)
        with closing((self.make_engine or real)(store, config, card)) as engine:
            yield Flow(store, config, card, engine, self.progress, public, choice)
