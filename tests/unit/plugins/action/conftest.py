# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workspace of the tests of ``molecule_plugin``, reached in both ways."""
from __future__ import annotations

from pathlib import Path

import pytest
from action_workspace import Workspace, plugin
from ansible import constants as C
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import workspace_call


@pytest.fixture(name="workspace", params=[True, False], ids=["carried", "module"])
def fixture_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Workspace:
    (tmp_path / "local_tmp").mkdir()
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path / "local_tmp"))
    monkeypatch.setattr(workspace_call, "PAUSES", (0, 0, 0))
    plugin(tmp_path / "ecc", **{"rules/a.md": "# a\n", "hooks/h": "#!/bin/sh\n"})
    (tmp_path / "ecc/hooks/h").chmod(0o755)
    return Workspace(tmp_path, request.param)
