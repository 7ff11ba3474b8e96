# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS options, the region's order, and that every error is one sentence without a secret."""
from __future__ import annotations

import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session

exceptions = pytest.importorskip("botocore.exceptions")

SECRET = "wJalrXUtnFEMI-not-a-real-secret"


@pytest.fixture(autouse=True)
def fixture_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """No AWS configuration but the test's own."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(f"[profile fleet]\nregion = ap-south-1\naws_access_key_id = AKID\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def region_of(options: aws_session.AwsOptions) -> str:
    """The region with a fresh session."""
    return aws_session.region(options, aws_session.session(options))


def test_region_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Option, AWS_REGION, AWS_DEFAULT_REGION, profile, the platform's default."""
    assert region_of(aws_session.AwsOptions()) == "us-east-2"
    assert region_of(aws_session.AwsOptions(profile="fleet")) == "ap-south-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert region_of(aws_session.AwsOptions()) == "eu-west-3"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert region_of(aws_session.AwsOptions(profile="fleet")) == "eu-west-1"
    assert region_of(aws_session.AwsOptions(region="us-west-2")) == "us-west-2"


def test_credentials_of_profile_and_options() -> None:
    """A profile's, or the given keys with their token."""
    assert aws_session.session(aws_session.AwsOptions(profile="fleet")).get_credentials().secret_key == SECRET
    given = aws_session.session(aws_session.AwsOptions(access_key="A", secret_key="B", session_token="C")).get_credentials()
    assert (given.access_key, given.secret_key, given.token) == ("A", "B", "C")


def test_endpoint_url_of_one_service_wins() -> None:
    """A connection has one endpoint for EC2 and another for EC2 Instance Connect."""
    options = aws_session.AwsOptions(endpoint_url="https://ec2.example.com")
    assert aws_session.client(options, "ec2").meta.endpoint_url == "https://ec2.example.com"
    other = aws_session.client(options, "ec2-instance-connect", endpoint_url="https://eic.example.com")
    assert (other.meta.endpoint_url, other.meta.region_name) == ("https://eic.example.com", "us-east-2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "fleet", "access_key": "A", "secret_key": SECRET}, "not both"),
        ({"access_key": "A"}, "both access_key and secret_key"),
        ({"secret_key": SECRET}, "both access_key and secret_key"),
        ({"session_token": SECRET}, "needs access_key and secret_key"),
    ],
)
def test_options_that_exclude_each_other(options: dict[str, str], message: str) -> None:
    """Refused before anything is asked."""
    with pytest.raises(InvalidInputError, match=message) as caught:
        aws_session.session(aws_session.AwsOptions(**options))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "unknown"}, r"profile \(unknown\) could not be found"),
        ({"endpoint_url": "no url"}, "cannot make a client for AWS ec2: Invalid endpoint"),
        ({"region": "no region!"}, "region_name"),
    ],
)
def test_options_that_cannot_work(options: dict[str, str], message: str) -> None:
    """One sentence each."""
    with pytest.raises(aws_session.AwsError, match=message):
        aws_session.client(aws_session.AwsOptions(**options), "ec2")


def test_secrets_are_not_shown() -> None:
    """A dataclass's text ends up in tracebacks and debug output."""
    assert SECRET not in repr(aws_session.AwsOptions(access_key="A", secret_key=SECRET, session_token=SECRET))


def test_empty_values_are_not_given() -> None:
    """Surveys and templates give empty strings for what was not filled in."""
    assert aws_session.AwsOptions.from_parameters({"region": "", "profile": None, "unrelated": 1}) == aws_session.AwsOptions()


def client_error(code: str, message: str = "") -> Exception:
    """What botocore raises for an answer of AWS."""
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"RequestId": "r-1"}}, "DescribeInstances")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (client_error("AuthFailure"), "cannot ask: AWS answers AuthFailure (the access key is not known in this account and region,"),
        (client_error("Odd", "It is odd.\nDetails"), "cannot ask: AWS answers Odd (It is odd), request r-1"),
        (client_error("Odd", "No. Encoded authorization failure message: AAAA"), "cannot ask: AWS answers Odd (No), request r-1"),
        (exceptions.NoCredentialsError(), "cannot ask: no AWS credentials on the controller"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="Token has expired"), "aws sso login"),
        (exceptions.EndpointConnectionError(endpoint_url="https://ec2.example.com/"), "cannot ask: AWS cannot be reached"),
        (exceptions.ReadTimeoutError(endpoint_url="https://ec2.example.com/"), "cannot ask: AWS cannot be reached"),
        (ValueError(""), "cannot ask: ValueError"),
    ],
)
def test_sentences(error: Exception, expected: str) -> None:
    """What, why, and what to do."""
    sentence = aws_session.sentence(error, "cannot ask")
    assert expected in sentence and "\n" not in sentence


def test_signature_errors_do_not_quote_the_request() -> None:
    """AWS's own text holds the canonical request, session token included."""
    error = client_error("SignatureDoesNotMatch", f"The Canonical String should have been 'GET / X-Amz-Security-Token={SECRET}'")
    assert SECRET not in aws_session.sentence(error, "cannot ask")


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (client_error("UnauthorizedOperation"), True),
        (client_error("RequestExpired"), True),
        (client_error("RequestLimitExceeded"), False),
        (exceptions.NoCredentialsError(), True),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), False),
        (None, False),
    ],
)
def test_refusals_are_told_from_what_may_pass(cause: Exception | None, expected: bool) -> None:
    error = aws_session.AwsError("cannot ask")
    error.__cause__ = cause
    assert aws_session.is_authentication(error) is expected
