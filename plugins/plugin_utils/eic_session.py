# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin's side of a connection through EC2 Instance Connect: ssh's options, the ticket, and opening the shared connection.

Nothing here knows Ansible. botocore is touched only when a new connection is needed: on a warm host there is not one AWS call.
"""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import os
import random
import secrets
import shlex
import sys
import time
import typing as t
import urllib.parse

from ..module_utils.errors import WorkspaceError
from . import aws_session, eic_budget, eic_console_keys, eic_errors, eic_identity, eic_known_hosts, eic_master, eic_ticket, eic_tunnel, eic_use, run_directories
from .eic_preparation_errors import invalid
from .eic_settings import Settings
from .eic_target import Target, resolve
from .eic_target_cache import CachedLookup, forget

if t.TYPE_CHECKING:
    import botocore.client
    import botocore.credentials
    import botocore.session

_RESOLVED_WRONGLY = frozenset([
    "TargetUnreachable", "AddressUnreachable", "InstanceNotFound", "InstanceNotRunning", "InstanceUnavailable", "EndpointNotFound", "TunnelParameterRefused",
    "TunnelRefused", "NameResolution", "ConnectionRefused", "ConnectionFailed", "CertificateRefused", "HandshakeInvalid", "KeyNotAccepted", "HostKeyChanged",
    "OpenTunnelDenied", "KeyPushDenied", "KeyPushInvalid", "KeyPushRefused",
])
"""Failures that a remembered address or endpoint may be the cause of: IAM denies what is not the account's own any more, too."""

MAYBE_QUOTA = frozenset(["UpgradeReset", "TunnelServiceError", "TunnelRefused"])
"""Refusals that may be how an endpoint says that it has no tunnel left: AWS documents its quota, not what the 21st tunnel gets."""

_UNEXPLAINED_WAIT = 90.0
"""Seconds for which such a refusal is taken for the quota while no tunnel of ours shows that the endpoint works: more than the 60 s (``ControlPersist``)
after which other controllers give idle connections up."""

_LONGEST_PAUSE = 30.0
"""Seconds between two attempts while the endpoint's quota is used up by other controllers."""

REPEATED_ONCE = frozenset(
    ["TargetUnreachable", "AddressUnreachable", "KeyNotAccepted", "TunnelClosed", "TunnelLost", "LoginClosed"]
)
"""Failures after which everything is done once more from the start, with what EC2 says then and a new key push: they may pass, and no command has started."""


class EicError(WorkspaceError):
    """The connection failed; ``code`` and ``kind`` are those of eic_errors, ``str(error)`` is the sentence."""

    def __init__(self, code: str, context: eic_errors.Context, request_id: str | None = None) -> None:
        super().__init__(eic_errors.sentence(code, context, request_id))
        self.code = code
        self.context = context
        self.kind = eic_errors.FAILURES[code].kind if code in eic_errors.FAILURES else eic_errors.UNREACHABLE


def new_ticket_path(run_directory: str) -> str:
    """A path for a ticket that nobody else uses, in the run's private directory."""
    return os.path.join(run_directory, f"eic-ticket-{secrets.token_hex(8)}")


