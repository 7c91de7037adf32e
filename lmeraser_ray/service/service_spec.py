"""What a process on any machine must know to serve a workspace. No private key is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lmeraser_ray.operations.hosted_queue import spec_of
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.service.site import Answerer, Site
from lmeraser_ray.storage.paths import Location


@dataclass(frozen=True)
class ServiceSpec:
    """A workspace to be served at an address. overrides: of its configuration (not shown: the
    database's URL may hold a password); public_keys: 32 bytes each, by id."""

    root: Location
    host: str
    port: int
    overrides: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    public_keys: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, session: Session, host: str, port: int, keys: Mapping[str, Ed25519PublicKey]
    ) -> "ServiceSpec":
        """Describe a session. host, port: of the address."""
        hosted = spec_of(session, trusted=True, learner=None)
        public = {name: key.public_bytes_raw() for name, key in keys.items()}
        return cls(hosted.root, host, port, hosted.overrides, public)

    @property
    def url(self) -> str:
        """The address of the service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def session(self) -> Session:
        """Open the workspace."""
        return Session(self.root, overrides=self.overrides)

    def site(self, answer: Answerer) -> Site:
        """What the routes share. answer: predicts."""
        keys = {
            name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in self.public_keys.items()
        }
        return Site(self.session(), answer, keys)
