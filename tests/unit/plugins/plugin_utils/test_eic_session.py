# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a shared connection may be used for another task."""
from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
import subprocess
import time
import types
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import (
    aws_session,
    eic_budget,
    eic_known_hosts,
    eic_master,
    eic_session,
    eic_settings,
    eic_use,
)
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_target import Target


@pytest.fixture
def master(settings: eic_settings.Settings) -> t.Iterator[None]:
    """Something that listens at the ControlPath, and whose use is known."""
    with socket.socket(socket.AF_UNIX) as listener, eic_use.using(settings.use_file):
        listener.bind(settings.control_path)
        listener.listen(1000)  # every look at it is a connection that nobody takes
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


OTHER_CONNECTIONS: dict[str, t.Any] = {
    "instance_id": "i-0fedcba9876543210", "os_user": "ec2-user", "port": 3389, "known": Target("10.0.0.1", None, None), "connect_to": "127.0.0.1:443",
    "aws": aws_session.AwsOptions(profile="other"), "instance_connect_endpoint_url": "https://other.example", "known_hosts": "/other/known_hosts",
    "host_key_policy": "strict", "direct": True, "spare": 1, "control_directory": "/tmp",
}
SAME_CONNECTION: dict[str, t.Any] = {
    "max_tunnel_duration": 60, "run_directory": "/other", "tunnel_timeout": 99, "login_timeout": 99, "key_file": "/other/key", "state_directory": "/other",
    "tunnel_budget": 3, "tunnel_wait": 1, "rotation_margin": 1, "target_cache_lifetime": 1, "ssh_executable": "/other/ssh",
}
"""When the login has been made, these make no other connection of it."""

OTHER_IDENTITIES: dict[str, str] = {
    name: f"other-{name}" for name in ("region", "profile", "access_key", "endpoint_url", "assume_role_arn")
}
SAME_IDENTITY: dict[str, str] = {name: f"other-{name}" for name in ("secret_key", "session_token", "aws_ca_bundle")}
"""Secrets are in no name; whose they are says the access key. The CA bundle is a part of the ControlPath, beside the identity."""


def test_every_setting_is_known_to_separate_connections_or_not_to() -> None:
    """A new one has to be put on one of the two lists."""
    assert {field.name for field in dataclasses.fields(eic_settings.Settings)} == {*OTHER_CONNECTIONS, *SAME_CONNECTION}
    assert {field.name for field in dataclasses.fields(aws_session.AwsOptions)} == {*OTHER_IDENTITIES, *SAME_IDENTITY}


@pytest.mark.parametrize("name", OTHER_CONNECTIONS)
def test_what_makes_another_connection_of_it(settings: eic_settings.Settings, name: str) -> None:
    assert dataclasses.replace(settings, **{name: OTHER_CONNECTIONS[name]}).control_path != settings.control_path


@pytest.mark.parametrize("name", SAME_CONNECTION)
def test_what_makes_no_other_connection_of_it(settings: eic_settings.Settings, name: str) -> None:
    assert dataclasses.replace(settings, **{name: SAME_CONNECTION[name]}).control_path == settings.control_path


@pytest.mark.parametrize("part", ["address", "endpoint_id", "dns_name"])
def test_each_part_of_a_given_target_makes_another_connection(settings: eic_settings.Settings, part: str) -> None:
    known = dataclasses.replace(settings.known, **{part: "other"})
    assert dataclasses.replace(settings, known=known).control_path != settings.control_path


@pytest.mark.parametrize("name", [*OTHER_IDENTITIES, *SAME_IDENTITY])
def test_whose_credentials_they_are_separates_connections_and_what_ec2_said(settings: eic_settings.Settings, name: str) -> None:
    aws = aws_session.AwsOptions(**{name: {**OTHER_IDENTITIES, **SAME_IDENTITY}[name]})
    other = dataclasses.replace(settings, aws=aws)
    assert (aws.identity != settings.aws.identity) == (name in OTHER_IDENTITIES)
    assert (other.target_cache != settings.target_cache) == (name in OTHER_IDENTITIES)
    assert (other.control_path != settings.control_path) == (name in OTHER_IDENTITIES or name == "aws_ca_bundle")
    assert not any("other-" in text for text in (other.control_path, other.target_cache))