def ssh_options(settings: Settings, ticket_path: str) -> list[str]:
    """What must hold for every ssh, sftp and scp. ssh takes the first value of an option, so these go before the user's arguments."""
    proxy_command = shlex.join([sys.executable, "-I", "-S", eic_tunnel.__file__, ticket_path])
    options = {
        "ProxyCommand": proxy_command.replace("%", "%%"),
        "ControlMaster": "auto",
        "ControlPath": eic_identity.quoted_path(settings.control_path),
        "HostKeyAlias": settings.instance_id,
        "UserKnownHostsFile": eic_identity.quoted_path(settings.trusted_hosts),
        "StrictHostKeyChecking": "accept-new" if settings.host_key_policy == "accept-new" else "yes",
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "IdentityFile": eic_identity.quoted_path(settings.key_file or eic_identity.private_key_path(settings.run_directory)),
        "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey",
        "PubkeyAuthentication": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    if settings.host_key_policy == "console":
        options |= {"GlobalKnownHostsFile": "/dev/null", "VerifyHostKeyDNS": "no"}
    if settings.direct:
        # the tunnel process connects, pushes the key, hands the connection over and ends
        options["ProxyUseFdpass"] = "yes"
    return [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]


def moved(command: t.Sequence[bytes], settings: Settings, others: Settings) -> list[bytes]:
    """``command``, which is meant for the shared connection of ``settings``, over that of ``others``."""
    old, new = (f"ControlPath={eic_identity.quoted_path(each.control_path)}".encode() for each in (settings, others))
    return [new if argument == old else argument for argument in command]


DEFAULT_SSH_OPTIONS = ("-o", "ControlPersist=60s", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
"""Behind the user's arguments, so that those win."""


@contextlib.contextmanager
def ticket(settings: Settings, path: str, wait: float | None = None) -> t.Iterator[Target]:
    """Resolve the target, wait for a place in the endpoint's budget (``wait`` seconds, by default ``tunnel_wait``), resolve the credentials, and let a
    ticket lie at ``path`` meanwhile; yields the target.

    Raises :class:`EicError`, :class:`aws_session.AwsError`, :class:`eic_target.TargetError`, :class:`InvalidInputError` and :class:`OSError`.
    """
    run_directories.enter(settings.run_directory)
    made = aws_session.session(settings.aws)
    fips = bool(made.get_config_variable("use_fips_endpoint"))
    region = aws_session.region(settings.aws, made)
    lookup = CachedLookup(lambda: _ec2_client(settings, made), settings.target_cache, settings.target_cache_lifetime)
    target = resolve(settings.known, settings.instance_id, lookup, fips=fips, direct=settings.direct)
    public_key = _public_key(settings)
    policy = settings.host_key_policy
    eic_known_hosts.prepare(settings.trusted_hosts, remember=policy == "accept-new", follow=policy == "strict")
    if policy == "console":
        _trust_console(settings, made)
    eic_ticket.take_report(settings.status_path)
    with _slot(settings, target, settings.tunnel_wait if wait is None else wait) as slot:
        # only now: the wait may have been longer than they last
        credentials = _credentials(settings, made)
        content = eic_ticket.Ticket(
            site_directory=_site_directory(settings),
            status_path=settings.status_path,
            region=region,
            access_key=credentials.access_key,
            secret_key=credentials.secret_key,
            session_token=credentials.token,
            instance_id=settings.instance_id,
            os_user=settings.os_user,
            public_key=public_key,
            endpoint_id=str(target.endpoint_id),
            dns_name=str(target.dns_name),
            address=str(target.address),
            port=settings.port,
            max_tunnel_duration=settings.max_tunnel_duration,
            key_push_url=settings.instance_connect_endpoint_url or _key_push_url(made, region, fips),
            connect_to=settings.connect_to,
            ca_bundle=settings.aws.aws_ca_bundle,
            timeout=settings.tunnel_timeout,
            direct=settings.direct,
            slot_path=slot.path if slot else None,
            slot_nonce=slot.nonce if slot else None,
        )
        try:
            eic_ticket.write(path, content)
            yield target
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _slot(settings: Settings, target: Target, wait: float) -> contextlib.AbstractContextManager[eic_budget.Claim | None]:
    """A place in the budget of the target's endpoint; none is needed without a tunnel."""
    return contextlib.nullcontext() if settings.direct else _claimed_slot(settings, target, wait)


@contextlib.contextmanager
def _claimed_slot(settings: Settings, target: Target, wait: float) -> t.Iterator[eic_budget.Claim]:
    eic_use.sweep(settings.state_directory)
    holder = {"control_path": settings.control_path, "use_file": settings.use_file, "instance_id": settings.instance_id}
    directory = _budget_directory(settings, str(target.endpoint_id))
    claim = eic_budget.claimed(directory, settings.tunnel_budget, wait, holder, functools.partial(_stop_idle, settings))
    with contextlib.ExitStack() as held:
        try:
            slot = held.enter_context(claim)
        except eic_budget.BudgetTimeout as error:
            raise EicError("TunnelBudget", settings.context(endpoint=target.endpoint_id, seconds=int(wait))) from error
        except OSError as error:
            raise invalid("StateDirectoryUnusable", path=error.filename or settings.state_directory, reason=error.strerror) from error
        yield slot


def _budget_directory(settings: Settings, endpoint_id: str) -> str:
    return os.path.join(settings.state_directory, f"tunnels-{urllib.parse.quote(endpoint_id, safe='')}")


def _stop_idle(settings: Settings, holders: t.Iterable[eic_budget.Holder], wanted: int) -> int:
    return eic_use.stop_least_recently_used(holders, wanted, eic_master.is_alive, lambda path: eic_master.stop(settings.ssh_executable, path))


def open_master(settings: Settings, command: t.Sequence[bytes], ticket_path: str) -> None:
    """Open the shared connection with ``command`` (an ssh with everything but ``-f -N``), unless it is there; one process per host at a time.

    Raises :class:`EicError` and what :func:`ticket` raises.
    """
    if is_ready(settings):
        return
    limit = settings.tunnel_wait + 2 * settings.login_limit
    try:
        with eic_master.serialised(f"{settings.control_path}.lock", limit):
            if not is_ready(settings) and _stop_old(settings):
                _open_within_quota(settings, command, ticket_path)
    except eic_master.LockTimeout as error:
        raise EicError("LockTimeout", settings.context(seconds=limit)) from error


def is_ready(settings: Settings) -> bool:
    """Whether the shared connection is there, and its tunnel has time left for another task."""
    if not eic_master.is_alive(settings.control_path):
        return False
    end = None if settings.direct else eic_use.recorded_end(settings.use_file)
    return end is None or time.time() < end - min(settings.rotation_margin, settings.max_tunnel_duration / 2)


def _stop_old(settings: Settings) -> bool:
    """Let a master whose tunnel ends soon take no more sessions; those that it has go on to their end. Whether its place is free."""
    eic_master.stop(settings.ssh_executable, settings.control_path)
    return not eic_master.is_alive(settings.control_path)


def _open_within_quota(settings: Settings, command: t.Sequence[bytes], ticket_path: str) -> None:
    """Other controllers have tunnels on the same endpoint, so it may be full in spite of our budget: give up an idle one of ours, and come again later."""
    start, longest, others = time.monotonic(), 1.0, 1
    while True:
        pause = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        try:
            return _open_master(settings, command, ticket_path)
        except EicError as error:
            if error.code in _RESOLVED_WRONGLY:
                forget(settings.target_cache, settings.instance_id)
            holders = eic_budget.holders(_budget_directory(settings, error.context.endpoint))
            if time.monotonic() + pause < start + _patience(settings, error.code, holders):
                _stop_idle(settings, holders, 1)
            elif error.code in REPEATED_ONCE and others:
                others -= 1
            else:
                raise
        time.sleep(pause)
        longest = min(2 * longest, _LONGEST_PAUSE)


def _patience(settings: Settings, code: str, holders: t.Iterable[eic_budget.Holder]) -> float:
    """Seconds for which a failure is taken for the endpoint's quota, which other controllers use up. With a tunnel of ours open on it, an endpoint that
    refuses another one without a reason is more likely full than broken."""
    if code == "TunnelQuota" or (code in MAYBE_QUOTA and any(eic_master.is_alive(holder.get("control_path", "")) for holder in holders)):
        return settings.tunnel_wait
    return min(_UNEXPLAINED_WAIT, settings.tunnel_wait) if code in MAYBE_QUOTA else 0.0


def _open_master(settings: Settings, command: t.Sequence[bytes], ticket_path: str) -> None:
    eic_master.sweep(settings.control_directory)
    with ticket(settings, ticket_path) as target:
        context = settings.context(endpoint=target.endpoint_id, address=target.address)
        if not settings.direct:
            # noted beforehand: rather replaced a little too early than never
            eic_use.record_end(settings.use_file, time.time() + settings.max_tunnel_duration)
        # ConnectTimeout must leave the tunnel the time to say itself what is wrong
        options = ["-f", "-N", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={settings.tunnel_timeout + settings.login_timeout}"]
        try:
            status, messages = eic_master.start(
                [command[0], *(option.encode() for option in options), *command[1:]], settings.login_limit, settings.control_path
            )
        except eic_master.MasterMissing as error:
            raise EicError("MasterMissing", context) from error
        except eic_master.LoginTimeout as error:
            raise failure(settings, context, "LoginTimeout") from error
        except OSError as error:
            raise EicError("SshConfiguration", context) from error
    if status != 0:
        # when it is ssh that gives up, it does so by its ConnectTimeout
        context = dataclasses.replace(context, seconds=settings.tunnel_timeout + settings.login_timeout)
        raise failure(settings, context, eic_errors.code_of_ssh_messages(messages))
    if settings.host_key_policy == "accept-new":
        try:
            if not eic_known_hosts.has(settings.trusted_hosts, settings.instance_id) and not eic_known_hosts.is_known_globally(settings.instance_id):
                raise EicError("HostKeyNotKept", context)
        except WorkspaceError:
            eic_master.stop(settings.ssh_executable, settings.control_path)
            raise


def failure(settings: Settings, context: eic_errors.Context, ssh_code: str) -> EicError:
    """The error to show when ssh failed with ``ssh_code``: the tunnel knows better, unless ssh got as far as to judge keys."""
    report = eic_ticket.take_report(settings.status_path)
    if report is None or (report.phase == "tunnel" and eic_errors.FAILURES[ssh_code].kind == eic_errors.AUTHENTICATION):
        return EicError(ssh_code, context)
    context = dataclasses.replace(context, reason=report.message, host=report.host or context.host)
    return EicError(report.code, context, report.request_id)


def _public_key(settings: Settings) -> str:
    try:
        return eic_identity.public_key_of(settings.key_file) if settings.key_file else eic_identity.ensure_key(settings.run_directory)
    except eic_identity.KeyFileError as error:
        raise EicError("KeyFileUnusable", settings.context(reason=str(error))) from error
    except eic_identity.KeygenError as error:
        raise EicError("KeygenFailed", settings.context()) from error


def _trust_console(settings: Settings, made: t.Any) -> None:
    """Learn the instance's host keys from its console, unless they are known."""
    import botocore.exceptions

    def console_output() -> str:
        return str(_ec2_client(settings, made).get_console_output(InstanceId=settings.instance_id).get("Output", ""))

    try:
        if not eic_console_keys.ensure(settings.trusted_hosts, settings.instance_id, console_output):
            raise EicError("ConsoleWithoutKeys", settings.context())
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise aws_session.AwsError(aws_session.sentence(error, f"{settings.instance_id}: cannot read its console for the host keys")) from error


def _credentials(settings: Settings, made: botocore.session.Session) -> botocore.credentials.ReadOnlyCredentials:
    try:
        found = aws_session.credentials(made)
    except aws_session.CredentialsError as error:
        raise aws_session.CredentialsError(f"{settings.instance_id}: {error}") from error.__cause__
    if found is None:
        raise EicError("NoCredentials", settings.context())
    return found


def _ec2_client(settings: Settings, made: botocore.session.Session) -> botocore.client.BaseClient:
    # first, so that what is wrong with them is told in the same way whoever needs them
    _credentials(settings, made)
    return aws_session.client(settings.aws, "ec2", made=made)


def _key_push_url(made: t.Any, region: str, fips: bool) -> str:
    """The URL of the EC2 Instance Connect API, from botocore's endpoint data: making a whole client would cost 0.4 s."""
    endpoint = made.get_component("endpoint_resolver").construct_endpoint("ec2-instance-connect", region, use_fips_endpoint=fips)
    host = endpoint["hostname"] if endpoint else f"ec2-instance-connect.{region}.amazonaws.com"
    return f"https://{host}/"


def _site_directory(settings: Settings) -> str:
    """Where ``websockets`` lies for this process; the tunnel process starts without site-packages."""
    found = importlib.util.find_spec("websockets")
    if found is None or not found.origin:
        raise EicError("WebsocketsMissing", settings.context())
    return os.path.dirname(os.path.dirname(found.origin))
