# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL server for tests: a cluster of its own in a temporary directory, on a unix socket, as a user that is not root."""
from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

PASSWORD = "owner-very-secret"

# The platform's table, with some of its other columns; the status is an enumeration since the release of May 2026.
SCHEMA = """
CREATE TYPE workspace_status AS ENUM ('provisioning', 'online', 'offline', 'degraded', 'failed', 'removed');
CREATE TABLE workspaces (
    id uuid PRIMARY KEY, name text NOT NULL, role text, tier integer NOT NULL DEFAULT 1, status workspace_status NOT NULL DEFAULT 'provisioning',
    agent_card jsonb, parent_id uuid REFERENCES workspaces (id), runtime text DEFAULT 'langgraph', instance_id text
);
"""


def _programs() -> pathlib.Path:
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: run tests/setup, or install Debian's package postgresql")
    return found[-1].parent


def _user() -> str | None:
    """Who runs the server: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    return next(name for name in ("postgres", "nobody") if any(entry.pw_name == name for entry in pwd.getpwall()))


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a server; yields the DSN of its owner, without the password (:data:`PASSWORD`), to a database ``platform`` with an empty table."""
    import psycopg

    programs, user = _programs(), _user()
    root = pathlib.Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    data, password_file = root / "data", root / "password"
    password_file.write_text(PASSWORD)
    if user:
        for path in (root, password_file):
            shutil.chown(path, user)

    def run(program: str, *arguments: str) -> None:
        with open(root / "log", "ab") as log:
            completed = subprocess.run([str(programs / program), *arguments], user=user, cwd="/", stdout=log, stderr=log, check=False)
        if completed.returncode:
            raise RuntimeError(f"{program} failed:\n{(root / 'log').read_text()}")

    try:
        run("initdb", "--pgdata", str(data), "--username", "owner", "--pwfile", str(password_file), "--auth", "scram-sha-256", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{root}' -c fsync=off"
        run("pg_ctl", "--pgdata", str(data), "--log", str(data / "server.log"), "--options", options, "--wait", "--timeout", "120", "start")
        try:
            with psycopg.connect(f"host={root} user=owner dbname=postgres password={PASSWORD}", autocommit=True) as connection:
                connection.execute("CREATE DATABASE platform")
            with psycopg.connect(f"host={root} user=owner dbname=platform password={PASSWORD}") as connection:
                connection.execute(SCHEMA)
            yield f"host={root} user=owner dbname=platform"
        finally:
            run("pg_ctl", "--pgdata", str(data), "--mode", "immediate", "--wait", "stop")
    finally:
        shutil.rmtree(root)
