# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The STS actions of the simulated control plane: who am I, and temporary credentials for a role."""
from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

from .aws_errors import AwsError
from .ec2_actions import OWNER_ID
from .lab_state import LabState
from .signature import Claim, Credentials

ROLE_SECRET_PREFIX = "labrolesecret"
"""What the secret keys of assumed roles start with, so that a test can look for them without knowing them."""
ROLE_TOKEN_PREFIX = "labroletoken"
"""The same for their session tokens."""


def get_caller_identity(lab: LabState, _parameters: Mapping[str, str], claim: Claim) -> dict[str, Any]:
    """GetCallerIdentity."""
    lab.counters.add("caller_identities")
    return {"Arn": f"arn:aws:iam::{OWNER_ID}:user/lab", "UserId": f"AIDA{claim.access_key[4:]}", "Account": OWNER_ID}


def assume_role(lab: LabState, parameters: Mapping[str, str], _claim: Claim) -> dict[str, Any]:
    """AssumeRole: credentials that the other services know until they expire.  The world's ``roles`` may be assumed by anybody, no others."""
    arn, name, duration = parameters.get("RoleArn", ""), parameters.get("RoleSessionName", ""), parameters.get("DurationSeconds", "3600")
    if not re.fullmatch(r"[\w+=,.@-]{2,64}", name) or not re.fullmatch(r"[0-9]{1,5}", duration) or not 900 <= int(duration) <= 43200:
        raise AwsError("ValidationError", "RoleSessionName or DurationSeconds is not valid.")
    if arn not in lab.world.content.get("roles", []):
        raise AwsError("AccessDenied", f"User: arn:aws:iam::{OWNER_ID}:user/lab is not authorized to perform: sts:AssumeRole on resource: {arn}", 403)
    lab.counters.add("roles_assumed")
    expires = int(time.time() + min(float(duration), lab.settings.role_lifetime))
    made = Credentials("ASIA" + secrets.token_hex(8).upper(), ROLE_SECRET_PREFIX + secrets.token_hex(14), ROLE_TOKEN_PREFIX + secrets.token_hex(100), expires)
    lab.issued[made.access_key] = made
    role_id = f"AROA{made.access_key[4:]}"
    return {
        "AssumedRoleUser": {"AssumedRoleId": f"{role_id}:{name}", "Arn": f"{arn.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/{name}"},
        "Credentials": {
            "AccessKeyId": made.access_key, "SecretAccessKey": made.secret_key, "SessionToken": made.session_token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires)),
        },
    }


ACTIONS = {"GetCallerIdentity": get_caller_identity, "AssumeRole": assume_role}
