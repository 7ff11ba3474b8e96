# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which a connection through EC2 Instance Connect can fail: one table from code to sentence, hint, retry and kind.

The tunnel process reports codes, the connection plugin turns them into sentences, and the troubleshooting page is this table printed. Texts of ssh and AWS
never pass through to the user as they are: they may quote signed requests, and they rarely say what to do.
Standard library only: the tunnel process imports this file without any package around it.
"""
from __future__ import annotations

import dataclasses
import re
import typing as t

UNREACHABLE = "unreachable"
AUTHENTICATION = "authentication"
CONFIGURATION = "configuration"


@dataclasses.dataclass(frozen=True)
class Failure:
    """One row: what happened, what to do, whether another attempt before the login may help, and what kind of failure Ansible should see.

    ``cause`` and ``remedy`` are templates over :class:`Context`. ``kind``: ``unreachable`` and ``authentication`` make a host UNREACHABLE,
    ``configuration`` makes the task fail.
    """

    cause: str
    remedy: str
    retryable: bool = False
    kind: str = UNREACHABLE


@dataclasses.dataclass(frozen=True)
class Context:
    """What the sentences name. None of it is secret."""

    instance_id: str
    user: str = "the login user"
    region: str = "the region"
    endpoint: str = "the endpoint"
    host: str = "the service"
    address: str = "the instance"
    port: int = 22
    known_hosts: str = "the known_hosts file"
    seconds: int = 0
    budget: int = 0
    reason: str = ""


_NETWORK = "check the network, the proxy variables and the region ({region})"
_CLOCK = "check the controller's clock and that the secret key belongs to the access key"
_SIGN_IN = "get new ones, for a profile with SSO by 'aws sso login'"

FAILURES: dict[str, Failure] = {
    # before anything is sent: the plugin's own preparations
    "NoCredentials": Failure("there are no AWS credentials on the controller", "set a profile, access_key and secret_key, or AWS_* in the environment",
                             kind=AUTHENTICATION),
    "KeyFileUnusable": Failure("the own SSH key cannot be used ({reason})",
                               "check ansible_ssh_private_key_file; its public key must lie beside it or be derivable", kind=CONFIGURATION),
    "KeygenFailed": Failure("the run's key pair cannot be made", "install OpenSSH's ssh-keygen on the controller", kind=CONFIGURATION),
    "WebsocketsMissing": Failure("the Python package 'websockets' is missing or too old on the controller", "install it with 'pip install \"websockets>=13\"'",
                                 kind=CONFIGURATION),
    "LockTimeout": Failure("another process has been connecting to it for {seconds} s", "look for a hung ssh process, or raise ansible_eic_tunnel_timeout"),
    "TunnelBudget": Failure(
        "all {budget} tunnels that this controller may have on endpoint {endpoint} have been in use for {seconds} s",
        "wait for the other tasks, or raise ansible_eic_tunnel_wait: an endpoint has a quota of 20 tunnels that AWS does not raise, shared by all controllers",
    ),
    # handing over to the tunnel process
    "TicketMissing": Failure("the shared connection ended just before it was needed", "run the play again", retryable=True),
    "SlotLost": Failure("the tunnel's place in the endpoint's budget was given away before it started", "run the play again"),
    "TicketInvalid": Failure("the tunnel process could not use its parameters", "check that nobody changes the controller's local temporary directory"),
    "Internal": Failure("the tunnel process met an error of its own ({reason})", "report it with the output of -vvvv"),
    # the network, to the endpoint and to the API
    "NameResolution": Failure("the name {host} cannot be resolved", _NETWORK, retryable=True),
    "ConnectionRefused": Failure("{host} refuses connections", _NETWORK, retryable=True),
    "ConnectionFailed": Failure("{host} cannot be reached", _NETWORK, retryable=True),
    "ConnectionReset": Failure("{host} closed the connection before it answered", _NETWORK, retryable=True),
    "StepTimeout": Failure("{host} did not answer in time ({reason})", "check the network, or raise ansible_eic_tunnel_timeout", retryable=True),
    "CertificateRefused": Failure("the TLS certificate of {host} is not trusted", "set ansible_eic_ca_bundle to the CA that issued it, or look for a TLS proxy",
                                  kind=AUTHENTICATION),
    "CaBundleUnreadable": Failure("the CA bundle cannot be read", "set ansible_eic_ca_bundle to a readable file of PEM certificates", kind=CONFIGURATION),
    "TlsFailed": Failure("TLS with {host} failed", "check that nothing but TLS 1.2 or newer answers there"),
    "ProxyInvalid": Failure("the proxy of HTTPS_PROXY cannot be used", "give it as http://host:port, or exclude the host by NO_PROXY", kind=CONFIGURATION),
    "ProxyRefused": Failure("the proxy refuses to connect to {host} ({reason})", "allow it there, check the proxy's credentials, or use NO_PROXY"),
    # opening the tunnel
    "OpenTunnelDenied": Failure(
        "the IAM identity may not open a tunnel",
        "allow ec2-instance-connect:OpenTunnel on endpoint {endpoint}, with conditions that admit port {port}, {address} and the duration",
        kind=AUTHENTICATION,
    ),
    "CredentialsExpired": Failure("the AWS credentials have expired", _SIGN_IN, kind=AUTHENTICATION),
    "CredentialsUnknown": Failure("AWS does not know the access key", "check profile, keys and region ({region})", kind=AUTHENTICATION),
    "SignatureRefused": Failure("AWS refuses the request's signature", _CLOCK, kind=AUTHENTICATION),
    "EndpointNotFound": Failure("endpoint {endpoint} does not exist in {region} or is not usable", "check ansible_eic_endpoint_id and its DNS name"),
    "TunnelParameterRefused": Failure("the endpoint refuses the tunnel's parameters ({reason})",
                                      "check ansible_port (22 or 3389), the private address and ansible_eic_max_tunnel_duration"),
    "UpgradeReset": Failure(
        "endpoint {endpoint} closed the connection instead of opening a tunnel",
        "check the network and the proxy variables; if the endpoint has 20 tunnels open, which is its quota, wait or lower forks", retryable=True,
    ),
    "TunnelQuota": Failure("endpoint {endpoint} has no tunnel left",
                           "wait, lower forks or ControlPersist: 20 tunnels per endpoint is a quota that AWS does not raise", retryable=True),
    "TunnelServiceError": Failure("endpoint {endpoint} answers with a server error", "try again later", retryable=True),
    "TunnelRefused": Failure("endpoint {endpoint} refuses the tunnel ({reason})", "check the endpoint's state and its quota of 20 concurrent tunnels"),
    "HandshakeInvalid": Failure("{host} does not answer as an EC2 Instance Connect Endpoint", "check ansible_eic_endpoint_dns_name and what intercepts TLS"),
    # without a tunnel
    "AddressUnreachable": Failure(
        "{address} port {port} cannot be reached from the controller ({reason})",
        "let the instance's security group admit tcp/{port} from the controller, check that sshd runs, or set ansible_eic_tunnel to endpoint",
    ),
    # pushing the public key
    "KeyPushDenied": Failure("the IAM identity may not push an SSH key",
                             "allow ec2-instance-connect:SendSSHPublicKey on instance {instance_id} for ec2:osuser {user}", kind=AUTHENTICATION),
    "KeyPushInvalid": Failure("AWS refuses the parameters of the key push", "check the OS user ({user}) and the instance id", kind=AUTHENTICATION),
    "KeyPushThrottled": Failure("AWS throttles key pushes", "lower forks or try again later", retryable=True),
    "KeyPushServiceError": Failure("the EC2 Instance Connect API of {region} answers with a server error", "try again later", retryable=True),
    "KeyPushRefused": Failure("AWS refuses the key push ({reason})", "check instance, OS user and region"),
    "InstanceNotFound": Failure("the instance does not exist in {region}", "check instance id, region and account"),
    "InstanceNotRunning": Failure("the instance is not running", "start it, or remove it from the inventory"),
    "InstanceUnavailable": Failure("the instance cannot take an SSH key now", "wait until its status checks pass"),
    # the open tunnel
    "TargetUnreachable": Failure("the endpoint cannot reach {address} port {port}",
                                 "let the instance's security group admit tcp/{port} from the endpoint, and check that sshd runs"),
    "TunnelClosed": Failure("the endpoint closed the tunnel ({reason})", "try again; a tunnel lives at most 3600 s"),
    "TunnelLost": Failure("the tunnel broke off", "check the network and try again"),
    "TunnelProtocol": Failure("the endpoint broke the tunnel's protocol ({reason})", "check ansible_eic_endpoint_dns_name and what intercepts TLS"),
    # the login
    "KeyNotAccepted": Failure("its sshd does not accept the pushed key for {user}",
                              "check that the EC2 Instance Connect package is installed there, that the OS user exists, and the instance's clock",
                              kind=AUTHENTICATION),
    "ConsoleWithoutKeys": Failure(
        "its console shows no SSH host keys",
        "wait until it has booted; cloud-init prints them at the first boot only, so later add them to {known_hosts} yourself",
        kind=AUTHENTICATION,
    ),
    "HostKeyChanged": Failure("its host key has changed, so it may be another machine",
                              "if that is expected, remove the line of {instance_id} from {known_hosts}", kind=AUTHENTICATION),
    "HostKeyUnknown": Failure("its host key is not known",
                              "add the key of {instance_id} to {known_hosts}, or set ansible_eic_host_key_policy to accept-new or console",
                              kind=AUTHENTICATION),
    "HostKeyNotKept": Failure("its host key was accepted and is not in {known_hosts}, so a changed one might be accepted as well",
                              "check the space there and what changes the file, or set ansible_eic_host_key_policy to strict if ssh has the key from elsewhere",
                              kind=CONFIGURATION),
    "NoSessionLeft": Failure("its sshd allows no more sessions", "raise MaxSessions in its sshd_config, or run fewer tasks on it at a time"),
    "LoginTimeout": Failure("the SSH login did not end within {seconds} s", "check the instance's load, or raise ansible_eic_tunnel_timeout"),
    "LoginClosed": Failure("its sshd closed the connection before the login", "check MaxStartups, the instance's load and its sshd log"),
    "SshConfiguration": Failure("ssh does not accept its configuration", "check ansible_ssh_args, ansible_ssh_common_args and ~/.ssh/config",
                                kind=CONFIGURATION),
    "LoginFailed": Failure("the SSH login failed", "run again with -vvvv and ansible_ssh_verbosity=3 to see ssh's own messages"),
    "MasterMissing": Failure("ssh logged in but keeps no shared connection",
                             "check ControlMaster and ControlPath in ansible_ssh_args, and the control_path_dir"),
    # after the login
    "OutcomeUnknown": Failure("the connection was lost while a command or a transfer was running{reason}",
                              "its outcome is unknown, so a command is not repeated: look at the instance, then run the play again"),
    "CommandExit255": Failure("a command ended with status 255 while the connection stayed up",
                              "ssh uses that status for its own errors, so the outcome is unknown: let the command use another exit status"),
}


def sentence(code: str, context: Context, request_id: str | None = None) -> str:
    """The sentence for ``code``: where, what, what to do, and AWS's request id when there is one. An unknown code reads as ``Internal``."""
    remedy = FAILURES.get(code, FAILURES["Internal"]).remedy.format_map(dataclasses.asdict(context))
    return f"{context.instance_id}: {cause(code, context)}; {remedy}{request_suffix(request_id)}"


