# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection as a play sees it: real ansible, real ssh, a real sshd, and a small EC2 Instance Connect in this process."""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

import pytest
import trustme
import yaml
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import run_directories
from eic_service import ADDRESS, DNS_NAME, ENDPOINT, INSTANCE, USER, EicService

COLLECTIONS = pathlib.Path(__file__).resolve().parents[4] / ".cache" / "collections"
ACCESS_KEY, SECRET_KEY = "AKIACANARYACCESSKEY1", "canary/of/the/secret/key"

pytestmark = pytest.mark.skipif(not shutil.which("sshd") and not os.path.exists("/usr/sbin/sshd"), reason="needs OpenSSH's sshd")


@dataclasses.dataclass
class Play:
    """What a run of ansible did."""

    status: int
    output: str

    @property
    def message(self) -> str:
        """The failure's message of an ad-hoc run with the minimal callback."""
        return json.loads(self.output[self.output.index("=> {") + 3:self.output.rindex("}") + 1])["msg"]


class Controller:
    """Runs ansible against the service, with directories of its own."""

    def __init__(self, service: EicService, directory: pathlib.Path) -> None:
        self.service, self.directory = service, directory
        self.hosts: dict[str, dict[str, t.Any]] = {"workspace": {}}
        self.variables: dict[str, t.Any] = {
            "ansible_connection": "molecule_ai.workspace.eic",
            "ansible_user": USER,
            "ansible_python_interpreter": sys.executable,
            "ansible_eic_instance_id": INSTANCE,
            "ansible_eic_region": "us-east-2",
            "ansible_eic_access_key": ACCESS_KEY,
            "ansible_eic_secret_key": SECRET_KEY,
            "ansible_eic_ca_bundle": str(service.ca_file),
            "ansible_eic_ec2_endpoint_url": service.api_url,
            "ansible_eic_instance_connect_endpoint_url": service.api_url,
            "ansible_eic_tunnel_address": service.tunnel_address,
            "ansible_eic_tunnel_timeout": 6,
            "ansible_eic_known_hosts_file": str(directory / "known_hosts"),
            "ansible_control_path_dir": str(directory / "cp"),
            "ansible_eic_state_directory": str(directory / "state"),
        }
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))}
        self.environment.update(
            ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS), ANSIBLE_NOCOLOR="1", ANSIBLE_LOCAL_TEMP=str(directory / "tmp"), ANSIBLE_FORKS="10",
            ANSIBLE_REMOTE_TEMP=str(directory / "remote-tmp"), ANSIBLE_CALLBACK_RESULT_FORMAT="json", ANSIBLE_DEPRECATION_WARNINGS="1",
        )

    def ansible(self, *arguments: str) -> Play:
        """``ansible all ARGUMENTS``."""
        return self._run("ansible", "all", *arguments)

    def play(self, tasks: list[dict[str, t.Any]], *arguments: str, **keywords: t.Any) -> Play:
        """A play of ``tasks`` over all hosts."""
        playbook = self.directory / "play.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks, **keywords}]))
        return self._run("ansible-playbook", str(playbook), *arguments)

    def close(self, directory: pathlib.Path | None = None) -> None:
        """End the shared connections whose sockets lie in ``directory``."""
        for socket in (directory or self.directory / "cp").glob("eic-*"):
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "x"], stderr=subprocess.DEVNULL, check=False)

    def _run(self, program: str, *arguments: str) -> Play:
        inventory = self.directory / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": self.hosts, "vars": self.variables}}))
        command = [str(pathlib.Path(sys.executable).parent / program), "-i", str(inventory), *arguments]
        done = subprocess.run(
            command, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )
        assert "[DEPRECATION WARNING]" not in done.stdout, done.stdout
        return Play(done.returncode, done.stdout)


@pytest.fixture
def service() -> t.Iterator[EicService]:
    # sockets need short paths
    with tempfile.TemporaryDirectory(prefix="eic-") as directory, EicService(pathlib.Path(directory)) as running:
        yield running


