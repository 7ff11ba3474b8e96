# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials that somebody hands out: a role that is assumed, a container's endpoint, a profile; and what happens when they expire in a long play."""
from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_run import Run
from eic_connections import Controller, Counted, changed_world, fresh_controller, play_with
from lab.api import Lab
from lab.world import ROLE_ARN

LIFETIME = 5
"""Seconds for which temporary credentials are valid here."""

LONGER = {"name": "Wait", "ansible.builtin.pause": {"seconds": LIFETIME + 1}}
PING = {"name": "Ping", "ansible.builtin.ping": {}}
RESET = {"name": "Reset", "ansible.builtin.meta": "reset_connection"}


@pytest.fixture
def controller(lab: Lab) -> Iterator[Controller]:
    with fresh_controller(lab) as made:
        made.give_target()
        yield made


def test_a_role_is_assumed_again_when_its_credentials_have_expired(controller: Controller, ansible: Callable[..., Run]) -> None:
    controller.lab.settings(role_lifetime=float(LIFETIME))
    controller.variables["ansible_eic_assume_role_arn"] = ROLE_ARN
    counter = Counted(controller.lab)
    environment = {"AWS_ENDPOINT_URL_STS": controller.lab.service["aws_url"]}
    play_with(controller, ansible)([PING, PING, LONGER, RESET, PING], environment=environment).ok()
    assert (counter["roles_assumed"], counter["tunnels"]) == (2, 2)
    controller.variables["ansible_eic_assume_role_arn"] = f"{ROLE_ARN}-of-others"
    failed = play_with(controller, ansible)([PING], environment=environment)
    message = failed.result("ping")["msg"]
    assert failed.stats[controller.workspace]["unreachable"] == 1 and controller.instance_id in message and "AssumeRole" in message, message


def test_a_profile_may_name_a_role(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, configuration = controller.lab.world.data["credentials"], controller.directory / "aws-config"
    configuration.write_text(
        f"[profile source]\naws_access_key_id = {credentials['access_key']}\naws_secret_access_key = {credentials['secret_key']}\n"
        f"[profile fleet]\nrole_arn = {ROLE_ARN}\nsource_profile = source\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", controller.lab.service["aws_url"])
    for name in ("access_key", "secret_key"):
        del controller.variables[f"ansible_eic_{name}"]
    controller.variables["ansible_eic_profile"] = "fleet"
    controller.look_target_up()
    counter = Counted(controller.lab)
    assert controller.run("id -un") == (0, b"ubuntu\n")
    assert counter["roles_assumed"] == 1


@pytest.fixture
def container(controller: Controller) -> Iterator[Any]:
    """A container's credentials endpoint: each call makes credentials that AWS accepts until they expire; ``served`` says how many it has made."""
    with changed_world(controller.lab) as world:

        class Handler(http.server.BaseHTTPRequestHandler):
            served = 0

            def do_GET(self) -> None:
                Handler.served += 1
                expires = time.time() + LIFETIME
                record = {"access_key": f"ASIACONTAINER{Handler.served:07}", "secret_key": "container-secret", "session_token": f"token-{Handler.served}"}
                world["more_credentials"] = [{**record, "expires": expires}]
                world.save()
                document = {
                    "AccessKeyId": record["access_key"], "SecretAccessKey": record["secret_key"], "Token": record["session_token"],
                    "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
                }
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            Handler.url = f"http://127.0.0.1:{server.server_port}/"  # type: ignore[attr-defined]
            yield Handler
            server.shutdown()


def test_a_containers_credentials_are_asked_for_again(controller: Controller, container: Any, ansible: Callable[..., Run]) -> None:
    for name in ("access_key", "secret_key"):
        del controller.variables[f"ansible_eic_{name}"]
    environment = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url}
    counter = Counted(controller.lab)
    play_with(controller, ansible)([PING, LONGER, PING, RESET, PING], environment=environment).ok()
    assert counter["tunnels"] == 2 and container.served >= 2


def test_keys_that_have_expired_are_named_and_a_live_connection_outlives_them(controller: Controller) -> None:
    record = {"access_key": "ASIAEXPIRING00000001", "secret_key": "expiring", "session_token": "expiring-token"}
    controller.variables.update({f"ansible_eic_{name}": value for name, value in record.items()})
    with changed_world(controller.lab) as world:
        expires = time.time() + LIFETIME
        world["more_credentials"] = [{**record, "expires": expires}]
        world.save()
        assert controller.run("true")[0] == 0
        time.sleep(max(0.0, expires + 0.5 - time.time()))
        assert controller.run("true")[0] == 0
        controller.close()
        kind, message = controller.failure()
        assert kind == "authentication" and "have expired" in message and "AWS request" in message, message