def cause(code: str, context: Context) -> str:
    """Only what happened."""
    if code not in FAILURES:
        code, context = "Internal", dataclasses.replace(context, reason=presentable(code))
    names = dataclasses.asdict(context)
    if not names["reason"] and code != "OutcomeUnknown":
        names["reason"] = "no reason given"
    return FAILURES[code].cause.format_map(names)


def request_suffix(request_id: str | None) -> str:
    """AWS's request id in brackets, for its support; nothing without one."""
    return f" (AWS request {presentable(request_id)})" if request_id else ""


def presentable(text: str) -> str:
    """What may be shown of a service's text: printable, short, without keys, signatures and tokens."""
    text = "".join(character if character.isprintable() else " " for character in text)
    text = re.sub(r"(?i)(x-amz-[a-z-]+|signature|credential|token)\s*[=:]\s*\S+", r"\1=...", text)
    text = re.sub(r"\b(AKIA|ASIA)[A-Z0-9]{8,}\b|[A-Za-z0-9+/=_-]{60,}", "...", text)
    return " ".join(text.split())[:200].rstrip(". ")


_TRY_AGAIN_LATER = 1013
_DENIED = ("AccessDenied", "UnauthorizedOperation", "NotAuthorized", "Forbidden")
_CREDENTIALS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ExpiredToken",), "CredentialsExpired"),
    (("UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure"), "CredentialsUnknown"),
    (("SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature", "RequestExpired", "RequestTimeTooSkewed"), "SignatureRefused"),
)


