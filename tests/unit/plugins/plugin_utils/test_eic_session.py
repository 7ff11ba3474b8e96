# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a shared connection may be used for another task."""
from __future__ import annotations

import dataclasses
import pathlib
import socket
import tempfile
import time
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session, eic_session, eic_settings, eic_use
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


@pytest.fixture
def master(settings: eic_settings.Settings) -> t.Iterator[None]:
    """Something that listens at the ControlPath, and whose use is known."""
    with socket.socket(socket.AF_UNIX) as listener, eic_use.using(settings.use_file):
        listener.bind(settings.control_path)
        listener.listen()
        yield


def test_without_a_master_nothing_is_ready(settings: eic_settings.Settings) -> None:
    assert not eic_session.is_ready(settings)


@pytest.mark.parametrize(("left", "margin", "ready"), [(400, 300, True), (200, 300, False), (-10, 300, False), (-10, 0, False), (10, 0, True)])
def test_a_master_is_ready_while_its_tunnel_has_time_left(settings: eic_settings.Settings, master: None, left: int, margin: int, ready: bool) -> None:
    eic_use.record_end(settings.use_file, time.time() + left)
    assert eic_session.is_ready(dataclasses.replace(settings, rotation_margin=margin)) == ready
    assert eic_session.is_ready(dataclasses.replace(settings, rotation_margin=margin, direct=True)) is False, "another connection"


def test_a_master_that_nobody_knows_the_age_of_is_ready(settings: eic_settings.Settings, master: None) -> None:
    assert eic_session.is_ready(settings)


def test_a_margin_longer_than_the_tunnel_lasts_leaves_half_of_it(settings: eic_settings.Settings, master: None) -> None:
    short = dataclasses.replace(settings, max_tunnel_duration=100)
    for left, ready in ((60, True), (40, False)):
        eic_use.record_end(settings.use_file, time.time() + left)
        assert eic_session.is_ready(short) == ready


@pytest.mark.parametrize("change", [{"tunnel_budget": 0}, {"tunnel_wait": -1}, {"rotation_margin": -1}, {"target_cache_lifetime": -1}])
def test_numbers_that_cannot_be(settings: eic_settings.Settings, change: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match=f"ansible_eic_{next(iter(change))}"):
        dataclasses.replace(settings, **change)


def test_answers_are_remembered_apart_for_each_identity(settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    caches = {settings.target_cache, dataclasses.replace(settings, aws=aws_session.AwsOptions(profile="other")).target_cache}
    monkeypatch.setenv("AWS_PROFILE", "third")
    caches.add(settings.target_cache)
    assert len(caches) == 3
    assert {str(pathlib.Path(cache).parent) for cache in caches} == {settings.state_directory}
