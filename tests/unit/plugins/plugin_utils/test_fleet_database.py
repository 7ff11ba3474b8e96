# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's database, on a real PostgreSQL server."""
from __future__ import annotations

import pathlib
import sys
import threading
import typing as t

import psycopg
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import fleet_database

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from postgresql import PASSWORD, postgresql

A, B, C = (f"3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1{digit}" for digit in "abc")


@pytest.fixture(scope="module")
def server() -> t.Iterator[str]:
    with postgresql() as dsn:
        yield f"{dsn} password={PASSWORD}"


@pytest.fixture
def database(server: str) -> t.Iterator[psycopg.Connection]:
    """The owner's connection; what a test has done is undone at its end."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("TRUNCATE workspaces")
        yield connection
        connection.execute("DROP SCHEMA IF EXISTS other CASCADE")


def ask(dsn: str, **parameters: t.Any) -> t.Any:
    return fleet_database.ask({"dsn": dsn, **parameters})


def fields(answer: t.Any) -> dict[str, dict[str, str]]:
    assert answer.failure is None, answer.failure
    return {record.workspace_id: dict(record.fields) for record in answer.records}


def test_rows(server: str, database: psycopg.Connection) -> None:
    """All of them, the removed ones included; nulls and blanks say nothing."""
    database.execute(
        "INSERT INTO workspaces (id, name, status, parent_id, runtime, instance_id, agent_card) VALUES"
        " (%(a)s, 'root', 'online', NULL, NULL, NULL, '{}'), (%(b)s, 'leaf {{ x }}', 'degraded', %(a)s, 'hermes', 'i-0123456789abcdef0', NULL),"
        " (%(c)s, '', 'removed', NULL, 'external', 'mol-ws-c-1f', NULL)", {"a": A, "b": B, "c": C},
    )
    assert fields(ask(server)) == {
        A: {"name": "root", "status": "online"},
        B: {"name": "leaf {{ x }}", "status": "degraded", "parent_id": A, "runtime": "hermes", "instance_id": "i-0123456789abcdef0"},
        C: {"status": "removed", "runtime": "external", "instance_id": "mol-ws-c-1f"},
    }


def test_an_older_table_in_another_schema(server: str, database: psycopg.Connection) -> None:
    """Without instance_id, and with a status that is a text."""
    database.execute("CREATE SCHEMA other")
    database.execute("CREATE TABLE other.workspaces (id text, name text, runtime text, status text)")
    database.execute("INSERT INTO other.workspaces VALUES ('w1', 'one', 'hermes', 'hibernated')")
    assert fields(ask(server, table="other.workspaces")) == {"w1": {"name": "one", "runtime": "hermes", "status": "hibernated"}}


def test_nothing_can_be_written(server: str, database: psycopg.Connection) -> None:
    """Not even by what the database itself does behind the name of the table, asked by its owner."""
    database.execute("CREATE SCHEMA other")
    database.execute("CREATE TABLE other.log (line text)")
    database.execute(
        "CREATE FUNCTION other.noted() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO other.log VALUES ('read'); RETURN 'hermes'; END $$"
    )
    database.execute("CREATE VIEW other.workspaces AS SELECT 'w1'::text AS id, other.noted() AS runtime")
    assert "read-only transaction" in ask(server, table="other.workspaces").failure
    assert database.execute("SELECT count(*) FROM other.log").fetchone() == (0,)


def test_a_slow_answer_is_ended(server: str, database: psycopg.Connection) -> None:
    """By the server, for this transaction only."""
    database.execute("CREATE SCHEMA other")
    database.execute("CREATE VIEW other.workspaces AS SELECT pg_sleep(60)::text AS id, 'x'::text AS runtime")
    assert "it did not answer within 1 s; raise timeout" in ask(server, table="other.workspaces", timeout=1).failure


def test_a_locked_table_is_not_waited_for(server: str, database: psycopg.Connection) -> None:
    """As while the platform migrates."""
    ready, done = threading.Event(), threading.Event()

    def lock() -> None:
        with psycopg.connect(server) as connection:
            connection.execute("LOCK TABLE workspaces IN ACCESS EXCLUSIVE MODE")
            ready.set()
            done.wait(60)

    thread = threading.Thread(target=lock)
    thread.start()
    try:
        assert ready.wait(30)
        assert ask(server, timeout=1).failure
    finally:
        done.set()
        thread.join()


def test_a_user_without_rights(server: str, database: psycopg.Connection) -> None:
    database.execute("DROP ROLE IF EXISTS stranger")
    database.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger-secret'")
    failure = ask(server.replace("user=owner", "user=stranger").replace(PASSWORD, "stranger-secret")).failure
    assert "permission denied" in failure and "grant the user SELECT" in failure


@pytest.mark.parametrize(
    ("change", "parameters", "reason"),
    [
        (("platform", "nothing"), {}, "check dsn"),
        ((PASSWORD, "wrong-very-secret"), {}, "password authentication failed"),
        (("user=owner", "user=owner port=1"), {}, "check dsn"),
        (("", ""), {"table": "agents"}, "the table agents in the platform's database does not exist"),
        (("", ""), {"table": "pg_catalog.pg_class"}, "has no column id and runtime"),
    ],
)
def test_failures_are_one_sentence_without_the_password(
    server: str, database: psycopg.Connection, change: tuple[str, str], parameters: dict[str, str], reason: str
) -> None:
    failure = ask(server.replace(*change), **parameters).failure
    assert "platform's database" in failure and reason in failure and "secret" not in failure and "\n" not in failure


@pytest.mark.parametrize("parameters", [{"dsn": "host=x my very-secret"}, {"table": "x; drop table y"}, {"table": 'a"b'}, {"timeout": -1}])
def test_refused(parameters: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        fleet_database.ask({"dsn": "", **parameters})
    assert "very-secret" not in str(caught.value)


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install psycopg" in fleet_database.ask({}).failure
