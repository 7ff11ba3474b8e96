# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own certificate authority and the TLS contexts of its listeners; made anew at each start, valid for nothing else."""
from __future__ import annotations

import os
import pathlib
import ssl

import trustme


def endpoint_names(region: str) -> tuple[str, str]:
    """The wildcard names of a region's EC2 Instance Connect Endpoints: ordinary and FIPS."""
    return (f"*.ec2-instance-connect-endpoint.{region}.amazonaws.com", f"*.ec2-instance-connect-endpoint-fips.{region}.amazonaws.com")


class Certificates:
    """One authority (``ca.pem`` in the state directory) and what it signed."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._authority = trustme.CA(organization_name="molecule_ai.workspace lab")
        self.ca_file = directory / "ca.pem"
        temporary = directory / ".ca.pem.new"
        temporary.write_bytes(self._authority.cert_pem.bytes())
        os.replace(temporary, self.ca_file)

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server context with a certificate for these host names and addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._authority.issue_cert(*names).configure_cert(context)
        return context

    def local_context(self) -> ssl.SSLContext:
        """For listeners that clients address as this machine."""
        return self.server_context("127.0.0.1", "localhost", "::1")

    def gateway_context(self, region: str) -> ssl.SSLContext:
        """For the tunnel gateway: answers only to a server name of an endpoint (SNI), as the service does."""
        suffixes = tuple(name[1:] for name in endpoint_names(region))
        context = self.server_context(*endpoint_names(region))

        def check_server_name(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            return None if name is not None and name.endswith(suffixes) else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

        context.sni_callback = check_server_name  # type: ignore[assignment]
        return context
