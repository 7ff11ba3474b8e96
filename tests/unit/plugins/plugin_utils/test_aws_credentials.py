# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that botocore resolves: the real botocore in a process of its own, and local HTTP servers in the place of AWS's.

A process of its own, because botocore reads its home directory when it is imported.
"""
from __future__ import annotations

import dataclasses
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import typing as t
import urllib.parse

import measured
import pytest

pytest.importorskip("botocore")

COLLECTIONS = pathlib.Path(__file__).resolve().parents[4] / ".cache" / "collections"
ROLE = "arn:aws:iam::123456789012:role/operator"

RESOLVE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_credentials, aws_session
aws_credentials.TIME_LIMIT = 5.0
try:
    found = aws_session.credentials(aws_session.session(aws_session.AwsOptions(**json.loads(sys.argv[2]))))
    print(json.dumps(list(found)[:3] if found else None))
except WorkspaceError as error:
    print(json.dumps({"error": str(error), "is_authentication": aws_session.is_authentication(error)}))
"""


@dataclasses.dataclass
class Aws:
    """The services that hand out credentials, by path; what was asked for, and a home directory without any configuration."""

    home: pathlib.Path
    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = dataclasses.field(default_factory=list)

    def configure(self, text: str) -> None:
        """Write the configuration file."""
        (self.home / ".aws").mkdir(exist_ok=True)
        (self.home / ".aws" / "config").write_text(text)

    def resolve(self, options: dict[str, str] | None = None, **environment: str) -> t.Any:
        """What the collection resolves with these options in this environment."""
        surroundings = {
            "HOME": str(self.home), "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_STS": self.url,
            "AWS_ENDPOINT_URL_SSO": self.url, **measured.environment(), **environment,
        }
        command = [sys.executable, "-c", RESOLVE, str(COLLECTIONS), json.dumps(options or {})]
        done = subprocess.run(command, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=100)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def answer(self, method: str, path: str, headers: dict[str, str], body: str) -> tuple[int, str]:
        """A status and a document."""
        self.requests.append((f"{method} {path}", body, headers))
        later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
        if path == "/container":
            document = {"AccessKeyId": "ASIACONTAINER", "SecretAccessKey": "container-secret", "Token": "container-token", "Expiration": later}
            return (200, json.dumps(document)) if headers.get("authorization") == "pod-token" else (403, "{}")
        if path == "/latest/api/token":
            return 200, "session"
        if path == "/latest/meta-data/iam/security-credentials/":
            return 200, "instance-role"
        if path == "/latest/meta-data/iam/security-credentials/instance-role":
            document = {"Code": "Success", "AccessKeyId": "ASIAINSTANCE", "SecretAccessKey": "instance-secret", "Token": "instance-token", "Expiration": later}
            return 200, json.dumps(document)
        if path.startswith("/federation/credentials"):
            role = {"accessKeyId": "ASIASSO", "secretAccessKey": "sso-secret", "sessionToken": "sso-token", "expiration": 4102444800000}
            return (200, json.dumps({"roleCredentials": role})) if headers.get("x-amz-sso_bearer_token") == "sso-login" else (401, "{}")
        return self._sts(dict(urllib.parse.parse_qsl(body)), later)

    @staticmethod
    def _sts(parameters: dict[str, str], later: str) -> tuple[int, str]:
        action = parameters["Action"]
        if parameters["RoleArn"] != ROLE or parameters.get("WebIdentityToken", "web-token") != "web-token":
            error = "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized</Message></Error><RequestId>r-1</RequestId>"
            return 403, f"<ErrorResponse>{error}</ErrorResponse>"
        keys = f"<AccessKeyId>ASIA{action.upper()}</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>"
        user = f"<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{ROLE}</Arn></AssumedRoleUser>"
        result = f"<{action}Result><Credentials>{keys}<Expiration>{later}</Expiration></Credentials>{user}</{action}Result>"
        return 200, f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{result}</{action}Response>'


@pytest.fixture
def aws(tmp_path: pathlib.Path) -> t.Iterator[Aws]:
    made = Aws(tmp_path)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, document = made.answer(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(document)))
            self.end_headers()
            self.wfile.write(document.encode())

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


def test_environment_and_profiles(aws: Aws) -> None:
    """Keys from where all AWS tools look, and the two variables that only amazon.aws knows, which are weaker."""
    assert aws.resolve() is None
    legacy = {"AWS_ACCESS_KEY": "AKIALEGACY", "AWS_SECRET_KEY": "legacy-secret"}
    assert aws.resolve(**legacy) == ["AKIALEGACY", "legacy-secret", None]
    usual = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env-secret", "AWS_SESSION_TOKEN": "env-token"}
    assert aws.resolve(**legacy, **usual) == ["AKIAENV", "env-secret", "env-token"]
    aws.configure("[profile fleet]\naws_access_key_id = AKIAFLEET\naws_secret_access_key = fleet-secret\n")
    assert aws.resolve(**legacy, AWS_PROFILE="fleet") == ["AKIAFLEET", "fleet-secret", None]
    assert aws.resolve({"profile": "fleet"}, **legacy, **usual) == ["AKIAFLEET", "fleet-secret", None]
    assert aws.resolve({"access_key": "AKIAGIVEN", "secret_key": "given"}, **usual, AWS_PROFILE="fleet") == ["AKIAGIVEN", "given", None]


