# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of the EIC connection's parts begin with."""
from __future__ import annotations

import tempfile
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session, eic_settings
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_target import Target


@pytest.fixture
def settings() -> t.Iterator[eic_settings.Settings]:
    # sockets need short paths
    with tempfile.TemporaryDirectory(prefix="eic-") as directory:
        yield eic_settings.Settings(
            instance_id="i-0123456789abcdef0", os_user="ubuntu", port=22, known=Target(None, None, None), aws=aws_session.AwsOptions(),
            max_tunnel_duration=3600, instance_connect_endpoint_url=None, connect_to=None, known_hosts=f"{directory}/known_hosts", host_key_policy="accept-new",
            control_directory=directory, run_directory=directory, tunnel_timeout=10, login_timeout=10, state_directory=f"{directory}/state",
        )