@pytest.fixture
def controller(service: EicService) -> t.Iterator[Controller]:
    with tempfile.TemporaryDirectory(prefix="eic-") as directory:
        made = Controller(service, pathlib.Path(directory))
        yield made
        made.close()


def test_ten_tasks_are_one_tunnel_one_push_and_no_secret_is_shown(controller: Controller) -> None:
    tasks = [{"ansible.builtin.command": f"echo {number}"} for number in range(10)]
    done = controller.play(tasks, "-vvvv")
    assert done.status == 0, done.output
    assert controller.service.counters == {"tunnels": 1, "pushes": 1, "DescribeInstances": 1, "DescribeInstanceConnectEndpoints": 1}
    assert SECRET_KEY not in done.output
    assert "X-Amz" not in done.output
    (request,), (push,) = controller.service.tunnel_requests, controller.service.pushes
    assert request["path"] == "/openTunnel"
    assert request["host"] == DNS_NAME
    assert request["instanceConnectEndpointId"] == ENDPOINT
    assert request["privateIpAddress"] == ADDRESS
    assert (request["remotePort"], request["maxTunnelDuration"], request["X-Amz-Expires"]) == ("22", "3600", "60")
    assert {name.lower() for name in request["headers"].split(",")} == {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"}
    assert push["InstanceId"] == INSTANCE and push["InstanceOSUser"] == USER
    assert len(push["SSHPublicKey"]) == 80
    # the key and the tickets went with the run; the connection lives on, and the next run neither asks AWS nor opens a tunnel
    assert not list((controller.directory / "tmp").glob("*/eic*"))
    assert controller.ansible("-m", "ping").status == 0
    assert controller.service.counters["tunnels"] == 1


def test_what_is_kept_lies_below_ansible_home_unless_the_options_say_otherwise(controller: Controller) -> None:
    home = controller.directory / "home"
    controller.environment["ANSIBLE_HOME"] = str(home)
    given = {name: controller.variables.pop(name) for name in ("ansible_control_path_dir", "ansible_eic_state_directory", "ansible_eic_known_hosts_file")}
    try:
        assert controller.ansible("-m", "ping").status == 0
        assert len(list((home / "cp").iterdir())) == 1
        assert (home / "eic" / "connections").is_dir() and INSTANCE in (home / "eic_known_hosts").read_text()
    finally:
        controller.close(home / "cp")
    controller.environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] = given["ansible_control_path_dir"]
    assert controller.ansible("-m", "ping").status == 0
    assert len(list((controller.directory / "cp").iterdir())) == 1


def test_nothing_is_looked_up_when_all_is_given(controller: Controller) -> None:
    controller.variables.update(ansible_eic_private_address="2600:1f16::17", ansible_eic_endpoint_id=ENDPOINT, ansible_eic_endpoint_dns_name=DNS_NAME)
    assert controller.ansible("-m", "ping").status == 0
    assert controller.service.counters == {"tunnels": 1, "pushes": 1}
    assert controller.service.tunnel_requests[0]["privateIpAddress"] == "2600:1f16::17"