def test_a_role_is_assumed_with_keys_with_a_profile_and_from_a_profile(aws: Aws) -> None:
    aws.configure(
        "[profile source]\naws_access_key_id = AKIASOURCE\naws_secret_access_key = source-secret\n"
        f"[profile role]\nrole_arn = {ROLE}\nsource_profile = source\nregion = eu-west-1\n"
    )
    expected = ["ASIAASSUMEROLE", "role-secret", "role-token"]
    for options in ({"access_key": "AKIAGIVEN", "secret_key": "given", "assume_role_arn": ROLE}, {"profile": "source", "assume_role_arn": ROLE}):
        assert aws.resolve({"region": "eu-west-1", **options}) == expected
    assert aws.resolve({"profile": "role"}) == expected
    names = [dict(urllib.parse.parse_qsl(body)).get("RoleSessionName") for _request, body, _headers in aws.requests]
    assert names[:2] == ["molecule_ai.workspace"] * 2
    for (_request, _body, headers), key in zip(aws.requests, ("AKIAGIVEN", "AKIASOURCE", "AKIASOURCE")):
        scope = headers["authorization"].partition("Credential=")[2].split("/")
        assert (scope[0], scope[2], scope[3]) == (key, "eu-west-1", "sts")


def test_a_role_that_may_not_be_assumed_and_one_without_anybody_to_assume_it(aws: Aws) -> None:
    denied = aws.resolve({"access_key": "AKIAGIVEN", "secret_key": "given", "assume_role_arn": f"{ROLE}-of-others"})
    assert denied["is_authentication"] and "allow the IAM identity the action AssumeRole" in denied["error"] and "request r-1" in denied["error"]
    assert aws.resolve({"assume_role_arn": ROLE}) is None
    assert "no ARN of an IAM role" in aws.resolve({"assume_role_arn": "operator"})["error"]


def test_web_identity(aws: Aws) -> None:
    token = aws.home / "token"
    token.write_text("web-token")
    environment = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    assert aws.resolve(**environment) == ["ASIAASSUMEROLEWITHWEBIDENTITY", "role-secret", "role-token"]
    legacy = {"AWS_ACCESS_KEY": "AKIALEGACY", "AWS_SECRET_KEY": "legacy-secret"}
    assert aws.resolve(**environment, **legacy) == ["ASIAASSUMEROLEWITHWEBIDENTITY", "role-secret", "role-token"]
    token.unlink()
    missing = aws.resolve(**environment)
    assert missing["is_authentication"] and "cannot get AWS credentials" in missing["error"] and "token" in missing["error"]


def test_container_and_instance(aws: Aws) -> None:
    container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{aws.url}/container", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token"}
    assert aws.resolve(**container) == ["ASIACONTAINER", "container-secret", "container-token"]
    refused = aws.resolve(**{**container, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "wrong"})
    assert refused["is_authentication"] and "could not be obtained" in refused["error"]
    instance = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.url}
    assert aws.resolve(**instance) == ["ASIAINSTANCE", "instance-secret", "instance-token"]
    assert aws.resolve({"assume_role_arn": ROLE}, **instance) == ["ASIAASSUMEROLE", "role-secret", "role-token"]


def test_sso(aws: Aws) -> None:
    """A login of ``aws sso login``: its cached token buys a role's keys; when it has expired the sentence says what to do."""
    aws.configure(
        "[sso-session company]\nsso_start_url = https://company.example.com/start\nsso_region = us-east-2\nsso_registration_scopes = sso:account:access\n"
        "[profile fleet]\nsso_session = company\nsso_account_id = 123456789012\nsso_role_name = operator\n"
    )
    cache = aws.home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    file = cache / f"{hashlib.sha1(b'company', usedforsecurity=False).hexdigest()}.json"
    content = {"startUrl": "https://company.example.com/start", "region": "us-east-2", "accessToken": "sso-login", "expiresAt": "2099-01-01T00:00:00Z"}
    file.write_text(json.dumps(content))
    assert aws.resolve({"profile": "fleet"}) == ["ASIASSO", "sso-secret", "sso-token"]
    file.write_text(json.dumps({**content, "expiresAt": "2020-01-01T00:00:00Z"}))
    for _expired_then_gone in range(2):
        failed = aws.resolve({"profile": "fleet"})
        assert failed["is_authentication"] and "aws sso login" in failed["error"] and "sso-login" not in failed["error"]
        file.unlink(missing_ok=True)


def test_credential_process(aws: Aws) -> None:
    script = aws.home / "process.py"
    answer = {"Version": 1, "AccessKeyId": "ASIAPROCESS", "SecretAccessKey": "process-secret", "SessionToken": "t", "Expiration": "2099-01-01T00:00:00Z"}
    aws.configure(f"[profile fleet]\ncredential_process = {sys.executable} {script}\n")
    script.write_text(f"print({json.dumps(json.dumps(answer))})\n")
    assert aws.resolve({"profile": "fleet"}) == ["ASIAPROCESS", "process-secret", "t"]
    for text, words in (
        ("print('no json')", "cannot get AWS credentials"),
        ("import sys; sys.exit('the vault is locked')", "the vault is locked"),
        ("import time; time.sleep(30)", "no answer within 5 s"),
    ):
        script.write_text(text)
        failed = aws.resolve({"profile": "fleet"})
        assert failed["is_authentication"] and words in failed["error"] and "\n" not in failed["error"]


def test_a_code_is_never_asked_for(aws: Aws) -> None:
    """botocore would ask at the terminal of whoever started the play."""
    aws.configure(
        "[profile source]\naws_access_key_id = AKIASOURCE\naws_secret_access_key = source-secret\n"
        f"[profile role]\nrole_arn = {ROLE}\nsource_profile = source\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    )
    failed = aws.resolve({"profile": "role"})
    assert failed["is_authentication"] and "MFA code" in failed["error"]
    assert aws.requests == []
