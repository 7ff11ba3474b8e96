# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options that reach a Docker engine (see ``plugin_utils/docker_engine.py``)."""
from __future__ import annotations


class ModuleDocFragment:
    """Used as ``extends_documentation_fragment: molecule_ai.workspace.docker_engine``."""

    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - URL of the Docker engine, for example V(unix:///var/run/docker.sock), V(tcp://192.0.2.23:2376) or V(ssh://ops@192.0.2.23).
      - If it is not set, the environment variable E(DOCKER_HOST) is used.
    type: str
    default: unix:///var/run/docker.sock
    aliases: [docker_url]
  tls:
    description:
      - Use TLS without verifying the engine's certificate. O(validate_certs=true) takes precedence.
      - If it is not set, the environment variable E(DOCKER_TLS) is used.
    type: bool
    default: false
  validate_certs:
    description:
      - Use TLS and verify the engine's certificate, which must be valid for the host name in O(docker_host).
      - If it is not set, the environment variable E(DOCKER_TLS_VERIFY) is used.
    type: bool
    default: false
    aliases: [tls_verify]
  ca_path:
    description:
      - Path of the CA certificate that the engine's certificate is verified with.
      - If it is not set and the environment variable E(DOCKER_CERT_PATH) is, C(ca.pem) in that directory is used.
    type: path
    aliases: [ca_cert, tls_ca_cert, cacert_path]
  client_cert:
    description:
      - Path of the TLS client certificate.
      - If it is not set and the environment variable E(DOCKER_CERT_PATH) is, C(cert.pem) in that directory is used.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description:
      - Path of the TLS client certificate's key.
      - If it is not set and the environment variable E(DOCKER_CERT_PATH) is, C(key.pem) in that directory is used.
    type: path
    aliases: [tls_client_key, key_path]
  api_version:
    description:
      - Version of the Docker API; V(auto) uses the newest that both sides know.
      - If it is not set, the environment variable E(DOCKER_API_VERSION) is used.
    type: str
    default: auto
    aliases: [docker_api_version]
  timeout:
    description:
      - Seconds to wait for an answer of the engine.
      - If it is not set, the environment variable E(DOCKER_TIMEOUT) is used.
    type: int
    default: 60
notes:
  - The options for the Docker engine have the names of the C(community.docker) collection. O(ignore:tls_hostname) does not exist here,
    because the Docker SDK for Python cannot honour it since its release 7.0.0.
requirements:
  - L(Docker SDK for Python,https://docker-py.readthedocs.io/en/stable/) 7.0 or newer on the controller, when a Docker engine is asked
"""
