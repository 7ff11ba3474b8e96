# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which a connection can fail before ssh is started: settings, credentials and look-ups, as one table from code to sentence and kind.

The table of what comes after that is in ``eic_errors.py``, which the tunnel process imports as well. The troubleshooting page is both tables printed.
What AWS answers by an error code has a table of its own here; modules and the inventory tell it in the same words.
"""
from __future__ import annotations

import typing as t

from ..module_utils.errors import InvalidInputError
from .eic_errors import AUTHENTICATION, CONFIGURATION, UNREACHABLE, Failure


def _setting(cause: str, remedy: str) -> Failure:
    return Failure(cause, remedy, kind=CONFIGURATION)


SETTINGS: dict[str, Failure] = {
    "InstanceIdMissing": _setting("{host}: the connection needs an EC2 instance id", "set ansible_eic_instance_id, or ansible_host to the id"),
    "InstanceIdInvalid": _setting("{value!r} is not an EC2 instance id", "set ansible_eic_instance_id to 'i-' and 8 to 17 hexadecimal digits"),
    "OsUserInvalid": _setting("{value!r} cannot be an OS user for EC2 Instance Connect", "check ansible_user"),
    "DurationInvalid": _setting("a tunnel may last 1 to 3600 seconds, not {value}", "check ansible_eic_max_tunnel_duration"),
    "BudgetInvalid": _setting("the tunnel budget must be at least 1, not {value}", "check ansible_eic_tunnel_budget"),
    "WaitInvalid": _setting("the time to wait for a tunnel cannot be {value} seconds", "check ansible_eic_tunnel_wait"),
    "MarginInvalid": _setting("the margin before a tunnel's end cannot be {value} seconds", "check ansible_eic_rotation_margin"),
    "LifetimeInvalid": _setting("targets cannot be remembered for {value} seconds", "check ansible_eic_target_cache_lifetime"),
    "TimeoutInvalid": _setting("the time to open a tunnel must be at least 1 second, not {value}", "check ansible_eic_tunnel_timeout"),
    "TunnelAddressInvalid": _setting("{value!r} is not of the form host:port", "check ansible_eic_tunnel_address"),
    "KeyPushUrlInvalid": _setting("{value!r} is not an http or https URL", "check ansible_eic_instance_connect_endpoint_url"),
    "SocketPathTooLong": _setting("the ControlPath directory {value!r} is too long for a socket", "set ansible_control_path_dir to a shorter path"),
    "PathNotQuotable": _setting("{value!r} cannot be used in ssh options", "use a path without quotes, backslashes, '${{' and control characters"),
    "KnownHostsUnusable": _setting("{path}: {reason}", "host keys cannot be {purpose} there, check ansible_eic_known_hosts_file"),
    "StateDirectoryUnusable": _setting("{path}: {reason}", "check ansible_eic_state_directory"),
    "LocalFileUnusable": _setting("{path}: {reason}",
                                  "check ansible_eic_state_directory, ansible_control_path_dir and the controller's local temporary directory"),
    "ProfileAndKeys": _setting("the credentials are given twice", "give either an AWS profile or AWS keys (access_key, secret_key, session_token), not both"),
    "HalfOfTheKeys": _setting("one of the AWS keys is missing", "AWS keys need both access_key and secret_key"),
    "TokenWithoutKeys": _setting("the AWS keys are missing", "an AWS session_token needs access_key and secret_key beside it"),
    "RoleArnInvalid": _setting("assume_role_arn is no ARN of an IAM role: {value!r}", "give it as arn:aws:iam::ACCOUNT:role/NAME"),
}
"""What somebody has set, and the files that it names."""

CREDENTIALS: dict[str, Failure] = {
    "Boto3Missing": Failure("cannot ask AWS: the Python package 'boto3' is missing on the controller", "install it with 'pip install boto3'"),
    "CredentialsMissing": Failure("{what}: no AWS credentials on the controller", "set a profile, access_key and secret_key, or AWS_* in the environment",
                                  kind=AUTHENTICATION),
    "CredentialsNotObtained": Failure("{what}: the AWS credentials could not be obtained ({reason})",
                                      "for a profile with SSO log in again with 'aws sso login'", kind=AUTHENTICATION),
    "AwsNotReached": Failure("{what}: AWS cannot be reached ({reason})", "check region, endpoint_url, proxy and network", retryable=True),
}
"""Whose credentials AWS is asked with, and whether it can be."""

_CHECK_ENDPOINT = "check ansible_eic_endpoint_id, region and account"

LOOK_UPS: dict[str, Failure] = {
    "InstanceUnknown": Failure("{instance_id}: EC2 knows no such instance", "check the instance id, the region and the account of the credentials"),
    "InstanceStopped": Failure("{instance_id}: the instance is {state}, not running", "start it, or remove it from the inventory"),
    "AddressMissing": Failure("{instance_id}: the instance has no private address", "set ansible_eic_private_address"),
    "EndpointUnknown": Failure("EC2 Instance Connect Endpoint {endpoint} does not exist", _CHECK_ENDPOINT),
    "EndpointUnusable": Failure("EC2 Instance Connect Endpoint {endpoint} is in state {state} and opens no tunnels", _CHECK_ENDPOINT),
    "EndpointMissing": Failure("{instance_id}: VPC {vpc} has no usable EC2 Instance Connect Endpoint", "create one there, or set ansible_eic_endpoint_id"),
    "DnsNameMissing": Failure("EC2 Instance Connect Endpoint {endpoint} has no {name}", "set ansible_eic_endpoint_dns_name"),
}
"""What EC2 says about the instance and its endpoint."""


ANSWERED = "{what}: AWS answers {code}"


def _answer(hint: str, *, retryable: bool = False, kind: str = AUTHENTICATION) -> Failure:
    return Failure(ANSWERED, hint, retryable, kind)


def _throttled() -> Failure:
    return _answer("AWS throttles this account, try again later", retryable=True, kind=UNREACHABLE)


_UNKNOWN_KEY = "the access key is not known"
_EXPIRED = "the temporary credentials have expired, get new ones"
_DENIED = "allow the IAM identity the action {action}"

ANSWERS: dict[str, Failure] = {
    "AuthFailure": _answer(f"{_UNKNOWN_KEY} in this account and region, the secret key does not belong to it, or the controller's clock is wrong"),
    "InvalidClientTokenId": _answer(_UNKNOWN_KEY),
    "UnrecognizedClientException": _answer(_UNKNOWN_KEY),
    "SignatureDoesNotMatch": _answer("the secret key does not belong to the access key, or the controller's clock is wrong"),
    "RequestExpired": _answer("the credentials have expired or the controller's clock is wrong"),
    "ExpiredToken": _answer(_EXPIRED),
    "ExpiredTokenException": _answer(_EXPIRED),
    "UnauthorizedOperation": _answer(_DENIED),
    "AccessDenied": _answer(_DENIED),
    "AccessDeniedException": _answer(_DENIED),
    "RequestLimitExceeded": _throttled(),
    "Throttling": _throttled(),
    "ThrottlingException": _throttled(),
}
"""What to do, by AWS's error code. Where there is a remedy, AWS's own text is left out: a signature error quotes the signed request, session token included."""

TABLES = {**SETTINGS, **CREDENTIALS, **LOOK_UPS}


def sentence(code: str, **names: t.Any) -> str:
    """The sentence for ``code``: what, and what to do. ``names`` are what its row names."""
    failure = TABLES[code]
    return f"{failure.cause.format_map(names)}; {failure.remedy.format_map(names)}"


def invalid(code: str, **names: t.Any) -> InvalidInputError:
    """The error of a row of :data:`SETTINGS`."""
    return InvalidInputError(sentence(code, **names))
