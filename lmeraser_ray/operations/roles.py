"""`roles`: what each part of a deployment may do to a workspace's requests on PostgreSQL, as SQL to
read and to run, and given again."""

from dataclasses import dataclass

from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database_roles import OTHERS, QUEUE, SERVER, schema_statements
from lmeraser_ray.storage.database.postgresql import schema_of


@dataclass(frozen=True)
class Roles:
    """The roles and their rights. server: what an administrator runs once; schema: what the owner
    of the workspace's tables runs; applied: whether that was done now."""

    names: tuple[str, ...]
    server: str
    schema: tuple[str, ...]
    applied: bool


def roles(session: Session, *, apply: bool = False) -> Roles:
    """Return the roles of a workspace. apply: give them their rights, as the owner of its tables;
    where the server had the roles when the tables were made, that is done already.

    Errors: `ConfigError` where the server does not have the roles, or there is no server.
    """
    session.folder.require()
    names = (QUEUE, *(role.name for role in OTHERS))
    if not apply:
        schema = schema_of(session.names().workspace_id)
        return Roles(names, SERVER, schema_statements(schema), applied=False)
    with session.database() as database:
        done = database.grant_roles()
        if done is None:
            raise ConfigError(
                f"The server {database.where} does not have the roles {', '.join(names)}: "
                "`lmeraser roles` prints what its administrator runs once."
            )
    return Roles(names, SERVER, done, applied=True)
