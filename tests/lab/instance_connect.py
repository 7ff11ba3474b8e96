# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SendSSHPublicKey of EC2 Instance Connect: validation, all its errors, and the key store behind it."""
from __future__ import annotations

import base64
import binascii
import re
import struct
import uuid
from collections.abc import Mapping
from typing import Any

from . import policy
from .aws_errors import AwsError
from .ec2_actions import OWNER_ID
from .lab_state import LabState

_OS_USER = re.compile(r"[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?|(?=.{2,32}$)[0-9]{1,32}[A-Za-z@._-][A-Za-z0-9@._-]*[A-Za-z0-9$_-]?")
_MINIMUM_RSA_BITS = 2048


def send_ssh_public_key(lab: LabState, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check the arguments and the instance, store the key, answer as the service does.  Raises AwsError."""
    instance_id = arguments.get("InstanceId")
    if not isinstance(instance_id, str) or not re.fullmatch(r"i-[a-f0-9]{8,30}", instance_id):
        raise AwsError("InvalidArgsException", "Instance ID is invalid.")
    os_user = arguments.get("InstanceOSUser")
    if not isinstance(os_user, str) or not _OS_USER.fullmatch(os_user):
        raise AwsError("InvalidArgsException", "Instance OS user is invalid.")
    public_key = check_public_key(arguments.get("SSHPublicKey"))
    instance = lab.world.instance(instance_id)
    _strike(lab, instance_id, _is_allowed(lab, instance_id, os_user, instance))
    zone = arguments.get("AvailabilityZone")
    if instance is None or instance["state"] == "terminated" or (zone is not None and zone != instance["availability_zone"]):
        raise AwsError("EC2InstanceNotFoundException", "Instance not found")
    if instance["state"] != "running":
        raise AwsError("EC2InstanceStateInvalidException", f"Instance is not in a valid state: {instance['state']}.")
    if not lab.faults.take("lose_key", instance_id):
        lab.keys.add(instance.get("host_instance_id", instance_id), os_user, public_key, lab.settings.key_lifetime)
        skew, slow = lab.faults.take("instance_clock_skew", instance_id), lab.faults.take("slow_authorized_keys", instance_id)
        lab.keys.disturb(instance_id, skew["seconds"] if skew else 0.0, slow["seconds"] if slow else 0.0)
    lab.counters.add("key_pushes", scope=instance_id)
    return {"RequestId": str(uuid.uuid4()), "Success": True}


def _is_allowed(lab: LabState, instance_id: str, os_user: str, instance: Mapping[str, Any] | None) -> bool:
    tags = {f"aws:ResourceTag/{key}": value for key, value in instance["tags"].items()} if instance else {}
    arn = f"arn:aws:ec2:{lab.world.region}:{OWNER_ID}:instance/{instance_id}"
    return policy.allows(lab.settings.policy, "ec2-instance-connect:SendSSHPublicKey", arn, {"ec2:osuser": os_user, **tags})


def _strike(lab: LabState, instance_id: str, is_allowed: bool) -> None:
    """Raise what the policy, or a fault that is switched on, makes of this push."""
    if not is_allowed or lab.faults.take("deny_push", instance_id):
        raise AwsError("AccessDeniedException", "User: arn:aws:iam::123456789012:user/lab is not authorized to perform: ec2-instance-connect:SendSSHPublicKey "
                       f"on resource: arn:aws:ec2:{lab.world.region}:123456789012:instance/{instance_id} because no identity-based policy allows the "
                       "ec2-instance-connect:SendSSHPublicKey action")
    if lab.faults.take("throttle_push", instance_id):
        raise AwsError("ThrottlingException", "Server is busy! Please retry after a moment.", 429)
    fault = lab.faults.take("push_5xx", instance_id)
    if fault:
        raise AwsError("ServiceException", "The service encountered an error. Follow the instructions in the error message and try again.", fault["status"])
    fault = lab.faults.take("push_error", instance_id)
    if fault:
        raise AwsError(fault["code"], fault["message"], fault["status"])


def check_public_key(text: Any) -> str:
    """The key as one line; raises AwsError unless it is an OpenSSH line of 80 to 4096 characters with an ed25519 or RSA (2048 bits or more) key."""
    if not isinstance(text, str) or not 80 <= len(text) <= 4096:
        raise AwsError("InvalidArgsException", "SSH public key is invalid: it must have 80 to 4096 characters.")
    line = text.rstrip("\r\n")
    fields = line.split(" ")
    if "\n" in line or "\r" in line or len(fields) < 2:
        raise AwsError("InvalidArgsException", "SSH public key is invalid: it must be one line in OpenSSH format.")
    try:
        parts = _wire_strings(base64.b64decode(fields[1], validate=True))
    except (binascii.Error, ValueError):
        raise AwsError("InvalidArgsException", "SSH public key is invalid: its data cannot be decoded.") from None
    if fields[0] not in ("ssh-ed25519", "ssh-rsa") or not parts or parts[0] != fields[0].encode():
        raise AwsError("InvalidArgsException", "SSH public key is invalid: supported key types are ed25519 and RSA.")
    if fields[0] == "ssh-ed25519" and (len(parts) != 2 or len(parts[1]) != 32):
        raise AwsError("InvalidArgsException", "SSH public key is invalid: not an ed25519 key.")
    if fields[0] == "ssh-rsa" and (len(parts) != 3 or int.from_bytes(parts[2], "big").bit_length() < _MINIMUM_RSA_BITS):
        raise AwsError("InvalidArgsException", f"SSH public key is invalid: RSA keys need {_MINIMUM_RSA_BITS} bits or more.")
    return line


def _wire_strings(blob: bytes) -> list[bytes]:
    """The length-prefixed strings of an SSH wire encoding; raises ValueError when lengths do not add up."""
    strings = []
    while blob:
        if len(blob) < 4:
            raise ValueError("truncated length")
        length = struct.unpack(">I", blob[:4])[0]
        if len(blob) < 4 + length:
            raise ValueError("truncated string")
        strings.append(blob[4:4 + length])
        blob = blob[4 + length:]
    return strings