def code_of_refused_tunnel(status: int, error_code: str) -> str:
    """The row for a handshake that the endpoint refused with an HTTP status and, mostly, an ``ErrorCode``.

    AWS publishes one of the codes only (``InvalidParameter``), so the others are recognised by the words that AWS's services share.
    """
    if code := _matching(error_code, *_CREDENTIALS, (_DENIED, "OpenTunnelDenied"), (("InvalidParameter", "ValidationException"), "TunnelParameterRefused")):
        return code
    if "NotFound" in error_code or "InvalidState" in error_code:
        return "EndpointNotFound"
    if status == 429 or any(word in error_code for word in ("LimitExceeded", "Quota", "TooMany", "Throttl")):
        return "TunnelQuota"
    if status >= 500:
        return "TunnelServiceError"
    return "OpenTunnelDenied" if status in (401, 403) else "TunnelRefused"


def code_of_closed_tunnel(close_code: int, reason: str) -> str:
    """The row for a tunnel that the endpoint closed with an error; only one of its reasons is known, the others are recognised by their words."""
    reason = reason.lower()
    if "unable to connect to target" in reason:
        return "TargetUnreachable"
    if close_code == _TRY_AGAIN_LATER or any(word in reason for word in ("maximum number", "too many", "quota", "limit exceeded", "throttl")):
        return "TunnelQuota"
    return "TunnelClosed"


