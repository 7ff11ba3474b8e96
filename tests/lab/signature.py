# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification of AWS Signature Version 4, from its public specification and not from any signer's code.

Both forms: the ``Authorization`` header (AWS APIs) and the query string (the tunnel's URL).
"""
from __future__ import annotations

import calendar
import dataclasses
import hashlib
import hmac
import re
import time
import urllib.parse
from collections.abc import Mapping

ALGORITHM = "AWS4-HMAC-SHA256"
MAXIMUM_SKEW = 300  # seconds between the client's clock and ours, either way
EMPTY_HASH = hashlib.sha256(b"").hexdigest()


class SignatureRefused(Exception):
    """``reason`` is one of missing, malformed, unknown_key, scope, expired, early, mismatch, token, expired_token."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Credentials:
    """One principal's keys; with a session token they are temporary, and may have a time (Unix seconds) at which they expire."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    expires: float | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What was signed: ``target`` is the raw request target, ``headers`` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.split("?", 1)[0]

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query's names and values, percent-decoded, in their order."""
        _path, _mark, query = self.target.partition("?")
        pairs = (part.partition("=") for part in query.split("&") if part)
        return [(urllib.parse.unquote(name), urllib.parse.unquote(value)) for name, _equals, value in pairs]


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a request says about its own signature."""

    access_key: str
    date: str
    region: str
    service: str
    timestamp: str
    signed_headers: list[str]
    signature: str
    token: str | None

    @property
    def signed_at(self) -> float:
        """Unix seconds of the timestamp.  Raises SignatureRefused when it is none or its date is not the scope's."""
        try:
            seconds = float(calendar.timegm(time.strptime(self.timestamp, "%Y%m%dT%H%M%SZ")))
        except ValueError:
            raise SignatureRefused("malformed", "Date must be in ISO-8601 'basic format'.") from None
        if self.timestamp[:8] != self.date:
            raise SignatureRefused("malformed", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
        return seconds


def verify_header(request: Request, credentials: Mapping[str, Credentials], region: str, now: float) -> Claim:
    """Check a request that is signed in its ``Authorization`` header; raises SignatureRefused."""
    claim = _header_claim(request)
    if abs(now - claim.signed_at) > MAXIMUM_SKEW:
        reason = "expired" if claim.signed_at < now else "early"
        raise SignatureRefused(reason, f"Signature expired: {claim.timestamp} is outside of the allowed {MAXIMUM_SKEW // 60} minutes around the current time.")
    if claim.token is not None and "x-amz-security-token" not in claim.signed_headers:
        raise SignatureRefused("mismatch", "The security token is not signed.")
    _check_signature(request, claim, request.parameters, hashlib.sha256(request.body).hexdigest(), credentials, region)
    return claim


def verify_query(request: Request, credentials: Mapping[str, Credentials], region: str, now: float, maximum_expiry: int) -> Claim:
    """Check a request that is signed in its query string and valid for at most ``maximum_expiry`` seconds; raises SignatureRefused."""
    claim, expires = _query_claim(request)
    if not 1 <= expires <= maximum_expiry:
        raise SignatureRefused("malformed", f"X-Amz-Expires must be between 1 and {maximum_expiry} seconds.")
    if now > claim.signed_at + expires:
        raise SignatureRefused("expired", "The request signature has expired.")
    if claim.signed_at > now + MAXIMUM_SKEW:
        raise SignatureRefused("early", "The request signature is not valid yet.")
    unsigned = [(name, value) for name, value in request.parameters if name != "X-Amz-Signature"]
    _check_signature(request, claim, unsigned, EMPTY_HASH, credentials, region)
    return claim


def _header_claim(request: Request) -> Claim:
    header = request.headers.get("authorization", "")
    if not header:
        raise SignatureRefused("missing", "Request is missing Authentication Token.")
    algorithm, _space, rest = header.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if algorithm != ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= set(fields):
        raise SignatureRefused("malformed", "The Authorization header is not a Signature Version 4.")
    return _claim(fields["Credential"], request.headers.get("x-amz-date", ""), fields["SignedHeaders"], fields["Signature"],
                  request.headers.get("x-amz-security-token"))


def _query_claim(request: Request) -> tuple[Claim, int]:
    fields: dict[str, str] = {}
    for name, value in request.parameters:
        if name.startswith("X-Amz-"):
            if name in fields:
                raise SignatureRefused("malformed", f"{name} is given twice.")
            fields[name] = value
    if "X-Amz-Signature" not in fields:
        raise SignatureRefused("missing", "Request is missing Authentication Token.")
    required = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
    if any(name not in fields for name in required) or fields["X-Amz-Algorithm"] != ALGORITHM:
        raise SignatureRefused("malformed", f"A query signature needs {', '.join(required)} and X-Amz-Signature.")
    if not re.fullmatch(r"[0-9]{1,6}", fields["X-Amz-Expires"]):
        raise SignatureRefused("malformed", "X-Amz-Expires must be a number.")
    claim = _claim(fields["X-Amz-Credential"], fields["X-Amz-Date"], fields["X-Amz-SignedHeaders"], fields["X-Amz-Signature"],
                   fields.get("X-Amz-Security-Token"))
    return claim, int(fields["X-Amz-Expires"])


def _claim(scope: str, timestamp: str, signed_headers: str, signature: str, token: str | None) -> Claim:
    parts = scope.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise SignatureRefused("malformed", "Credential must have the form access-key/date/region/service/aws4_request.")
    return Claim(parts[0], parts[1], parts[2], parts[3], timestamp, signed_headers.split(";"), signature, token)


def _check_signature(request: Request, claim: Claim, parameters: list[tuple[str, str]], body_hash: str,
                     credentials: Mapping[str, Credentials], region: str) -> None:
    principal = credentials.get(claim.access_key)
    if principal is None:
        raise SignatureRefused("unknown_key", "The security token included in the request is invalid.")
    if claim.region != region:
        raise SignatureRefused("scope", f"Credential should be scoped to a valid region, not '{claim.region}'.")
    if "host" not in claim.signed_headers:
        raise SignatureRefused("mismatch", "'Host' must be a 'SignedHeader'.")
    if any(name not in request.headers for name in claim.signed_headers):
        raise SignatureRefused("mismatch", "A signed header is missing.")
    if claim.token != principal.session_token:
        raise SignatureRefused("token", "The security token included in the request is invalid.")
    expected = _signature(principal.secret_key, claim, _canonical_request(request, claim.signed_headers, parameters, body_hash))
    if not hmac.compare_digest(expected.encode(), claim.signature.encode("utf-8", "replace")):
        raise SignatureRefused("mismatch", "The request signature we calculated does not match the signature you provided.")


def _canonical_request(request: Request, signed_headers: list[str], parameters: list[tuple[str, str]], body_hash: str) -> str:
    encoded = sorted((_encode(name), _encode(value)) for name, value in parameters)
    return "\n".join([
        request.method,
        urllib.parse.quote(request.path, safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in encoded),
        *(f"{name}:{' '.join(request.headers[name].split())}" for name in sorted(signed_headers)),
        "",
        ";".join(sorted(signed_headers)),
        body_hash,
    ])


def _encode(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")


def _signature(secret_key: str, claim: Claim, canonical_request: str) -> str:
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, claim.timestamp, scope, hashlib.sha256(canonical_request.encode()).hexdigest()])
    key = f"AWS4{secret_key}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
