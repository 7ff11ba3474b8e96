# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that reach the platform's HTTP API (see ``plugin_utils/platform_api.py``)."""
from __future__ import annotations


class ModuleDocFragment:
    """Used as ``extends_documentation_fragment: molecule_ai.workspace.platform``."""

    DOCUMENTATION = r"""
options:
  platform_url:
    description:
      - The platform's base address, for example V(https://acme.moleculesai.app).
    type: str
  platform_token:
    description:
      - The platform's bearer token. It appears in no result and no error.
    type: str
  platform_org_id:
    description:
      - The organisation that owns the workspace. Tenants of the SaaS need it.
    type: str
  platform_validate_certs:
    description:
      - Whether to verify the platform's certificate.
    type: bool
    default: true
  platform_ca_path:
    description:
      - Path on the controller of a PEM file with the certificate authorities that the platform's certificate is verified against.
    type: path
"""