def test_what_tasks_do_with_a_connection(controller: Controller) -> None:
    """become, transfers both ways, raw, script, exit codes, output that is not ASCII, and reset_connection."""
    directory = controller.directory
    (directory / "script.sh").write_text("#!/bin/sh\necho from the script\n")
    tasks: list[dict[str, t.Any]] = [
        {"ansible.builtin.raw": "echo 'grüße'", "register": "greeting"},
        {"ansible.builtin.copy": {"content": "hällo\n", "dest": f"{directory}/cöpy of it"}},
        {"ansible.builtin.copy": {"src": sys.executable, "dest": f"{directory}/large", "mode": "0600"}},
        {"ansible.builtin.fetch": {"src": f"{directory}/cöpy of it", "dest": f"{directory}/fetched", "flat": True}},
        {"ansible.builtin.script": f"{directory}/script.sh", "register": "script"},
        {"ansible.builtin.shell": "echo out; echo err >&2; exit 3", "register": "failing", "failed_when": "failing.rc != 3"},
        {"ansible.builtin.meta": "reset_connection"},
        {"ansible.builtin.ping": None},
        {"ansible.builtin.assert": {"that": ["'grüße' in greeting.stdout", "'from the script' in script.stdout", "failing.stderr == 'err'"]}},
    ]
    if USER == "root":
        become = {"become": True, "become_method": "su", "become_user": "daemon", "vars": {"ansible_su_flags": "-s /bin/sh"}}
        tasks += [{"ansible.builtin.raw": "id -un", "register": "who", **become}, {"ansible.builtin.assert": {"that": "'daemon' in who.stdout"}}]
    done = controller.play(tasks)
    assert done.status == 0, done.output
    assert (directory / "fetched").read_text() == "hällo\n"
    assert (directory / "large").read_bytes() == pathlib.Path(sys.executable).read_bytes()
    assert controller.service.counters["tunnels"] == 2, "one before and one after the reset"


@pytest.mark.parametrize("method", ["sftp", "scp", "piped"])
@pytest.mark.parametrize("pipelining", [True, False])
def test_every_transfer_method_with_and_without_pipelining(controller: Controller, method: str, pipelining: bool) -> None:
    controller.variables.update(ansible_ssh_transfer_method=method, ansible_pipelining=pipelining, ansible_scp_extra_args="-O" if method == "scp" else "")
    done = controller.play([{"ansible.builtin.copy": {"content": "text", "dest": f"{controller.directory}/copied"}}])
    assert done.status == 0, done.output
    assert (controller.directory / "copied").read_text() == "text"
    assert controller.service.counters["tunnels"] == 1


def test_parallel_first_tasks_share_one_tunnel(controller: Controller) -> None:
    controller.hosts = {f"alias{number}": {} for number in range(3)}
    assert controller.ansible("-m", "ping").status == 0
    assert controller.service.counters["tunnels"] == 1


def test_more_sessions_than_the_instance_allows_get_tunnels_of_their_own(controller: Controller) -> None:
    controller.hosts = {f"alias{number}": {} for number in range(5)}
    assert controller.ansible("-m", "command", "-a", "sleep 3").status == 0
    assert 2 <= controller.service.counters["tunnels"] <= 3


def test_the_users_ssh_arguments_work_but_cannot_share_or_weaken_connections(controller: Controller) -> None:
    controller.variables.update(
        ansible_ssh_args="-o ControlMaster=no -o ControlPersist=no -o ControlPath=/nonexistent/socket -o SendEnv=CANARY",
        ansible_ssh_common_args="-o StrictHostKeyChecking=no -o ProxyCommand=false",
        ansible_control_path="/nonexistent/%%h",
        ansible_host_key_checking=False,
    )
    assert controller.ansible("-m", "ping").status == 0
    controller.service.renew_host_key()
    controller.close()
    assert "host key has changed" in controller.ansible("-m", "ping").message


def test_throttled_pushes_and_refused_handshakes_are_repeated_before_the_login(controller: Controller) -> None:
    throttled = {"__type": "com.amazonaws.ec2instanceconnect#ThrottlingException", "Message": "Server is busy! Please retry after a moment."}
    controller.service.push_answers = [(400, throttled), (500, {})]
    controller.service.refusals = [(503, {})]
    assert controller.ansible("-m", "ping").status == 0
    assert controller.service.counters["tunnels"] == 2
    assert controller.service.counters["pushes"] == 3


def _denied_push(controller: Controller) -> None:
    controller.service.push_answers = [(400, {"__type": "AccessDeniedException", "Message": "User: arn:aws:iam::123456789012:user/x is not authorized"})]


def _refused_handshake(controller: Controller) -> None:
    controller.service.refusals = [(400, {"ErrorCode": "InvalidParameter", "Message": "The specified RemotePort is not valid. Specify either 22 or 3389"})]