def code_of_refused_push(status: int, error_type: str) -> str:
    """The row for an error answer of SendSSHPublicKey; ``error_type`` is the exception's name."""
    exact = {
        "AuthException": "KeyPushDenied",
        "InvalidArgsException": "KeyPushInvalid",
        "ServiceException": "KeyPushServiceError",
        "EC2InstanceNotFoundException": "InstanceNotFound",
        "EC2InstanceStateInvalidException": "InstanceNotRunning",
        "EC2InstanceUnavailableException": "InstanceUnavailable",
    }
    if error_type in exact:
        return exact[error_type]
    if code := _matching(error_type, *_CREDENTIALS, (_DENIED, "KeyPushDenied"), (("Throttl", "TooManyRequests"), "KeyPushThrottled")):
        return code
    if status >= 500:
        return "KeyPushServiceError"
    return "KeyPushThrottled" if status == 429 else "KeyPushRefused"


def _matching(text: str, *rows: tuple[t.Sequence[str], str]) -> str | None:
    return next((code for words, code in rows if any(word in text for word in words)), None)


_SSH_MESSAGES: tuple[tuple[str, str], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed|REVOKED HOST KEY", "HostKeyChanged"),
    (r"Host key verification failed|No .* host key is known", "HostKeyUnknown"),
    (r"Permission denied|Too many authentication failures|No more authentication methods", "KeyNotAccepted"),
    (r"timed out", "LoginTimeout"),
    (r"Bad configuration option|command-line line 0|Bad owner or permissions|terminating, .* bad configuration|unknown option|usage: ssh", "SshConfiguration"),
    (r"Connection (closed|reset)|closed by remote host|Broken pipe", "LoginClosed"),
)


def code_of_ssh_messages(messages: str) -> str:
    """The row for what ssh wrote when a login failed and the tunnel has nothing to report."""
    return next((code for pattern, code in _SSH_MESSAGES if re.search(pattern, messages)), "LoginFailed")
