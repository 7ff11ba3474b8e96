# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's PostgreSQL database as a source of an inventory: its table of workspaces, read in one transaction that cannot write.

The table has the instance ids, which are in no answer of the platform's API. Its columns grew over the platform's releases (``instance_id`` came in
2026), so only those that exist are read. psycopg 3 is imported when a database is asked, not before.
"""
from __future__ import annotations

import os
import re
import typing as t

from ..module_utils.errors import InvalidInputError, WorkspaceError
from .fleet_records import Answer, Record

if t.TYPE_CHECKING:
    import psycopg

DEFAULT_TABLE = "workspaces"
DEFAULT_TIMEOUT = 30
_CONNECT_TIMEOUT = 10
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?")
# libpq's keywords that decide what is read. A list of them, not of secrets, because libpq gets new ones of either kind.
_PLACE = ("service", "servicefile", "host", "hostaddr", "port", "dbname", "user", "options", "target_session_attrs")
_COLUMNS = ("name", "runtime", "status", "parent_id", "instance_id", "org_id")


class DatabaseError(WorkspaceError):
    """The database could not be asked, or did not answer in time."""


def ask(parameters: t.Mapping[str, t.Any]) -> Answer:
    """Read the table; a failure is part of the answer, only options that cannot work raise :class:`InvalidInputError`.

    Removed workspaces are read as well: their status keeps what is left of them in other sources out of the inventory.
    """
    table, timeout = parameters.get("table") or DEFAULT_TABLE, parameters.get("timeout") or DEFAULT_TIMEOUT
    if not _TABLE.fullmatch(table):
        raise InvalidInputError(f"table {table!r} is no name of a table: give it as 'workspaces' or 'schema.workspaces'")
    if timeout < 1:
        raise InvalidInputError("the timeout of a database must be 1 second or more")
    try:
        rows = _read(parameters.get("dsn") or "", table.split("."), timeout)
    except DatabaseError as error:
        return Answer(failure=str(error))
    return Answer(records=[Record.of(str(row["id"]), row) for row in rows])


def place(parameters: t.Mapping[str, t.Any]) -> dict[str, str] | None:
    """Which database is asked, and as whom, without any secret; None without psycopg, when it cannot be asked at all.

    Raises :class:`InvalidInputError`. What a service file says is not in it, since libpq reads that only when it connects, but which file and service.
    """
    try:
        from psycopg import pq
    except ImportError:
        return None
    # with what libpq takes from the environment
    found = {option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val}
    found.update(_parsed(parameters.get("dsn") or ""))
    found.setdefault("servicefile", os.environ.get("PGSERVICEFILE", ""))
    return {name: found[name] for name in _PLACE if found.get(name)}


def _parsed(dsn: str) -> dict[str, str]:
    """The DSN by keyword, whichever form it has; raises :class:`InvalidInputError`."""
    import psycopg
    from psycopg import conninfo

    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    except psycopg.Error:
        # its message quotes what it could not read, which may be the password
        raise InvalidInputError("the dsn of the database cannot be read: give it as 'postgresql://user@host/database' or 'host=… dbname=… user=…'") from None


def _read(dsn: str, table: list[str], timeout: int) -> list[dict[str, t.Any]]:
    """The rows as dictionaries; raises :class:`DatabaseError` without any of the DSN's text."""
    try:
        import psycopg
    except ImportError as error:
        message = "cannot ask the platform's database: the Python package 'psycopg' is missing on the controller; install it with 'pip install psycopg[binary]'"
        raise DatabaseError(message) from error
    password = _parsed(dsn).get("password", "")
    try:
        with psycopg.connect(dsn, connect_timeout=_CONNECT_TIMEOUT, application_name="molecule_ai.workspace") as connection:
            connection.read_only = True
            with connection.cursor() as cursor:
                # for this transaction only: behind a connection pooler, the session is somebody else's next
                cursor.execute("SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true)", [f"{timeout}s", f"{timeout}s"])
                return _select(cursor, table)
    except psycopg.Error as error:
        raise DatabaseError(f"cannot read the table of workspaces in the platform's database: {_sentence(error, password, timeout)}") from None


def _select(cursor: psycopg.Cursor[t.Any], table: list[str]) -> list[dict[str, t.Any]]:
    """Read the columns that are there; raises :class:`DatabaseError` where there is no table of workspaces."""
    from psycopg import sql

    identifier = sql.Identifier(*table)
    cursor.execute(
        "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped", [identifier.as_string(cursor)]
    )
    existing = {row[0] for row in cursor.fetchall()}
    missing = {"id", "runtime"} - existing
    if missing:
        name = ".".join(table)
        problem = f"has no column {' and '.join(sorted(missing))}" if existing else "does not exist, or this user may not see it"
        raise DatabaseError(f"the table {name} in the platform's database {problem}: check dsn and table")
    columns = ["id", *(name for name in _COLUMNS if name in existing)]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in columns), identifier)
    cursor.execute(query)
    return [dict(zip(columns, row)) for row in cursor.fetchall()]


def _sentence(error: psycopg.Error, password: str, timeout: int) -> str:
    """The server's or the client's word, on one line, without the password, and what to do."""
    import psycopg

    text = " ".join(str(error).split()).rstrip(".")
    text = text.replace(password, "********") if password else text
    if isinstance(error, psycopg.errors.QueryCanceled):
        return f"it did not answer within {timeout} s; raise timeout or look at the database's load"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{text[:200]}; grant the user SELECT on the table"
    if isinstance(error, psycopg.OperationalError):
        return f"{text[:300]}; check dsn, network and the server's pg_hba.conf"
    return text[:300] or type(error).__name__
