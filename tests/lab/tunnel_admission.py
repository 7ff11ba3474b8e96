# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this ``/openTunnel`` request have a tunnel?  The signature, the parameters, the endpoint, its quota: a decision without input or output."""
from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Any

from . import policy
from .lab_state import LabState
from .signature import Request, SignatureRefused

# The text is the service's own, from a public issue of the AWS CLI.
_PORT_MESSAGE = "The specified RemotePort is not valid. Specify either 22 or 3389 as the RemotePort and retry your request."
_USABLE_STATES = frozenset({"create-complete", "update-in-progress", "update-failed", "update-complete"})
_MAXIMUM_DURATION = 3600
_SIGNATURE_CODES = {"expired": "RequestExpired", "expired_token": "ExpiredToken", "unknown_key": "InvalidClientTokenId", "token": "InvalidClientTokenId"}
_DENIED = "User: arn:aws:iam::123456789012:user/lab is not authorized to perform: ec2-instance-connect:OpenTunnel on resource: {}"


class TunnelRefused(Exception):
    """The answer instead of 101: an HTTP status and an error document; ``how`` tells how it is delivered (http, close, reset)."""

    def __init__(self, status: int, code: str | None, message: str, how: str = "http") -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.how = how


@dataclasses.dataclass(frozen=True)
class Admission:
    """A tunnel that may open.  ``instance`` is None when no running instance has the address: the target is unreachable then."""

    endpoint_id: str
    instance: dict[str, Any] | None
    port: int
    duration: float

    @property
    def instance_id(self) -> str | None:
        return self.instance["instance_id"] if self.instance else None


def admit(lab: LabState, request: Request) -> Admission:
    """Decide on a request; raises TunnelRefused.  The quota is checked, and taken by the caller at once."""
    if request.path != "/openTunnel":
        raise TunnelRefused(404, "NotFound", "Not found.")
    parameters = _parameters(request)
    target = _instance_at(lab, parameters.get("privateIpAddress", ""))
    instance_id = target["instance_id"] if target else None
    _verify_signature(lab, request)
    _strike(lab, instance_id, parameters.get("instanceConnectEndpointId", ""))
    endpoint = _endpoint(lab, parameters, request.headers.get("host", ""))
    port = parameters.get("remotePort", "")
    if port not in ("22", "3389"):
        raise TunnelRefused(400, "InvalidParameter", _PORT_MESSAGE)
    duration = _duration(lab, parameters.get("maxTunnelDuration"), endpoint["id"])
    _check_policy(lab, parameters, endpoint["id"])
    if target is not None and (target["state"] != "running" or target["vpc_id"] != endpoint["vpc_id"]):
        target = None
    if lab.counters.tunnels_open(endpoint["id"]) >= lab.settings.tunnel_quota:
        settings = lab.settings
        raise TunnelRefused(settings.quota_status, settings.quota_code, settings.quota_message, settings.quota_refusal)
    return Admission(endpoint["id"], target, int(port), duration)


def _parameters(request: Request) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in request.parameters:
        if name in parameters:
            raise TunnelRefused(400, "InvalidParameter", f"The parameter {name} is given twice.")
        parameters[name] = value
    return parameters


def _verify_signature(lab: LabState, request: Request) -> None:
    try:
        claim = lab.verify_tunnel_request(request)
    except SignatureRefused as refused:
        raise TunnelRefused(403, _SIGNATURE_CODES.get(refused.reason, "InvalidSignature"), str(refused)) from None
    if claim.service != "ec2-instance-connect" or claim.signed_headers != ["host"]:
        raise TunnelRefused(403, "InvalidSignature", "Credential should be scoped to service 'ec2-instance-connect', and only the host header signed.")


def _strike(lab: LabState, instance_id: str | None, endpoint_id: str) -> None:
    """Raise what a fault that is switched on makes of this request."""
    if lab.faults.take("deny_tunnel", instance_id):
        arn = f"arn:aws:ec2:{lab.world.region}:123456789012:instance-connect-endpoint/{endpoint_id}"
        raise TunnelRefused(403, "AccessDenied", _DENIED.format(arn))
    fault = lab.faults.take("refuse_tunnel", instance_id)
    if fault:
        raise TunnelRefused(fault["status"], fault["code"], fault["message"])
    fault = lab.faults.take("refuse_without_body", instance_id)
    if fault:
        raise TunnelRefused(fault["status"], None, "")
    if lab.faults.take("reset_upgrade", instance_id):
        raise TunnelRefused(0, None, "", how="reset")
    if lab.faults.take("hang_upgrade", instance_id):
        raise TunnelRefused(0, None, "", how="hang")


def _check_policy(lab: LabState, parameters: dict[str, str], endpoint_id: str) -> None:
    names = ("remotePort", "privateIpAddress", "maxTunnelDuration")
    context = {f"ec2-instance-connect:{name}": parameters[name] for name in names if name in parameters}
    arn = f"arn:aws:ec2:{lab.world.region}:123456789012:instance-connect-endpoint/{endpoint_id}"
    if not policy.allows(lab.settings.policy, "ec2-instance-connect:OpenTunnel", arn, context):
        raise TunnelRefused(403, "AccessDenied", _DENIED.format(arn))


def _endpoint(lab: LabState, parameters: dict[str, str], host: str) -> dict[str, Any]:
    endpoint_id = parameters.get("instanceConnectEndpointId", "")
    endpoint = lab.world.endpoint(endpoint_id)
    if endpoint is None or host not in (endpoint["dns_name"], endpoint.get("fips_dns_name")):
        raise TunnelRefused(404, "ResourceNotFound", f"The instance connect endpoint '{endpoint_id}' does not exist at this address.")
    if endpoint["state"] not in _USABLE_STATES:
        raise TunnelRefused(400, "InvalidState", f"The instance connect endpoint '{endpoint_id}' is in state {endpoint['state']}.")
    return endpoint


def _instance_at(lab: LabState, text: str) -> dict[str, Any] | None:
    """The instance with this address; a terminated one has none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise TunnelRefused(400, "InvalidParameter", "The specified PrivateIpAddress is not valid.") from None
    for instance in lab.world.instances:
        known = [instance[name] for name in ("private_ip", "ipv6") if instance.get(name)]
        if instance["state"] != "terminated" and any(ipaddress.ip_address(each) == address for each in known):
            return instance
    return None


def _duration(lab: LabState, text: str | None, endpoint_id: str) -> float:
    limit = float(lab.settings.max_tunnel_duration)
    if text is None:
        if lab.settings.require_max_tunnel_duration:
            arn = f"arn:aws:ec2:{lab.world.region}:123456789012:instance-connect-endpoint/{endpoint_id}"
            raise TunnelRefused(403, "AccessDenied", _DENIED.format(arn))
        return limit
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= _MAXIMUM_DURATION:
        raise TunnelRefused(400, "InvalidParameter", f"The specified MaxTunnelDuration is not valid. Specify 1 to {_MAXIMUM_DURATION} seconds.")
    return min(float(text), limit)
