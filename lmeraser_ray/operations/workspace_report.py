"""`report`: a workspace as one page to pass on, and its erasure requests as a table.

Place in the flow: above `evaluate`, `cost` and `requests`, which know the figures
(`operations/reporting`). Both files are written outside of the workspace, whole or not at all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.requests import search
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import inside
from lmeraser_ray.storage.times import utcnow
from lmeraser_ray.storage.whole_file import write_whole

if TYPE_CHECKING:
    from lmeraser_ray.operations.reporting.page_facts import PageFacts


@dataclass(frozen=True)
class WorkspaceReport:
    """What was written. state: the keyed hash of the published fingerprint, as certificates name
    it; withheld: names of classes that the page does not show, since an id is part of them."""

    files: tuple[Path, ...]
    facts: "PageFacts"

    def __repr__(self) -> str:
        return f"WorkspaceReport({', '.join(map(str, self.files))})"

    @property
    def state(self) -> str:
        """The keyed hash of the fingerprint of the state that the page is about."""
        return self.facts.state

    @property
    def withheld(self) -> int:
        """How many classes are called as a person or a record is, and are not named."""
        return self.facts.classes.withheld


def report(session: Session, page: Path, requests_csv: Path | None = None) -> WorkspaceReport:
    """Write the page, and the table of requests where it is asked for. Errors: `ConfigError` for a
    file within the workspace, `DataError` where nothing is published or can answer,
    `ExecutionError` where a file cannot be written."""
    for path in (page, requests_csv):
        require_outside(session, path)
    session.folder.require_state()
    from lmeraser_ray.operations.reporting.page import page_of
    from lmeraser_ray.operations.reporting.page_facts import gather_facts
    from lmeraser_ray.operations.reporting.request_figures import csv_of_requests

    now, requests = utcnow(), search(session, RequestSearch())
    facts = gather_facts(session, requests, now)
    write_whole(page, page_of(facts))
    if requests_csv is None:
        return WorkspaceReport((page,), facts)
    write_whole(requests_csv, csv_of_requests(requests, now))
    return WorkspaceReport((page, requests_csv), facts)


def require_outside(session: Session, path: Path | None) -> None:
    """Errors: `ConfigError` where a file or folder to be written lies within the workspace."""
    if path is not None and inside(path, session.root):
        raise ConfigError(
            f"{path} lies within the workspace, which holds nothing but its own files: name "
            "one outside of it."
        )
