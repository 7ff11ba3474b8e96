# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the eic connection's options that reach AWS. Modules have ``aws.py``; here the options are variables, with a prefix of their own."""
from __future__ import annotations


class ModuleDocFragment:
    """Used as ``extends_documentation_fragment: molecule_ai.workspace.eic_aws``."""

    DOCUMENTATION = r"""
options:
  region:
    description:
      - AWS region of the instance.
      - Without it, the region of the AWS profile, and without that V(us-east-2).
    type: string
    aliases: [aws_region]
    env:
      - name: AWS_DEFAULT_REGION
      - name: AWS_REGION
    vars:
      - name: workspace_region
      - name: ansible_eic_region
  profile:
    description:
      - Name of the AWS profile to use. It may have keys, a role to assume, SSO, a credential process, or a container's or instance's role as source.
      - Without it and without O(access_key), botocore's usual search applies. It takes the environment (E(AWS_PROFILE), E(AWS_ACCESS_KEY_ID),
        E(AWS_SECRET_ACCESS_KEY), E(AWS_SESSION_TOKEN), E(AWS_WEB_IDENTITY_TOKEN_FILE) and so on), the default profile, container and instance roles.
        E(AWS_ACCESS_KEY) and E(AWS_SECRET_KEY) are taken when none of E(AWS_PROFILE), E(AWS_ACCESS_KEY_ID) and E(AWS_WEB_IDENTITY_TOKEN_FILE) is set.
      - A profile that asks for an MFA code cannot be used, because a play cannot give one.
    type: string
    aliases: [aws_profile]
    vars:
      - name: workspace_aws_profile
      - name: ansible_eic_profile
  access_key:
    description: AWS access key id. Excludes O(profile).
    type: string
    aliases: [aws_access_key_id, aws_access_key]
    vars:
      - name: workspace_aws_access_key
      - name: ansible_eic_access_key
  secret_key:
    description: AWS secret access key, needed with O(access_key).
    type: string
    aliases: [aws_secret_access_key, aws_secret_key]
    vars:
      - name: workspace_aws_secret_key
      - name: ansible_eic_secret_key
  session_token:
    description: AWS session token, for temporary O(access_key) and O(secret_key).
    type: string
    aliases: [aws_session_token]
    vars:
      - name: workspace_aws_session_token
      - name: ansible_eic_session_token
  assume_role_arn:
    description:
      - ARN of an IAM role to assume with the credentials that the other options give.
      - It is assumed anew for each new connection. E(AWS_ENDPOINT_URL_STS) names another address for STS.
    type: string
    aliases: [iam_role_arn]
    vars:
      - name: workspace_aws_assume_role_arn
      - name: ansible_eic_assume_role_arn
  ec2_endpoint_url:
    description: URL of the EC2 API, for VPC interface endpoints.
    type: string
    aliases: [endpoint_url, aws_endpoint_url]
    env:
      - name: AWS_URL
      - name: AWS_ENDPOINT_URL_EC2
    vars:
      - name: workspace_ec2_endpoint_url
      - name: ansible_eic_ec2_endpoint_url
  instance_connect_endpoint_url:
    description: URL of the EC2 Instance Connect API (which takes the public key), for VPC interface endpoints.
    type: string
    env:
      - name: AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT
    vars:
      - name: ansible_eic_instance_connect_endpoint_url
  ca_bundle:
    description: File of PEM certificates that are trusted for the endpoint and the AWS APIs, instead of the system's.
    type: path
    aliases: [aws_ca_bundle]
    env:
      - name: AWS_CA_BUNDLE
    vars:
      - name: workspace_aws_ca_bundle
      - name: ansible_eic_ca_bundle
"""
