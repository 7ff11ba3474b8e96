# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS Signature Version 4, the two forms that the tunnel needs: in a query string (websocket) and in headers (JSON 1.1 API).

The tunnel process cannot afford botocore's 0.4 s of start-up; the algorithm itself is a few lines of HMAC. botocore's signers are the tests' oracle.
Standard library only: the tunnel process imports this file without any package around it.
"""
from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
import typing as t
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
_EMPTY_BODY_HASH = hashlib.sha256(b"").hexdigest()


@dataclasses.dataclass(frozen=True)
class Credentials:
    """AWS credentials as they are needed for one signature; ``session_token`` only for temporary ones."""

    access_key: str
    secret_key: str = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)


def presigned_query(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    host: str,
    path: str,
    parameters: t.Mapping[str, str],
    expires: int,
    now: datetime.datetime,
) -> str:
    """Return the query string of a GET of ``https://host/path`` that is valid for ``expires`` seconds from ``now`` (UTC).

    Only the header ``host`` is signed, and the body is empty. The result is a bearer secret for its life time.
    """
    timestamp, scope = _timestamp_and_scope(now, region, service)
    signed = {
        **parameters,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token:
        signed["X-Amz-Security-Token"] = credentials.session_token
    query = "&".join(f"{key}={value}" for key, value in sorted((_encoded(key), _encoded(value)) for key, value in signed.items()))
    canonical_request = "\n".join(["GET", path, query, f"host:{host}\n", "host", _EMPTY_BODY_HASH])
    return f"{query}&X-Amz-Signature={_signature(credentials, canonical_request, timestamp, scope)}"


def signed_headers(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    host: str,
    path: str,
    headers: t.Mapping[str, str],
    body: bytes,
    now: datetime.datetime,
) -> dict[str, str]:
    """Return ``headers`` plus the ones that authenticate a POST of ``body`` to ``path``, which must be given as it is sent.

    Every header that is passed in is signed, and so is ``Host``, which the result carries as well.
    """
    timestamp, scope = _timestamp_and_scope(now, region, service)
    sent = {**headers, "Host": host, "X-Amz-Date": timestamp}
    if credentials.session_token:
        sent["X-Amz-Security-Token"] = credentials.session_token
    canonical = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
    names = ";".join(name for name, _value in canonical)
    lines = "".join(f"{name}:{value}\n" for name, value in canonical)
    canonical_request = "\n".join(["POST", path, "", lines, names, hashlib.sha256(body).hexdigest()])
    signature = _signature(credentials, canonical_request, timestamp, scope)
    sent["Authorization"] = f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return sent


def _timestamp_and_scope(now: datetime.datetime, region: str, service: str) -> tuple[str, str]:
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    return timestamp, f"{timestamp[:8]}/{region}/{service}/aws4_request"


def _encoded(text: str) -> str:
    """Percent-encoding as SigV4 wants it: everything but the unreserved characters of RFC 3986."""
    return urllib.parse.quote(text, safe="-_.~")


def _signature(credentials: Credentials, canonical_request: str, timestamp: str, scope: str) -> str:
    string_to_sign = "\n".join([ALGORITHM, timestamp, scope, hashlib.sha256(canonical_request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, string_to_sign.encode(), hashlib.sha256).hexdigest()
