# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: eic
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
short_description: SSH to private EC2 instances through an EC2 Instance Connect Endpoint
version_added: 0.1.0
description:
  - Reaches EC2 instances that have no public address and no known SSH key, through an EC2 Instance Connect Endpoint of their VPC.
  - It is P(ansible.builtin.ssh#connection) with a tunnel as its C(ProxyCommand). The tunnel pushes a public key that lives for
    60 seconds; its private key is made for the run and removed at the run's end.
  - One tunnel, one key push and one SSH login serve all tasks of a play on a host, by ssh's C(ControlPersist).
    AWS is asked only when a new connection is needed, and not at all about the instance when
    O(private_address), O(endpoint_id) and O(endpoint_dns_name) are all given.
requirements:
  - OpenSSH 8.4 or newer (C(ssh), C(ssh-keygen), C(sftp)) on the controller
  - the Python packages boto3 and websockets (13 or newer) on the controller
extends_documentation_fragment:
  - molecule_ai.workspace.ssh_options
  - molecule_ai.workspace.eic_aws
options:
  instance_id:
    description:
      - Id of the EC2 instance, for example V(i-0123456789abcdef0).
      - If it is not set, O(host) is used when it is an instance id.
    type: string
    vars:
      - name: workspace_instance_id
      - name: ansible_eic_instance_id
  endpoint_id:
    description:
      - Id of the EC2 Instance Connect Endpoint to use.
      - Without it, a usable endpoint of the instance's VPC is looked up. The one in the instance's subnet is preferred.
    type: string
    vars:
      - name: ansible_eic_endpoint_id
  endpoint_dns_name:
    description: DNS name of the endpoint. Without it, it is looked up.
    type: string
    vars:
      - name: ansible_eic_endpoint_dns_name
  private_address:
    description: Private address of the instance. Without it, it is looked up, IPv4 first.
    type: string
    vars:
      - name: ansible_eic_private_address
  tunnel:
    description:
      - How the instance is reached.
      - Without a tunnel, the key is pushed and ssh connects to O(private_address) by itself.
        Neither an endpoint nor C(ec2-instance-connect:OpenTunnel) is needed.
        O(private_address) may then be any address or name by which the controller reaches the instance.
    type: string
    default: endpoint
    choices:
      endpoint: Through an EC2 Instance Connect Endpoint.
      none: Directly, for a controller in the same network.
    vars:
      - name: ansible_eic_tunnel
  max_tunnel_duration:
    description:
      - Seconds after which the service ends the tunnel, 1 to 3600.
      - It is always sent, since an IAM policy that caps it denies requests without it.
    type: integer
    default: 3600
    vars:
      - name: ansible_eic_max_tunnel_duration
  rotation_margin:
    description:
      - A connection whose tunnel ends in less than this many seconds (or half of O(max_tunnel_duration), if that is less) is replaced before the next
        task starts. Tasks that are running over it then go on to their end, or to that of the tunnel.
      - So this is the time that a task may take at any point of a play. A longer one is safe at the start of a connection only, or with C(async).
    type: integer
    default: 300
    vars:
      - name: ansible_eic_rotation_margin
  tunnel_timeout:
    description:
      - Seconds within which the tunnel must be open and the key pushed, retries included.
      - The SSH login may take O(timeout) on top, and some seconds for the look-up of the key on the instance.
    type: integer
    default: 30
    vars:
      - name: ansible_eic_tunnel_timeout
  tunnel_budget:
    description:
      - How many tunnels this user's processes on this controller may have open on one endpoint, over all plays that run at the same time.
      - AWS allows 20 for all controllers together, and does not raise that. The default leaves two to others.
      - When all are in use, the connection that has been idle for the longest time is given up (see C(ControlPersist)).
        When none is idle, hosts wait for their turn, whatever C(forks) is.
      - If several controllers share an endpoint, divide the 20 between them. Each O(state_directory) counts as one, and so does each container with an
        E(ANSIBLE_HOME) of its own, such as a job of AWX or a slice of one.
    type: integer
    default: 18
    vars:
      - name: ansible_eic_tunnel_budget
  tunnel_wait:
    description:
      - Seconds to wait at most for one of the O(tunnel_budget) tunnels, or for the endpoint's quota if other controllers use it up.
      - A refusal without a reason may be the quota as well. While no tunnel of this controller is open on the endpoint it is waited for 90 seconds at most.
      - The default is the longest time that a tunnel can live.
    type: integer
    default: 3600
    vars:
      - name: ansible_eic_tunnel_wait
  target_cache_lifetime:
    description:
      - Seconds for which the answers of EC2 about addresses and endpoints are remembered in O(state_directory), for all plays with the same credentials.
      - An answer is forgotten earlier when a connection with it fails. Instances that are missing or not running are never remembered.
      - The first instance that is looked up costs one query. The second one costs a query for all running instances of the first one's VPC, and all
        further ones of that VPC cost none.
    type: integer
    default: 300
    vars:
      - name: ansible_eic_target_cache_lifetime
  state_directory:
    description:
      - Private directory for what the processes of one user have to know of each other. These are the tunnels that are open, the connections in use, and
        the addresses and endpoints that were looked up.
      - It has to be on a file system with working locks, and the same for all plays that share O(tunnel_budget).
      - Without it, C(eic) below E(ANSIBLE_HOME), which is C(~/.ansible) unless it is set.
    type: path
    vars:
      - name: ansible_eic_state_directory
  tunnel_address:
    description:
      - V(host:port) to connect to instead of O(endpoint_dns_name) and port 443.
      - TLS server name, C(Host) header and signature remain those of the DNS name.
    type: string
    vars:
      - name: ansible_eic_tunnel_address
  known_hosts_file:
    description:
      - File of the host keys that were seen, one line per instance id.
      - Instance ids are never used again, private addresses are. So a re-created instance needs nothing from you.
      - Without it, C(eic_known_hosts) below E(ANSIBLE_HOME), which is C(~/.ansible) unless it is set.
    type: path
    vars:
      - name: ansible_eic_known_hosts_file
  host_key_policy:
    description:
      - What to do with the host key of an instance that is not in O(known_hosts_file).
      - A key that has changed is refused in any case, and so is any connection while O(known_hosts_file) is no regular file (a device, a pipe) or
        cannot keep a new key. It may be a link to one only with V(strict), where nothing is written to it.
      - O(host_key_checking) has no effect, because switching it off would accept changed keys.
    type: string
    default: accept-new
    choices:
      accept-new: Remember it.
      strict: Refuse it.
      console: >-
        Trust the keys that cloud-init printed to the instance's console and no others. They are read once by C(ec2:GetConsoleOutput)
        and kept in a file of their own, beside O(known_hosts_file) with the suffix C(.console).
    vars:
      - name: ansible_eic_host_key_policy
notes:
  - The ControlPath is the plugin's own (O(control_path) has no effect). It differs by instance, user, port, region, endpoint and credentials, because
    two instances with one private address must not share a connection. O(control_path_dir) applies.
  - O(reconnection_retries) applies to opening the connection. A command that has started is never repeated, since it may have run to its end.
  - O(password) has no effect. The run's ephemeral key is the only way in, or your own one if O(private_key_file) is set. Its public key must lie beside it
    (C(.pub)) or be derivable without a passphrase. O(private_key_file) may also be the public key of a key in your ssh-agent.
    With ansible-core 2.19 and newer, O(private_key) works too, by core's own ssh-agent.
  - A transfer whose connection broke off is done once more, as a whole.
  - A live connection takes one of the 20 concurrent tunnels of its endpoint, a quota that AWS does not raise. Connections live on for C(ControlPersist) seconds
    (60 unless O(ssh_args) says otherwise) after their last task. The plugin keeps within the quota by O(tunnel_budget), whatever C(forks) is.
    With more hosts than tunnels, the strategy P(ansible.builtin.host_pinned#strategy) opens one tunnel per host, the default strategy one per host and task.
  - C(ControlPersist=no) in O(ssh_args) is taken as 5 seconds, because the tunnel is opened ahead of the command.
  - ssh returns 255 both for its own errors and for a remote command that exits with 255. Either makes the host unreachable. The message says which it was.
  - The M(ansible.posix.synchronize) module refuses connection plugins other than ssh, so it does not work with this one. Use M(ansible.builtin.copy) or
    M(ansible.builtin.unarchive).
  - The IAM identity needs C(ec2-instance-connect:OpenTunnel) on the endpoint and C(ec2-instance-connect:SendSSHPublicKey) on the instance,
    and for look-ups C(ec2:DescribeInstances) and C(ec2:DescribeInstanceConnectEndpoints).
  - HTTPS_PROXY and NO_PROXY of the environment are honoured.
seealso:
  - plugin: ansible.builtin.ssh
    plugin_type: connection
  - plugin: amazon.aws.aws_ssm
    plugin_type: connection
  - name: EC2 Instance Connect Endpoint
    description: The service, its quotas and its security groups.
    link: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/connect-with-ec2-instance-connect-endpoint.html
"""

EXAMPLES = r"""
# inventory.yml: everything else is looked up
workspaces:
  hosts:
    alice:
      ansible_eic_instance_id: i-0123456789abcdef0
    bob:
      ansible_host: i-0fedcba9876543210
  vars:
    ansible_connection: molecule_ai.workspace.eic
    ansible_user: ubuntu
    ansible_become: true
    ansible_eic_region: us-east-2
    ansible_eic_profile: fleet
    # spares the interpreter discovery
    ansible_python_interpreter: python3

# inventory.yml: no look-up at all (needs neither ec2:DescribeInstances nor ec2:DescribeInstanceConnectEndpoints)
private_hosts:
  hosts:
    carol:
      ansible_eic_instance_id: i-0a1b2c3d4e5f60718
      ansible_eic_private_address: 10.0.1.17
  vars:
    ansible_connection: molecule_ai.workspace.eic
    ansible_user: ec2-user
    ansible_eic_endpoint_id: eice-0123456789abcdef0
    ansible_eic_endpoint_dns_name: eice-0123456789abcdef0.abcdef12.ec2-instance-connect-endpoint.us-east-2.amazonaws.com

# ansible.cfg: give idle connections up earlier, in VPCs with many instances
# [ssh_connection]
# ssh_args = -C -o ControlPersist=15s
"""

import contextlib
import dataclasses
import os
import random
import re
import time
import typing as t

from ansible import constants as C
from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.common.text.converters import to_bytes
from ansible.plugins.connection.ssh import AnsibleControlPersistBrokenPipeError
from ansible.plugins.connection.ssh import Connection as SshConnection
from ansible.utils.display import Display
from ansible.utils.path import makedirs_safe, unfrackpath
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import (
    eic_errors,
    eic_master,
    eic_options,
    eic_outcome,
    eic_session,
    eic_ticket,
    eic_use,
)
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_outcome import Verdict
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_settings import Settings

display = Display()

# core's own meaning of these would repeat a started command, and ask for a password that nobody has
_FIXED_OPTIONS: dict[str, object] = {"reconnection_retries": 0, "password": None}
_DIRECTORIES = frozenset(["control_path_dir", "state_directory"])
_NO_CONTROL_PERSIST = re.compile(rb"(?i)^(-o)?\s*ControlPersist[\s=]+(no|false)\s*$")
_CONNECTION_LOST = 255
_ATTEMPTS = 3
_SPARE_WAIT = 2


class _NoTunnelLeft(AnsibleConnectionFailure):  # type: ignore[misc]
    """All tunnels that there may be were in use for too long."""


@contextlib.contextmanager
def _ansible_errors() -> t.Iterator[None]:
    """Errors of the collection become Ansible's, by their kind; the sentence is the same."""
    try:
        yield
    except (WorkspaceError, OSError) as error:
        kind, sentence = eic_outcome.of_error(error)
        if isinstance(error, eic_session.EicError) and error.code in eic_outcome.NO_TUNNEL_LEFT:
            raise _NoTunnelLeft(sentence) from None
        kinds = {eic_errors.AUTHENTICATION: AnsibleAuthenticationFailure, eic_errors.CONFIGURATION: AnsibleError}
        raise kinds.get(kind, AnsibleConnectionFailure)(sentence) from None


@contextlib.contextmanager
def _in_use(settings: Settings) -> t.Iterator[None]:
    """:func:`eic_use.using`, with its errors as Ansible's; those of what runs meanwhile are left alone."""
    with contextlib.ExitStack() as held:
        with _ansible_errors():
            held.enter_context(eic_use.using(settings.use_file))
        yield


class _ConnectionLost(AnsibleConnectionFailure):  # type: ignore[misc]
    """The connection broke off while something ran over it. Who knows that it may be done twice can see that by ``outcome_unknown``."""

    outcome_unknown = True


class Connection(SshConnection):  # type: ignore[misc]
    """``ansible.builtin.ssh`` over a tunnel; the shared connection is opened ahead of the command that needs it.

    So everything that can fail before a command has started fails in :meth:`_open`, where it may be repeated, and nothing that fails later is.
    """

    transport = "molecule_ai.workspace.eic"

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._ticket_path = eic_session.new_ticket_path(C.DEFAULT_LOCAL_TMP)

    def get_option(self, option: str, hostvars: dict[str, t.Any] | None = None) -> t.Any:
        """core's, but for the options whose meaning in core does not fit here."""
        if option in _FIXED_OPTIONS:
            return _FIXED_OPTIONS[option]
        value = super().get_option(option, hostvars)
        if value is None and option in eic_options.DEFAULTS_BELOW_HOME:
            value = eic_options.DEFAULTS_BELOW_HOME[option](C.ANSIBLE_HOME)
        return unfrackpath(value) if option in _DIRECTORIES else value

    def _settings(self) -> Settings:
        """The options as they are set now; core sets them after the constructor, and anew for each item of a loop."""
        with _ansible_errors():
            made = eic_options.settings(self.get_option, self.get_option("host") or self._play_context.remote_addr, self._key_file(), C.DEFAULT_LOCAL_TMP)
        for directory in (made.control_directory, made.state_directory, os.path.dirname(made.known_hosts)):
            makedirs_safe(directory, 0o700)
        return made

    def reset(self) -> None:
        """core's, and the spare connections as well."""
        super().reset()
        settings = self._settings()
        for number in range(1, settings.tunnel_budget):
            eic_master.stop(settings.ssh_executable, dataclasses.replace(settings, spare=number).control_path)

    def _key_file(self) -> str | None:
        """The user's own key, by file or (from ansible-core 2.19 on) by core's ssh-agent, which leaves the public key in a file."""
        if self.has_option("private_key") and self.get_option("private_key"):
            return str(self._populate_agent())
        path = self.get_option("private_key_file")
        return os.path.expanduser(path) if path else None

    def put_file(self, in_path: str, out_path: str) -> tuple[int, bytes, bytes]:
        """core's, and once more from the first byte when the connection broke off: half a file is no outcome that anybody could want."""
        try:
            return super().put_file(in_path, out_path)
        except _ConnectionLost as error:
            display.vv(f"EIC: transferring again: {error}", host=self.host)
            return super().put_file(in_path, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> tuple[int, bytes, bytes]:
        """As :meth:`put_file`."""
        try:
            return super().fetch_file(in_path, out_path)
        except _ConnectionLost as error:
            display.vv(f"EIC: transferring again: {error}", host=self.host)
            return super().fetch_file(in_path, out_path)

    def _build_command(self, binary: str, subsystem: str, *other_args: bytes | str) -> list[bytes]:
        """core's command with the tunnel: what must hold before the user's arguments (ssh takes the first value), defaults behind them."""
        with self._as_core_should_see_it():
            command = super()._build_command(binary, subsystem)
        with _ansible_errors():
            options = eic_session.ssh_options(self._settings(), self._ticket_path)
        # the user's "no" would leave a master without sessions for ever
        command = [_NO_CONTROL_PERSIST.sub(rb"\1ControlPersist=5s", argument) for argument in command]
        position = command.index(to_bytes(binary)) + 1
        command[position:position] = [to_bytes(option) for option in options]
        return [*command, *map(to_bytes, eic_session.DEFAULT_SSH_OPTIONS), *map(to_bytes, other_args)]

    def _bare_run(self, cmd: list[bytes], in_data: bytes | None, sudoable: bool = True, checkrc: bool = True) -> tuple[int, bytes, bytes]:
        """Every ssh, sftp and scp passes here: see to it that the shared connection is up, run, and say what a 255 was."""
        settings = self._settings()
        end = time.monotonic() + settings.tunnel_wait
        # nobody gives the connection up for another host's sake meanwhile
        with _in_use(settings):
            while True:
                try:
                    return self._run_somewhere(settings, cmd, in_data, sudoable)
                except _NoTunnelLeft:
                    # a session of the first connection may become free before a tunnel does
                    if not eic_master.is_alive(settings.control_path) or time.monotonic() >= end:
                        raise
                time.sleep(random.uniform(0.2, 0.6))  # noqa: S311 - spreads load, guards nothing

    def _run_somewhere(self, settings: Settings, cmd: list[bytes], in_data: bytes | None, sudoable: bool) -> tuple[int, bytes, bytes]:
        """Run over the shared connection or, where sshd allows no more sessions on it (``MaxSessions``), over the first spare one that has any left."""
        result = self._run_shared(settings, cmd, in_data, sudoable)
        for number in range(1, settings.tunnel_budget):
            if result is not None:
                break
            spare = dataclasses.replace(settings, spare=number, tunnel_wait=min(_SPARE_WAIT, settings.tunnel_wait))
            with _in_use(spare):
                result = self._run_shared(spare, eic_session.moved(cmd, settings, spare), in_data, sudoable)
        if result is None:
            raise _NoTunnelLeft(eic_errors.sentence("NoSessionLeft", settings.context()))
        return result

    def _run_shared(self, settings: Settings, cmd: list[bytes], in_data: bytes | None, sudoable: bool) -> tuple[int, bytes, bytes] | None:
        """Run over the shared connection of ``settings``; ``None`` when it has no session left, and nothing has started."""
        report_path = f"{self._ticket_path}.status"
        for _attempt in range(_ATTEMPTS):
            self._open(settings)
            master = eic_master.identity(settings.control_path)
            # what an earlier run has left says nothing about this one
            eic_ticket.take_report(report_path)
            result = self._run_once(cmd, in_data, sudoable)
            outcome = eic_outcome.of_run(settings, result[0], report_path, master, is_transfer=self._is_transfer(cmd))
            if outcome.verdict is Verdict.RAN:
                return result
            if outcome.verdict is Verdict.NO_SESSION:
                return None
            if outcome.verdict is Verdict.LOST:
                raise _ConnectionLost(outcome.sentence)
            if outcome.verdict is Verdict.UNKNOWN:
                raise AnsibleConnectionFailure(outcome.sentence)
        raise AnsibleConnectionFailure(eic_errors.sentence("TicketMissing", settings.context()))

    def _run_once(self, cmd: list[bytes], in_data: bytes | None, sudoable: bool) -> tuple[int, bytes, bytes]:
        """core's run, whatever it takes a 255 for: core looks for ssh's "Broken pipe" in what a remote command may have written."""
        try:
            with self._as_core_should_see_it():
                result: tuple[int, bytes, bytes] = super()._bare_run(cmd, in_data, sudoable=sudoable, checkrc=False)
            return result
        except AnsibleControlPersistBrokenPipeError as error:
            return _CONNECTION_LOST, b"", to_bytes(str(error))

    @contextlib.contextmanager
    def _as_core_should_see_it(self) -> t.Iterator[None]:
        """Without a password, which core also takes from the play, and with a shell for the ProxyCommand."""
        password, shell = self._play_context.password, os.environ.get("SHELL")
        self._play_context.password = None
        os.environ.update(eic_master.ENVIRONMENT)
        try:
            yield
        finally:
            self._play_context.password = password
            if shell is None:
                del os.environ["SHELL"]
            else:
                os.environ["SHELL"] = shell

    def _is_transfer(self, cmd: list[bytes]) -> bool:
        return to_bytes(self.get_option("ssh_executable")) not in cmd

    def _open(self, settings: Settings) -> None:
        """Open the shared connection unless it is up. Only here is anything repeated: no command has started yet."""
        if eic_session.is_ready(settings):
            return
        display.vvv(f"EIC: OPEN TUNNEL TO {settings.instance_id} FOR USER {settings.os_user}", host=self.host)
        executable = self.get_option("ssh_executable")
        command = self._build_command(executable, "ssh", self.host)
        command = eic_session.moved(command[command.index(to_bytes(executable)):], dataclasses.replace(settings, spare=0), settings)
        attempts = 1 + max(0, int(super().get_option("reconnection_retries")))
        for attempt in range(1, attempts + 1):
            try:
                with _ansible_errors():
                    return eic_session.open_master(settings, command, self._ticket_path)
            except AnsibleAuthenticationFailure:
                raise
            except AnsibleConnectionFailure as error:
                if attempt == attempts:
                    raise
                display.vv(f"EIC: attempt {attempt} of {attempts}: {error}", host=self.host)