@pytest.mark.parametrize("name", [
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
])
def test_variables_of_the_environment_separate_connections(settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = settings.control_path
    monkeypatch.setenv(name, "other")
    assert settings.control_path != before


class Attempts:
    """Attempts to open a connection that take a second each and fail with ``codes``, the last one again and again; the clock is the test's."""

    def __init__(self, settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, *codes: str | None) -> None:
        self.settings, self.codes, self.made, self.now = settings, list(codes), 0, 1000.0
        self.forgotten: list[str] = []
        monkeypatch.setattr(eic_session, "_open_master", lambda *_arguments: self._attempt())
        monkeypatch.setattr(eic_session, "forget", lambda path, instance_id: self.forgotten.append(instance_id))
        monkeypatch.setattr(eic_session, "time", types.SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _attempt(self) -> None:
        self.made += 1
        self.now += 1
        code = self.codes[min(self.made, len(self.codes)) - 1]
        if code:
            raise eic_session.EicError(code, self.settings.context(endpoint="eice-1"))

    def seconds(self) -> float | None:
        """After which the failure was told; ``None`` when the connection was opened."""
        start = self.now
        try:
            eic_session._open_within_quota(self.settings, [], "ticket")
        except eic_session.EicError as error:
            assert error.code == self.codes[-1]
            return self.now - start
        return None


MAYBE_QUOTA = ["UpgradeReset", "TunnelServiceError", "TunnelRefused"]


@pytest.mark.parametrize("code", MAYBE_QUOTA)
def test_a_refusal_without_a_reason_is_waited_for_longer_than_others_keep_idle_connections(
    settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    attempts = Attempts(settings, monkeypatch, code)
    assert 45 < (attempts.seconds() or 0) <= 92, "a broken endpoint is told in bounded time"
    assert 4 <= attempts.made <= 12
    assert Attempts(settings, monkeypatch, code, code, code, None).seconds() is None
    assert (Attempts(dataclasses.replace(settings, tunnel_wait=0), monkeypatch, code).seconds() or 9) <= 1


@pytest.mark.parametrize(("code", "longer"), [*((code, True) for code in MAYBE_QUOTA), ("NameResolution", False), ("OpenTunnelDenied", False)])
def test_it_is_waited_for_as_the_quota_while_a_tunnel_of_ours_shows_that_the_endpoint_works(
    settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, code: str, longer: bool
) -> None:
    other = dataclasses.replace(settings, spare=1)
    holder = {"control_path": other.control_path, "use_file": other.use_file}
    with socket.socket(socket.AF_UNIX) as listener, eic_use.using(other.use_file), \
            eic_budget.claimed(f"{settings.state_directory}/tunnels-eice-1", 18, 1, holder, lambda _holders, _wanted: None):
        # claimed, but not open yet: it shows nothing
        assert (Attempts(settings, monkeypatch, code).seconds() or 0) <= 92
        listener.bind(other.control_path)
        listener.listen(1000)  # every look at it is a connection that nobody takes
        seconds = Attempts(settings, monkeypatch, code).seconds() or 0
    assert (3500 < seconds <= 3602) if longer else seconds <= 1


@pytest.mark.parametrize("code", sorted(eic_session.REPEATED_ONCE))
def test_what_may_pass_is_done_once_more_and_no_oftener(settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    attempts = Attempts(settings, monkeypatch, code)
    assert (attempts.seconds() or 99) < 5
    assert attempts.made == 2
    assert Attempts(settings, monkeypatch, code, None).seconds() is None


@pytest.mark.parametrize(("code", "times"), [
    ("TargetUnreachable", 2), ("EndpointNotFound", 1), ("HostKeyChanged", 1), ("KeyPushDenied", 1), ("OpenTunnelDenied", 1), ("TunnelQuota", 0),
    ("CredentialsExpired", 0),
])
def test_what_ec2_said_is_forgotten_when_it_may_be_the_reason(
    settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, code: str, times: int
) -> None:
    attempts = Attempts(settings, monkeypatch, code)
    attempts.seconds()
    assert attempts.forgotten == [settings.instance_id] * times


@pytest.mark.parametrize(("policy", "strict"), [("accept-new", "accept-new"), ("strict", "yes"), ("console", "yes")])
def test_what_ssh_must_be_told_whatever_the_user_says(settings: eic_settings.Settings, policy: str, strict: str) -> None:
    made = dataclasses.replace(settings, host_key_policy=policy)
    arguments = eic_session.ssh_options(made, "/run/ticket")
    options = dict(argument.split("=", 1) for argument in arguments[1::2])
    assert set(arguments[::2]) == {"-o"}
    expected = {
        "HostKeyAlias": settings.instance_id, "StrictHostKeyChecking": strict, "UpdateHostKeys": "no", "HashKnownHosts": "no", "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey", "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "no",
        "UserKnownHostsFile": f'"{made.trusted_hosts}"', "ControlPath": f'"{made.control_path}"',
    }
    assert {name: options[name] for name in expected} == expected
    # of the keys on the console nothing else may be trusted
    trusted_besides = {"GlobalKnownHostsFile": "/dev/null", "VerifyHostKeyDNS": "no"} if policy == "console" else {}
    assert {name: options[name] for name in ("GlobalKnownHostsFile", "VerifyHostKeyDNS") if name in options} == trusted_besides
    assert ("ProxyUseFdpass", "yes") in dict(argument.split("=", 1) for argument in eic_session.ssh_options(
        dataclasses.replace(made, direct=True), "/run/ticket")[1::2]).items()


@pytest.mark.parametrize("policy", ["accept-new", "strict", "console"])
def test_a_link_is_refused_where_keys_are_written_and_read_with_strict(
    settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    target = Target("eice-0123456789abcdef0", "eice.example", "10.0.0.1")
    made = dataclasses.replace(settings, host_key_policy=policy, known=target, instance_connect_endpoint_url="https://push.example")
    pathlib.Path(f"{made.trusted_hosts}.mounted").touch()
    pathlib.Path(made.trusted_hosts).symlink_to(f"{made.trusted_hosts}.mounted")
    expected = contextlib.nullcontext() if policy == "strict" else pytest.raises(InvalidInputError, match="it is a link, not a regular file")
    with expected, eic_session.ticket(made, f"{made.run_directory}/ticket") as resolved:
        assert resolved == target


@pytest.mark.parametrize(("line", "opened"), [("@cert-authority i-* {key}", True), ("i-0123456789abcdef0 {key}", True), ("i-1 {key}", False)])
def test_a_key_that_ssh_knows_from_its_global_files_need_not_be_kept(
    settings: eic_settings.Settings, monkeypatch: pytest.MonkeyPatch, line: str, opened: bool
) -> None:
    key, elsewhere, stopped = f"{settings.run_directory}/key", pathlib.Path(settings.run_directory, "ssh_known_hosts"), []
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    elsewhere.write_text(line.format(key=pathlib.Path(f"{key}.pub").read_text()))
    monkeypatch.setattr(eic_known_hosts, "GLOBAL_FILES", (str(elsewhere),), raising=False)
    monkeypatch.setattr(eic_session, "ticket", lambda *_arguments: contextlib.nullcontext(Target("eice-1", "eice.example", "10.0.0.1")))
    monkeypatch.setattr(eic_master, "start", lambda *_arguments: (0, ""))
    monkeypatch.setattr(eic_master, "stop", lambda _ssh, path: stopped.append(path))
    expected = contextlib.nullcontext() if opened else pytest.raises(eic_session.EicError, match="its host key was accepted and is not in")
    made = dataclasses.replace(settings, direct=True)
    with expected:
        eic_session.open_master(made, [b"ssh"], f"{made.run_directory}/ticket")
    assert stopped[1:] == ([] if opened else [made.control_path]), "the first one is an old one"
