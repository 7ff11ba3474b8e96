# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Through a company's proxy: to the endpoint, and to the AWS APIs; and when it does not let the connection through."""
from __future__ import annotations

import time
import urllib.parse
from collections.abc import Iterator

import pytest
from eic_connections import Controller, Counted, fresh_controller
from lab.api import Lab

USER, PASSWORD = "agent", "p@ss: word/canary"
PATIENCE = 40.0


@pytest.fixture
def controller(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """A controller that can reach the endpoint by its name only, which the proxy knows and nobody else."""
    with fresh_controller(lab) as made:
        made.give_target()
        made.variables["ansible_eic_tunnel_timeout"] = 4
        del made.variables["ansible_eic_tunnel_address"]
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv("HTTPS_PROXY", lab.service["proxy_url"])
        yield made


def with_credentials(url: str, user: str, password: str) -> str:
    return url.replace("://", f"://{urllib.parse.quote(user, safe='')}:{urllib.parse.quote(password, safe='')}@")


def test_everything_goes_through_the_proxy(controller: Controller) -> None:
    counter = Counted(controller.lab)
    assert controller.run("id -un") == (0, b"ubuntu\n")
    assert counter["proxy_connects"] == 2, "the tunnel and the key push"
    controller.close()
    controller.look_target_up()
    assert controller.run("id -un") == (0, b"ubuntu\n")
    assert counter["proxy_connects"] > 4, "and the look-ups"


def test_a_proxy_with_credentials(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    url = controller.lab.service["proxy_url"]
    controller.lab.settings(proxy_credentials=f"{USER}:{PASSWORD}")
    monkeypatch.setenv("HTTPS_PROXY", with_credentials(url, USER, PASSWORD))
    controller.look_target_up()
    assert controller.run("true")[0] == 0
    controller.close()
    for wrong in (url, with_credentials(url, USER, "wrong-canary")):
        monkeypatch.setenv("HTTPS_PROXY", wrong)
        controller.give_target()
        assert_told(controller, "the proxy refuses to connect to eice-", "status 407", "the proxy's credentials")
        controller.look_target_up()
        (controller.directory / "state").rename(controller.directory / f"state-{time.monotonic()}")
        assert_told(controller, "AWS cannot be reached", "proxy")


@pytest.mark.parametrize("excluded", ["amazonaws.com", ".amazonaws.com", "*.amazonaws.com", "one.example, us-east-2.amazonaws.com ", "*"])
def test_names_that_no_proxy_excludes_are_reached_directly(controller: Controller, monkeypatch: pytest.MonkeyPatch, excluded: str) -> None:
    monkeypatch.setenv("NO_PROXY", excluded)
    counter = Counted(controller.lab)
    assert_told(controller, "the name eice-", "cannot be resolved")
    assert counter["proxy_connects"] == counter["proxy_refused"] == 0


@pytest.mark.parametrize("excluded", ["aws.com", "amazonaws.com.example", "another.example"])
def test_names_that_no_proxy_does_not_exclude(controller: Controller, monkeypatch: pytest.MonkeyPatch, excluded: str) -> None:
    monkeypatch.setenv("NO_PROXY", f"{excluded},127.0.0.1")
    counter = Counted(controller.lab)
    assert controller.run("true")[0] == 0
    assert counter["proxy_connects"] == 1, "the tunnel; the AWS API is on 127.0.0.1"


def test_a_proxy_that_is_silent_or_missing_is_given_up_in_time(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.fault("hang_proxy")
    assert_told(controller, "127.0.0.1 did not answer in time (asking the proxy)")
    controller.lab.clear_faults()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert_told(controller, "127.0.0.1 refuses connections", "proxy variables")


def assert_told(controller: Controller, *words: str) -> None:
    started = time.monotonic()
    kind, message = controller.failure()
    assert time.monotonic() - started < PATIENCE
    assert (kind, [each for each in words if each not in message]) == ("unreachable", []), message
    assert controller.instance_id in message and "canary" not in message and "\n" not in message
    assert controller.leftovers() == []