def _denied_handshake(controller: Controller) -> None:
    controller.service.refusals = [(403, {"ErrorCode": "AccessDenied", "Message": "User: arn:aws:iam::123456789012:user/x is not authorized"})]


def _unreachable_target(controller: Controller) -> None:
    controller.service.close = (1011, "Unable to connect to target")


def _wrong_authority(controller: Controller) -> None:
    other = controller.directory / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    controller.variables.update(ansible_eic_ca_bundle=str(other), ansible_eic_private_address=ADDRESS, ansible_eic_endpoint_id=ENDPOINT)
    controller.variables["ansible_eic_endpoint_dns_name"] = DNS_NAME


def _unknown_instance(controller: Controller) -> None:
    controller.variables["ansible_eic_instance_id"] = "i-00000000"


def _stopped_instance(controller: Controller) -> None:
    controller.service.instances[INSTANCE] = "stopped"


def _key_not_accepted(controller: Controller) -> None:
    controller.service.accept_keys = False


def _failed_endpoint(controller: Controller) -> None:
    controller.service.endpoint_state = "create-failed"


def _text_frame(controller: Controller) -> None:
    controller.service.send_text = True


def _nothing_listens(controller: Controller) -> None:
    controller.variables["ansible_eic_tunnel_address"] = "127.0.0.1:1"


def _no_credentials(controller: Controller) -> None:
    del controller.variables["ansible_eic_access_key"], controller.variables["ansible_eic_secret_key"]
    controller.environment.update(AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null")


def _unknown_host_key(controller: Controller) -> None:
    controller.variables["ansible_eic_host_key_policy"] = "strict"


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (_denied_push, ["ec2-instance-connect:SendSSHPublicKey", f"instance {INSTANCE}", f"ec2:osuser {USER}", "AWS request api-request"]),
        (_refused_handshake, ["ansible_port (22 or 3389)", "AWS request refused-request", "The specified RemotePort is not valid"]),
        (_denied_handshake, ["ec2-instance-connect:OpenTunnel", f"endpoint {ENDPOINT}", ADDRESS]),
        (_unreachable_target, [f"cannot reach {ADDRESS} port 22", "security group"]),
        (_wrong_authority, ["certificate", DNS_NAME, "ansible_eic_ca_bundle"]),
        (_unknown_instance, ["i-00000000: EC2 knows no such instance"]),
        (_stopped_instance, [f"{INSTANCE}: the instance is stopped"]),
        (_key_not_accepted, ["EC2 Instance Connect package", USER, "clock"]),
        (_failed_endpoint, ["vpc-1 has no usable EC2 Instance Connect Endpoint"]),
        (_text_frame, ["broke the tunnel's protocol (a text frame)"]),
        (_nothing_listens, ["127.0.0.1 refuses connections"]),
        (_no_credentials, ["no AWS credentials"]),
        (_unknown_host_key, ["host key is not known", "known_hosts", "accept-new"]),
    ],
)
def test_every_failure_is_one_sentence_and_the_host_unreachable(controller: Controller, arrange: t.Callable[[Controller], None], words: list[str]) -> None:
    arrange(controller)
    started = time.monotonic()
    done = controller.ansible("-m", "ping")
    print(done.output)
    assert "UNREACHABLE" in done.output, done.output
    assert all(word in done.message for word in words), done.message
    assert len(done.message.splitlines()) == 1
    assert not any(leak in done.output for leak in (SECRET_KEY, "arn:aws", "X-Amz", "debug1", "kex_exchange", "Permission denied (", "Traceback"))
    assert time.monotonic() - started < 25
    assert not list((controller.directory / "cp").glob("*")), "sockets, locks and reports are gone"
    assert not list((controller.directory / "tmp").glob("*/eic*"))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ansible_eic_instance_id": None}, "set ansible_eic_instance_id"),
        ({"ansible_eic_instance_id": "mol-ws-container"}, "not an EC2 instance id"),
        ({"ansible_eic_max_tunnel_duration": 3601}, "1 to 3600 seconds"),
        ({"ansible_eic_tunnel_address": "somewhere"}, "host:port"),
        ({"ansible_user": "-oProxyCommand=x"}, "cannot be an OS user"),
        ({"ansible_eic_profile": "x"}, "either an AWS profile or AWS keys"),
        ({"ansible_eic_ca_bundle": "/nonexistent.pem", "ansible_eic_private_address": ADDRESS, "ansible_eic_endpoint_id": ENDPOINT,
          "ansible_eic_endpoint_dns_name": DNS_NAME}, "CA bundle cannot be read"),
        ({"ansible_eic_known_hosts_file": "/etc"}, "/etc: Is a directory; host keys cannot be remembered there, check ansible_eic_known_hosts_file"),
        # which forgets everything, so that each key would be the first one
        ({"ansible_eic_known_hosts_file": "/dev/null"}, "/dev/null: it is not a regular file; host keys cannot be remembered there"),
    ],
)
def test_wrong_configuration_fails_the_task(controller: Controller, variables: dict[str, t.Any], words: str) -> None:
    controller.variables.update(variables)
    done = controller.ansible("-m", "ping")
    assert "FAILED" in done.output and "UNREACHABLE" not in done.output, done.output
    assert words in done.message
    assert controller.service.counters["tunnels"] == 0


