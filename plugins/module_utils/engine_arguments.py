# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The Docker engine's options as arguments of a task: one specification for actions, which act on them, and modules, which document them.

Names, defaults and environment variables are community.docker's, so that nobody learns them twice.
"""
from __future__ import annotations

import os
import pathlib
from typing import Any

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.errors import AnsibleFallbackNotFound

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
DEFAULT_TIMEOUT = 60


def _certificate_fallback(file_name: str) -> str:
    """The file that ``DOCKER_CERT_PATH`` implies (docker's own convention: ca.pem, cert.pem and key.pem in one directory)."""
    directory = os.environ.get("DOCKER_CERT_PATH")
    if not directory:
        raise AnsibleFallbackNotFound
    return str(pathlib.Path(directory) / file_name)


# ``client_key`` is a path, not a key. There is no ``tls_hostname``: neither the SDK since 7.0 nor the docker CLI can honour it.
ENGINE_ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "docker_host": {"type": "str", "default": DEFAULT_DOCKER_HOST, "fallback": (env_fallback, ["DOCKER_HOST"]), "aliases": ["docker_url"]},
    "tls": {"type": "bool", "default": False, "fallback": (env_fallback, ["DOCKER_TLS"])},
    "validate_certs": {"type": "bool", "default": False, "fallback": (env_fallback, ["DOCKER_TLS_VERIFY"]), "aliases": ["tls_verify"]},
    "ca_path": {"type": "path", "fallback": (_certificate_fallback, ["ca.pem"]), "aliases": ["ca_cert", "tls_ca_cert", "cacert_path"]},
    "client_cert": {"type": "path", "fallback": (_certificate_fallback, ["cert.pem"]), "aliases": ["tls_client_cert", "cert_path"]},
    "client_key": {"type": "path", "no_log": False, "fallback": (_certificate_fallback, ["key.pem"]), "aliases": ["tls_client_key", "key_path"]},
    "api_version": {"type": "str", "default": "auto", "fallback": (env_fallback, ["DOCKER_API_VERSION"]), "aliases": ["docker_api_version"]},
    "timeout": {"type": "int", "default": DEFAULT_TIMEOUT, "fallback": (env_fallback, ["DOCKER_TIMEOUT"])},
}
