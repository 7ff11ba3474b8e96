# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS as the controller sees it: options, a botocore session, clients, and one sentence for everything that can go wrong.

Options have the names of amazon.aws, so that nobody learns them twice. botocore is imported inside the functions: it costs 0.3 s,
and each task's worker imports this file anew.
"""
from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ansible.module_utils.basic import env_fallback

from ..module_utils.errors import WorkspaceError
from . import aws_credentials, eic_preparation_errors
from .eic_errors import AUTHENTICATION, presentable
from .eic_preparation_errors import ANSWERS, invalid

if t.TYPE_CHECKING:
    import botocore.client
    import botocore.credentials
    import botocore.session

DEFAULT_REGION = "us-east-2"
"""The platform's default (its ``AWS_REGION``)."""

AWS_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "region": {"type": "str", "aliases": ["aws_region", "ec2_region"]},
    "profile": {"type": "str", "aliases": ["aws_profile"]},
    "access_key": {"type": "str", "no_log": False, "aliases": ["aws_access_key_id", "aws_access_key", "ec2_access_key"]},
    "secret_key": {"type": "str", "no_log": True, "aliases": ["aws_secret_access_key", "aws_secret_key", "ec2_secret_key"]},
    "session_token": {"type": "str", "no_log": True, "aliases": ["aws_session_token"]},
    "assume_role_arn": {"type": "str", "aliases": ["iam_role_arn"]},
    "endpoint_url": {"type": "str", "aliases": ["aws_endpoint_url", "ec2_url"], "fallback": (env_fallback, ["AWS_URL"])},
    "aws_ca_bundle": {"type": "path", "fallback": (env_fallback, ["AWS_CA_BUNDLE"])},
}
"""For argument specs. Profile, keys and region of the environment (``AWS_*``) are botocore's own business and work without being named here."""


_ROLE_ARN = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]{12}:role/[!-~]+")
# Which region is asked, and which credentials botocore will find, without asking it.
_IDENTITY_VARIABLES = (
    *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_ROLE_ARN"),
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"),
    *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"),
)


class AwsError(WorkspaceError):
    """AWS could not be asked, or refused the answer: nothing is known about the instance."""


class CredentialsError(AwsError):
    """There should be credentials, and they could not be obtained."""


@dataclasses.dataclass(frozen=True)
class AwsOptions:
    """Which AWS account, region and endpoint to ask, and with whose credentials. ``None``: botocore's usual chain decides."""

    region: str | None = None
    profile: str | None = None
    access_key: str | None = None
    secret_key: str | None = dataclasses.field(default=None, repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)
    endpoint_url: str | None = None
    aws_ca_bundle: str | None = None
    assume_role_arn: str | None = None

    @property
    def identity(self) -> list[str | None]:
        """What tells two identities that ask, or two places that are asked, apart. None of it is secret.

        A connection that another identity opened must not be shared, and what another one was told must not be believed.
        """
        given = [self.region, self.profile, self.access_key, self.assume_role_arn, self.endpoint_url]
        return [*given, *(os.environ.get(name) for name in _IDENTITY_VARIABLES)]

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any]) -> AwsOptions:
        """Pick the AWS options out of a task's validated arguments; empty values count as not given."""
        return cls(**{field.name: parameters.get(field.name) or None for field in dataclasses.fields(cls)})


def session(options: AwsOptions) -> botocore.session.Session:
    """Return a botocore session with the options' profile, keys or role; credentials are resolved later, when they are first needed.

    Raises :class:`InvalidInputError` for options that exclude each other and :class:`AwsError` when botocore is missing or the profile is unknown.
    """
    try:
        import botocore.exceptions
        import botocore.session
    except ImportError as error:
        raise AwsError(eic_preparation_errors.sentence("Boto3Missing")) from error
    if options.profile and (options.access_key or options.secret_key or options.session_token):
        raise invalid("ProfileAndKeys")
    if bool(options.access_key) != bool(options.secret_key):
        raise invalid("HalfOfTheKeys")
    if options.session_token and not options.access_key:
        raise invalid("TokenWithoutKeys")
    if options.assume_role_arn and not _ROLE_ARN.fullmatch(options.assume_role_arn):
        raise invalid("RoleArnInvalid", value=options.assume_role_arn)
    keys = (options.access_key, options.secret_key, options.session_token) if options.access_key and options.secret_key else None
    try:
        made = botocore.session.Session(profile=options.profile)
        # what botocore asks by itself to get credentials is asked in the same region, and trusted by the same certificates
        made.set_config_variable("region", region(options, made))
        if options.aws_ca_bundle:
            made.set_config_variable("ca_bundle", options.aws_ca_bundle)
        # an unknown profile shows here, not at the first call
        made.get_scoped_config()
        aws_credentials.prepare(made, keys or (None if options.profile else aws_credentials.environment_keys()), options.assume_role_arn)
    except botocore.exceptions.BotoCoreError as error:
        raise AwsError(sentence(error, "cannot read the AWS configuration")) from error
    return made