def test_an_instance_id_as_ansible_host_is_enough(controller: Controller) -> None:
    del controller.variables["ansible_eic_instance_id"]
    controller.hosts = {"workspace": {"ansible_host": INSTANCE}}
    assert controller.ansible("-m", "ping").status == 0


def test_a_changed_host_key_is_refused_and_named(controller: Controller) -> None:
    assert controller.ansible("-m", "ping").status == 0
    controller.close()
    controller.service.renew_host_key()
    message = controller.ansible("-m", "ping").message
    assert "host key has changed" in message and INSTANCE in message and f"{controller.directory}/known_hosts" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ln -sf /dev/null", "it is a link, not a regular file"),
        ("rm -f", "its host key was accepted and is not in"),
    ],
)
def test_a_key_that_was_accepted_and_not_kept_opens_no_connection(controller: Controller, change: str, words: str) -> None:
    """What ssh remembers is lost between the look at the file and the login's end."""
    file, wrapper = controller.directory / "known_hosts", controller.directory / "ssh-that-forgets"
    wrapper.write_text(f'#!/bin/sh\nssh "$@"\nstatus=$?\n{change} {shlex.quote(str(file))}\nexit $status\n')
    wrapper.chmod(0o700)
    controller.variables["ansible_ssh_executable"] = str(wrapper)
    done = controller.ansible("-m", "ping")
    assert "FAILED" in done.output and words in done.message and str(file) in done.message, done.output
    assert not list((controller.directory / "cp").glob("eic-*")), "the connection was given up"


def test_a_connection_lost_during_a_command_is_not_repeated(controller: Controller) -> None:
    controller.variables["ansible_ssh_retries"] = 3
    ran = controller.directory / "ran"

    def cut() -> None:
        for _attempt in range(200):
            if ran.exists():
                break
            time.sleep(0.05)
        controller.service.cut_all_tunnels()

    thread = threading.Thread(target=cut)
    thread.start()
    done = controller.ansible("-m", "shell", "-a", f"echo once >> {ran}; sleep 5")
    thread.join()
    assert "UNREACHABLE" in done.output
    assert "outcome is unknown" in done.message and "the tunnel broke off" in done.message
    assert ran.read_text() == "once\n"
    assert controller.service.counters["tunnels"] == 1
    assert controller.ansible("-m", "ping").status == 0


def test_a_command_that_exits_with_255_is_told_apart(controller: Controller) -> None:
    done = controller.ansible("-m", "raw", "-a", "exit 255")
    assert "UNREACHABLE" in done.output
    assert "ended with status 255 while the connection stayed up" in done.message


