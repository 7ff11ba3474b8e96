# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the AWS services phrase their refusals: codes and HTTP statuses differ by service, so one table says which."""
from __future__ import annotations

import json
import uuid
from xml.sax.saxutils import escape

from aiohttp import web


class AwsError(Exception):
    """An error answer of an AWS API."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


_EC2_AUTH_FAILURE = ("AuthFailure", 401, "AWS was not able to validate the provided access credentials")
_SIGNATURE_ERRORS: dict[str, dict[str, tuple[str, int, str | None]]] = {
    # reason of signature.SignatureRefused -> code, status, message (None: the reason's own); "" is any other reason
    "ec2": {
        "": _EC2_AUTH_FAILURE,
        "missing": ("MissingAuthenticationToken", 400, None),
        "expired": ("RequestExpired", 400, "Request has expired."),
        "expired_token": ("RequestExpired", 400, "Request has expired."),
    },
    "ec2-instance-connect": {
        "": ("InvalidSignatureException", 403, None),
        "missing": ("MissingAuthenticationTokenException", 400, None),
        "malformed": ("IncompleteSignatureException", 400, None),
        "unknown_key": ("UnrecognizedClientException", 400, None),
        "token": ("UnrecognizedClientException", 400, None),
        "expired_token": ("ExpiredTokenException", 400, None),
    },
    "sts": {
        "": ("SignatureDoesNotMatch", 403, None),
        "missing": ("MissingAuthenticationToken", 403, None),
        "malformed": ("IncompleteSignature", 400, None),
        "unknown_key": ("InvalidClientTokenId", 403, None),
        "token": ("InvalidClientTokenId", 403, None),
        "expired_token": ("ExpiredToken", 403, None),
    },
}


def signature_error(service: str, reason: str, message: str) -> AwsError:
    """The error with which ``service`` answers a signature that was refused."""
    table = _SIGNATURE_ERRORS.get(service, _SIGNATURE_ERRORS["sts"])
    code, status, fixed = table.get(reason, table[""])
    return AwsError(code, fixed or message, status)


def error_response(service: str, error: AwsError) -> web.Response:
    """The error document as ``service`` formats it, with a request id."""
    request_id = str(uuid.uuid4())
    headers = {"x-amzn-RequestId": request_id}
    if service == "ec2-instance-connect":
        body = json.dumps({"__type": error.code, "Message": error.message})
        return web.Response(status=error.status, headers=headers, content_type="application/x-amz-json-1.1", text=body)
    if service == "ec2":
        body = (f"<Response><Errors><Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error></Errors>"
                f"<RequestID>{request_id}</RequestID></Response>")
    else:
        body = (f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{escape(error.code)}</Code>'
                f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>")
    return web.Response(status=error.status, headers=headers, content_type="text/xml", charset="utf-8", text=f'<?xml version="1.0" encoding="UTF-8"?>\n{body}')
