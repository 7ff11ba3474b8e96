# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all simulated services share."""
from __future__ import annotations

import dataclasses
import pathlib
import time

from .counters import Counters
from .faults import Faults
from .key_store import KeyStore
from .live_world import LiveWorld
from .settings import Settings
from .signature import Claim, Credentials, Request, SignatureRefused, verify_header, verify_query

TUNNEL_SIGNATURE_EXPIRY = 60  # seconds


@dataclasses.dataclass
class LabState:
    """The world, and everything that the services remember or that a test can switch."""

    directory: pathlib.Path
    world: LiveWorld
    keys: KeyStore
    settings: Settings = dataclasses.field(default_factory=Settings)
    faults: Faults = dataclasses.field(default_factory=Faults)
    counters: Counters = dataclasses.field(default_factory=Counters)
    issued: dict[str, Credentials] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, directory: pathlib.Path) -> LabState:
        """The state behind ``<directory>/world.json``."""
        world = LiveWorld(directory / "world.json")
        return cls(directory, world, KeyStore(pathlib.Path(world.content.get("key_store") or directory / "keys")))

    def credentials(self) -> dict[str, Credentials]:
        """The principals that AWS knows, by access key: the world's ``credentials``, its ``more_credentials`` if there are, and assumed roles."""
        records = [self.world.content["credentials"], *self.world.content.get("more_credentials", [])]
        found = {each["access_key"]: Credentials(each["access_key"], each["secret_key"], each.get("session_token"), each.get("expires")) for each in records}
        return {**found, **self.issued}

    def verify_api_request(self, request: Request) -> Claim:
        """Check an AWS API request's signature; raises SignatureRefused."""
        self._check_token("api")
        return self._unexpired(verify_header(request, self.credentials(), self.world.region, self._aws_time()))

    def verify_tunnel_request(self, request: Request) -> Claim:
        """Check a tunnel URL's signature; raises SignatureRefused."""
        self._check_token("tunnel")
        return self._unexpired(verify_query(request, self.credentials(), self.world.region, self._aws_time(), TUNNEL_SIGNATURE_EXPIRY))

    def _unexpired(self, claim: Claim) -> Claim:
        expires = self.credentials()[claim.access_key].expires
        if expires is not None and time.time() > expires:
            raise SignatureRefused("expired_token", "The security token included in the request is expired")
        return claim

    def _check_token(self, surface: str) -> None:
        if self.faults.take("expire_token", surface=surface) or self.faults.take("expire_token", surface="all"):
            raise SignatureRefused("expired_token", "The security token included in the request is expired")

    def _aws_time(self) -> float:
        skew: dict[str, float] | None = self.faults.take("clock_skew")
        return time.time() + (skew["seconds"] if skew else 0.0)
