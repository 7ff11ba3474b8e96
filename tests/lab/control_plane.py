# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated AWS APIs behind one URL: EC2 and STS (Query protocol) and EC2 Instance Connect (JSON 1.1).

Which service is meant is what the signature is scoped to, as clients that are given an endpoint URL do it.
"""
from __future__ import annotations

import json
import urllib.parse
import uuid
from typing import Any

from aiohttp import web

from . import ec2_query, policy, sts_actions
from .aws_errors import AwsError, error_response, signature_error
from .ec2_actions import ACTIONS, OWNER_ID
from .instance_connect import send_ssh_public_key
from .lab_state import LabState
from .signature import Claim, Request, SignatureRefused

_PUSH_TARGET = "AWSEC2InstanceConnectService.SendSSHPublicKey"


class ControlPlane:
    """The request handler; ``application()`` is what a listener serves."""

    def __init__(self, lab: LabState) -> None:
        self._lab = lab

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.Response:
        """Verify the signature, dispatch to the service, answer in its format."""
        signed = Request(request.method, request.raw_path, {name.lower(): value for name, value in request.headers.items()}, await request.read())
        service = _service(signed)
        try:
            try:
                claim = self._lab.verify_api_request(signed)
            except SignatureRefused as refused:
                raise signature_error(service, refused.reason, str(refused)) from None
            if service == "ec2-instance-connect":
                return self._instance_connect(signed)
            parameters = dict(urllib.parse.parse_qsl(signed.body.decode(), keep_blank_values=True))
            if service == "ec2":
                return self._ec2(parameters)
            if service == "sts":
                return self._sts(parameters, claim)
            raise AwsError("UnknownService", f"The lab has no service {service!r}", 404)
        except AwsError as error:
            self._lab.counters.add("key_pushes_refused" if service == "ec2-instance-connect" else "api_refused")
            return error_response(service, error)

    def _ec2(self, parameters: dict[str, str]) -> web.Response:
        action = parameters.get("Action", "")
        if action not in ACTIONS:
            raise AwsError("InvalidAction", f"The action {action} is not valid for this web service.")
        denied = self._lab.faults.take("deny_describe", action="") or self._lab.faults.take("deny_describe", action=action)
        if denied or not policy.allows(self._lab.settings.policy, f"ec2:{action}", "*", {"aws:RequestedRegion": self._lab.world.region}):
            raise AwsError("UnauthorizedOperation", "You are not authorized to perform this operation. "
                           f"User: arn:aws:iam::{OWNER_ID}:user/lab is not authorized to perform: ec2:{action} "
                           f"because no identity-based policy allows the ec2:{action} action", 403)
        if self._lab.faults.take("throttle_describe"):
            raise AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
        request_id = str(uuid.uuid4())
        return _xml(ec2_query.response(action, request_id, ACTIONS[action](self._lab, parameters)), request_id)

    def _sts(self, parameters: dict[str, str], claim: Claim) -> web.Response:
        action = parameters.get("Action", "")
        if action not in sts_actions.ACTIONS:
            raise AwsError("InvalidAction", f"Could not find operation {action} for version 2011-06-15")
        result = sts_actions.ACTIONS[action](self._lab, parameters, claim)
        request_id = str(uuid.uuid4())
        body = ec2_query.xml(f"{action}Result", result) + ec2_query.xml("ResponseMetadata", {"RequestId": request_id})
        return _xml(f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{body}</{action}Response>', request_id)

    def _instance_connect(self, signed: Request) -> web.Response:
        target = signed.headers.get("x-amz-target", "")
        if target != _PUSH_TARGET:
            raise AwsError("UnknownOperationException", f"Unknown operation {target!r}")
        try:
            arguments: Any = json.loads(signed.body)
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            raise AwsError("SerializationException", "The body is not a JSON object.")
        answer = send_ssh_public_key(self._lab, arguments)
        return web.json_response(answer, headers={"x-amzn-RequestId": answer["RequestId"]}, content_type="application/x-amz-json-1.1")


def _service(signed: Request) -> str:
    """The service that the credential scope names; without one, what the request's form suggests."""
    scope = signed.headers.get("authorization", "").partition("Credential=")[2].split(",")[0].split("/")
    if len(scope) == 5:
        return scope[3]
    return "ec2-instance-connect" if "x-amz-target" in signed.headers else "ec2"


def _xml(document: str, request_id: str) -> web.Response:
    return web.Response(text=document, content_type="text/xml", charset="utf-8", headers={"x-amzn-RequestId": request_id})