def test_a_command_that_writes_ssh_s_own_words_runs_once(controller: Controller) -> None:
    """core reads "write packet: Broken pipe" in what a command has written as a connection that was gone before."""
    ran = controller.directory / "ran"
    controller.variables["ansible_ssh_use_tty"] = False
    done = controller.ansible("-m", "raw", "-a", f"echo once >> {ran}; echo 'mux_client_hello_exchange: write packet: Broken pipe' >&2; exit 255")
    assert "ended with status 255 while the connection stayed up" in done.message
    assert ran.read_text() == "once\n"
    assert controller.service.counters["tunnels"] == 1


def test_scp_without_a_session_uses_a_spare_connection(controller: Controller) -> None:
    """With ``-O`` it ends with 1 then, not with ssh's 255."""
    controller.variables.update(ansible_ssh_transfer_method="scp", ansible_scp_extra_args="-O")
    controller.hosts = {f"alias{number}": {} for number in range(4)}
    (controller.directory / "source").write_text("text")
    local = {"delegate_to": "localhost", "vars": {"ansible_connection": "local"}}
    copying, others = {"when": "inventory_hostname == 'alias3'"}, {"when": "inventory_hostname != 'alias3'"}
    directory = controller.directory
    busy = f"touch {directory}/busy-{{{{ inventory_hostname }}}}; for n in $(seq 300); do test -e {directory}/copied && break; sleep 0.1; done"
    wait = f"for n in $(seq 300); do test $(ls {directory} | grep -c busy-) = 3 && exit; sleep 0.1; done; exit 1"
    done = controller.play([
        {"ansible.builtin.raw": busy, **others},
        {"ansible.builtin.raw": wait, **local, **copying},
        {"ansible.builtin.copy": {"src": f"{controller.directory}/source", "dest": f"{controller.directory}/copied"}, **copying},
    ], strategy="free")
    assert done.status == 0, done.output
    assert (controller.directory / "copied").read_text() == "text"
    assert controller.service.counters["tunnels"] == 2


def test_a_connection_that_nobody_can_share_leaves_no_process_and_no_slot(controller: Controller) -> None:
    controller.variables.update(ansible_ssh_args="-S none", ansible_eic_tunnel_budget=1, ansible_eic_tunnel_wait=2)
    for _run in range(2):
        assert "keeps no shared connection" in controller.ansible("-m", "ping").message
    left = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in left if str(controller.directory) in line and (" -N " in line or "eic_tunnel" in line)] == []


def test_a_state_directory_that_cannot_be_used_is_named(controller: Controller) -> None:
    (controller.directory / "state").mkdir()
    (controller.directory / "state" / "connections").touch()
    done = controller.ansible("-m", "ping")
    assert "FAILED" in done.output
    assert f"{controller.directory}/state/connections: " in done.message and "check ansible_eic_state_directory" in done.message


def test_a_password_and_a_login_shell_that_runs_nothing_do_no_harm(controller: Controller) -> None:
    controller.variables.update(ansible_password="canary", ansible_ssh_password_mechanism="sshpass")
    controller.environment["SHELL"] = "/bin/false"
    assert controller.ansible("-m", "ping").status == 0


def test_a_run_with_an_own_key_removes_what_a_killed_one_has_left(controller: Controller) -> None:
    key = controller.directory / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    killed = controller.directory / "tmp" / "ansible-local-999999999abcd1234"
    killed.mkdir(parents=True)
    run_directories.enter(str(killed))
    (killed / "eic-ticket-0").write_text("secret")
    controller.variables["ansible_ssh_private_key_file"] = str(key)
    assert controller.ansible("-m", "ping").status == 0
    assert not killed.exists()


def test_two_identities_do_not_share_a_connection(controller: Controller) -> None:
    assert controller.ansible("-m", "ping").status == 0
    controller.variables["ansible_eic_access_key"] = "AKIAANOTHERACCESSKEY"
    assert controller.ansible("-m", "ping").status == 0
    assert controller.service.counters["tunnels"] == 2
