# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that reach AWS (see ``plugin_utils/aws_session.py``)."""
from __future__ import annotations


class ModuleDocFragment:
    """Used as ``extends_documentation_fragment: molecule_ai.workspace.aws``."""

    DOCUMENTATION = r"""
options:
  region:
    description:
      - AWS region of the workspaces.
      - If it is not set, E(AWS_REGION), E(AWS_DEFAULT_REGION), the profile's region and V(us-east-2) are tried, in this order.
    type: str
    aliases: [aws_region, ec2_region]
  profile:
    description:
      - Named profile of the AWS configuration on the controller. It excludes O(access_key), O(secret_key) and O(session_token).
      - Without a profile and without keys, credentials are searched where all AWS tools search them (E(AWS_PROFILE), E(AWS_ACCESS_KEY_ID),
        SSO, a credential process, web identities, container and instance roles, and so on). E(AWS_ACCESS_KEY) and E(AWS_SECRET_KEY) are taken when
        neither of these two variables is set.
      - A profile that asks for an MFA code cannot be used, because a play cannot give one.
    type: str
    aliases: [aws_profile]
  access_key:
    description:
      - AWS access key id; needs O(secret_key).
    type: str
    aliases: [aws_access_key_id, aws_access_key, ec2_access_key]
  secret_key:
    description:
      - AWS secret access key; needs O(access_key).
    type: str
    aliases: [aws_secret_access_key, aws_secret_key, ec2_secret_key]
  session_token:
    description:
      - Session token of temporary credentials; needs O(access_key) and O(secret_key).
    type: str
    aliases: [aws_session_token]
  assume_role_arn:
    description:
      - ARN of an IAM role to assume with the credentials that the other options give.
      - E(AWS_ENDPOINT_URL_STS) names another address for STS.
    type: str
    aliases: [iam_role_arn]
  endpoint_url:
    description:
      - URL to use instead of AWS's own for the region, for example that of a VPC endpoint.
      - If it is not set, the environment variable E(AWS_URL) is used.
    type: str
    aliases: [aws_endpoint_url, ec2_url]
  aws_ca_bundle:
    description:
      - Path of a CA bundle that AWS's certificates are verified with.
      - If it is not set, the environment variable E(AWS_CA_BUNDLE) is used.
    type: path
notes:
  - The options for AWS have the names of the C(amazon.aws) collection.
requirements:
  - C(boto3) 1.34 or newer on the controller, when AWS is asked
"""
