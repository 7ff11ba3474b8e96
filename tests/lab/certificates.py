# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own certificate authority and the TLS contexts of its listeners; made anew at each start, valid for nothing else."""
from __future__ import annotations

import os
import pathlib
import re
import ssl

import trustme


def is_endpoint_name(name: str, region: str) -> bool:
    """Whether ``name`` is a DNS name that EC2 Instance Connect Endpoints of this region have (ordinary or FIPS)."""
    return re.fullmatch(rf"eice-[0-9a-z.-]+\.(?:fips\.)?ec2-instance-connect-endpoint(?:-fips)?\.{re.escape(region)}\.amazonaws\.com", name) is not None


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
        """For the tunnel gateway: answers only to a server name of an endpoint (SNI), with a certificate for exactly that name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._authority.issue_cert("refused.invalid").configure_cert(context)
        by_name: dict[str, ssl.SSLContext] = {}

        def choose_certificate(connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
            if name is None or not is_endpoint_name(name, region):
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            if name not in by_name:
                by_name[name] = self.server_context(name)
            connection.context = by_name[name]
            return None

        context.sni_callback = choose_certificate
        return context