def region(options: AwsOptions, made: botocore.session.Session) -> str:
    """The region: the option, else ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the profile's region, else the platform's default."""
    return options.region or os.environ.get("AWS_REGION") or made.get_config_variable("region") or DEFAULT_REGION


def credentials(made: botocore.session.Session) -> botocore.credentials.ReadOnlyCredentials | None:
    """The session's credentials as they are now, whatever botocore resolves: keys, profile, SSO, role, process, container, instance; ``None`` without any.

    Raises :class:`CredentialsError`.
    """
    try:
        return aws_credentials.resolve(made)
    except Exception as error:  # pylint: disable=broad-except
        # a broken token file or the output of somebody's credential process end in any exception
        raise CredentialsError(sentence(error, "cannot get AWS credentials")) from error


def client(
    options: AwsOptions, service: str, *, endpoint_url: str | None = None, made: botocore.session.Session | None = None
) -> botocore.client.BaseClient:
    """Return a botocore client for ``service`` ("ec2", "ec2-instance-connect"); ``endpoint_url`` wins over the options' one.

    ``made``: a session from :func:`session`, to resolve credentials once for several clients. Raises as :func:`session` and :func:`credentials`.
    """
    made = made or session(options)
    credentials(made)
    import botocore.config
    import botocore.exceptions

    try:
        return made.create_client(
            service,
            region_name=region(options, made),
            endpoint_url=endpoint_url or options.endpoint_url,
            config=botocore.config.Config(
                connect_timeout=10, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 5}, user_agent_extra="molecule_ai.workspace"
            ),
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise AwsError(sentence(error, f"cannot make a client for AWS {service}")) from error


def is_authentication(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is about who asks and what that identity may do: AWS refused, or there are no usable credentials."""
    try:
        import botocore.exceptions as e
    except ImportError:
        return False

    while error is not None:
        if isinstance(error, CredentialsError) and not isinstance(error.__cause__, (e.ClientError, e.HTTPClientError)):
            return True
        if isinstance(error, e.ClientError):
            answer = ANSWERS.get(error.response.get("Error", {}).get("Code", ""))
            return answer is not None and answer.kind == AUTHENTICATION
        if isinstance(error, (e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError, e.TokenRetrievalError, e.SSOError)):
            return True
        error = error.__cause__
    return False


def sentence(error: BaseException, what: str) -> str:
    """One sentence for an error of botocore: ``what`` (for example "cannot look up EC2 instances"), the cause, what to do. Never a secret.

    ``error`` may be any exception; botocore's own are explained.
    """
    import botocore.exceptions as e

    if isinstance(error, e.ClientError):
        details = error.response.get("Error", {})
        code = str(details.get("Code", "an unknown error"))
        request_id = error.response.get("ResponseMetadata", {}).get("RequestId")
        # IAM names its actions like the API its operations.
        hint = ANSWERS[code].remedy.format(action=error.operation_name) if code in ANSWERS else _shortened(str(details.get("Message", "")))
        return eic_preparation_errors.ANSWERED.format(what=what, code=code) + (f" ({hint})" if hint else "") + (f", request {request_id}" if request_id else "")
    if isinstance(error, (e.NoCredentialsError, e.PartialCredentialsError)):
        return eic_preparation_errors.sentence("CredentialsMissing", what=what)
    if isinstance(error, (e.TokenRetrievalError, e.SSOError, e.CredentialRetrievalError)):
        return eic_preparation_errors.sentence("CredentialsNotObtained", what=what, reason=presentable(str(error)))
    if isinstance(error, (e.HTTPClientError, e.ConnectionError)):
        return eic_preparation_errors.sentence("AwsNotReached", what=what, reason=_shortened(str(error)))
    return f"{what}: {_shortened(str(error)) or type(error).__name__}"


def _shortened(message: str) -> str:
    """The first line of a message without the kilobyte of encoded authorization failure, without its full stop, at most 300 characters."""
    lines = re.split(r"\s*Encoded authorization failure message:|[\r\n]", message.strip(), maxsplit=1)
    return lines[0].rstrip(". ")[:300]
