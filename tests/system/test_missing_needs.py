# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A workspace that lacks what the workspace half needs: one sentence that says what, and nothing changed."""
from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import pytest
from ansible_run import Run
from lab.api import Lab
from workspaces import DOCKER_WORKSPACE, EIC_WORKSPACE

INSTALL = "molecule_ai.workspace.install"
# An interpreter that says it is older than it is, for the check of the code that is given to it as its last argument.
OLD_PYTHON = '#!/bin/sh\nexec /usr/bin/python3 -c "import sys; sys.version_info = (3, 6, 9); exec(sys.argv[-1])" "$@"\n'


@contextlib.contextmanager
def moved_away(lab: Lab, workspace: str, path: str, away: str) -> Iterator[None]:
    """Without this file."""
    assert lab.exec(workspace, "mv", path, away).status == 0
    try:
        yield
    finally:
        assert lab.exec(workspace, "mv", away, path).status == 0


@contextlib.contextmanager
def old_python(lab: Lab, workspace: str) -> Iterator[None]:
    """With an old interpreter first on root's PATH."""
    assert lab.exec(workspace, "sh", "-c", f"printf '%s' '{OLD_PYTHON}' > /usr/local/bin/python3 && chmod 755 /usr/local/bin/python3").status == 0
    try:
        yield
    finally:
        assert lab.exec(workspace, "rm", "/usr/local/bin/python3").status == 0


def without_python(lab: Lab, workspace: str) -> contextlib.AbstractContextManager[None]:
    """Without any interpreter."""
    return moved_away(lab, workspace, "/usr/bin/python3", "/usr/bin/python3.away")


def without_sudo(lab: Lab, workspace: str) -> contextlib.AbstractContextManager[None]:
    """Without the login user's right to become root."""
    return moved_away(lab, workspace, "/etc/sudoers.d/90-ubuntu", "/root/90-ubuntu")


NO_RIGHTS = ["user ubuntu on i-", "cannot become root", "NOPASSWD in /etc/sudoers.d", "ansible_become_password"]
LACKS = {
    "no-python": (DOCKER_WORKSPACE, {}, without_python, ["python3: not found", "Python 3.8 or newer"]),
    "old-python": (DOCKER_WORKSPACE, {}, old_python, ["3.6 is too old", "Python 3.8 or newer"]),
    "no-sudo": (EIC_WORKSPACE, {}, without_sudo, NO_RIGHTS),
    "no-sudo-for-modules": (EIC_WORKSPACE, {"ansible_pipelining": False}, without_sudo, NO_RIGHTS),
}


@pytest.mark.parametrize("workspace, settings, lack, words", LACKS.values(), ids=LACKS, indirect=["workspace"])
def test_what_is_missing_is_said_in_one_sentence(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, lack: Callable[..., contextlib.AbstractContextManager[None]],
    words: list[str], settings: dict[str, object],
) -> None:
    variables = {**settings, "workspace_plugins": [{"name": "careful-bash", "source": str(plugin_sources / "careful-bash")}]}
    before = lab.snapshot(workspace)
    with lack(lab, workspace):
        run = ansible(INSTALL, limit=workspace, variables=variables)
    assert run.returncode != 0
    failure = next(record["result"]["msg"] for record in run.records if record["status"] in ("failed", "unreachable"))
    assert all(word in failure for word in words) and "\n" not in failure.strip() and "Traceback" not in failure, failure
    assert lab.snapshot(workspace) == before
