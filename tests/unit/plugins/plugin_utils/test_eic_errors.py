# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of failures: every row is one sentence, every known answer finds its row, and no text of a service leaks a secret."""
from __future__ import annotations

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_errors

CONTEXT = eic_errors.Context("i-0123456789abcdef0", reason="because")


@pytest.mark.parametrize("code", sorted(eic_errors.FAILURES))
def test_every_row_reads_as_one_sentence(code: str) -> None:
    sentence = eic_errors.sentence(code, CONTEXT, "request-1")
    assert sentence.startswith("i-0123456789abcdef0: ")
    assert "{" not in sentence and "\n" not in sentence and "; " in sentence
    assert sentence.endswith("(AWS request request-1)")
    assert eic_errors.FAILURES[code].kind in (eic_errors.UNREACHABLE, eic_errors.AUTHENTICATION, eic_errors.CONFIGURATION)


def test_an_unknown_code_is_an_error_of_the_tunnel() -> None:
    assert "(NoSuchCode)" in eic_errors.sentence("NoSuchCode", CONTEXT)


@pytest.mark.parametrize(
    ("status", "error_code", "expected"),
    [
        (400, "InvalidParameter", "TunnelParameterRefused"),
        (403, "AccessDenied", "OpenTunnelDenied"),
        (400, "AccessDeniedException", "OpenTunnelDenied"),
        (403, "", "OpenTunnelDenied"),
        (403, "ExpiredTokenException", "CredentialsExpired"),
        (403, "SignatureDoesNotMatch", "SignatureRefused"),
        (403, "UnrecognizedClientException", "CredentialsUnknown"),
        (404, "ResourceNotFoundException", "EndpointNotFound"),
        (400, "InvalidInstanceConnectEndpointId.NotFound", "EndpointNotFound"),
        (429, "", "TunnelQuota"),
        (400, "TooManyConnections", "TunnelQuota"),
        (503, "", "TunnelServiceError"),
        (418, "Teapot", "TunnelRefused"),
    ],
)
def test_a_refused_handshake_finds_its_row(status: int, error_code: str, expected: str) -> None:
    assert eic_errors.code_of_refused_tunnel(status, error_code) == expected


@pytest.mark.parametrize(
    ("status", "error_type", "expected"),
    [
        (400, "AuthException", "KeyPushDenied"),
        (400, "AccessDeniedException", "KeyPushDenied"),
        (400, "InvalidArgsException", "KeyPushInvalid"),
        (500, "ServiceException", "KeyPushServiceError"),
        (400, "ThrottlingException", "KeyPushThrottled"),
        (429, "", "KeyPushThrottled"),
        (400, "EC2InstanceNotFoundException", "InstanceNotFound"),
        (400, "EC2InstanceStateInvalidException", "InstanceNotRunning"),
        (400, "EC2InstanceUnavailableException", "InstanceUnavailable"),
        (400, "ExpiredTokenException", "CredentialsExpired"),
        (502, "", "KeyPushServiceError"),
        (400, "", "KeyPushRefused"),
    ],
)
def test_a_refused_key_push_finds_its_row(status: int, error_type: str, expected: str) -> None:
    assert eic_errors.code_of_refused_push(status, error_type) == expected


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("ubuntu@alice: Permission denied (publickey).", "KeyNotAccepted"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "HostKeyChanged"),
        ("No ED25519 host key is known for i-1 and you have requested strict checking.\nHost key verification failed.", "HostKeyUnknown"),
        ("Connection timed out during banner exchange", "LoginTimeout"),
        ("command-line: line 0: Bad configuration option: nonsense", "SshConfiguration"),
        ("kex_exchange_identification: Connection closed by remote host", "LoginClosed"),
        ("", "LoginFailed"),
    ],
)
def test_ssh_messages_find_their_row(messages: str, expected: str) -> None:
    assert eic_errors.code_of_ssh_messages(messages) == expected


@pytest.mark.parametrize(
    "text",
    [
        "GET /openTunnel?X-Amz-Signature=canary&X-Amz-Security-Token=canary",
        "Credential: canary",
        "AKIACANARY123456 is not known",
        "Encoded authorization failure message: " + "canaryCANARY" * 20,
    ],
)
def test_presentable_text_has_no_secret(text: str) -> None:
    assert "canary" not in eic_errors.presentable(text).lower()


def test_presentable_text_is_one_short_line() -> None:
    assert eic_errors.presentable("a\nb\x1b[31m\x00c. ") == "a b [31m c"
    assert len(eic_errors.presentable("word " * 1000)) <= 200
