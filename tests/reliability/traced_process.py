# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that stops at each of its system calls that may change something, so that it can be killed exactly there.

A seccomp filter lets pass what is known to change nothing; every other call, also one that nobody has thought of, stops the process before it
is carried out (``SECCOMP_RET_TRACE``). A process that gets ``SIGKILL`` in that stop never carries the call out, and one that gets it in the stop
at the call's end has carried it out whole: so "before" and "after" are exact. Linux on x86-64 only.
"""
from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import signal
import struct
import typing

# Calls that leave every file as it is. ``openat`` and ``mmap`` are judged by their flags.
HARMLESS = {
    "read": 0, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "access": 21, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32,
    "getpid": 39, "exit": 60, "uname": 63, "fcntl": 72, "getcwd": 79, "readlink": 89, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108,
    "gettid": 186, "futex": 202, "getdents64": 217, "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "newfstatat": 262,
    "readlinkat": 267, "dup3": 292, "prlimit64": 302, "getrandom": 318, "statx": 332, "rseq": 334,
}
OPENAT, MMAP = 257, 9
CHANGING = {
    "write": 1, "ioctl": 16, "pwrite64": 18, "writev": 20, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82,
    "mkdir": 83, "rmdir": 84, "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "sync": 162, "openat": OPENAT,
    "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263, "renameat": 264, "linkat": 265, "symlinkat": 266, "fchmodat": 268,
    "utimensat": 280, "fallocate": 285, "syncfs": 306, "renameat2": 316,
}
_NAMES = {number: name for name, number in CHANGING.items()}
_CHANGING_OPEN_FLAGS = os.O_CREAT | os.O_TRUNC

_TRACEME, _CONT, _GETREGS, _SETREGS, _SYSCALL, _SETOPTIONS = 0, 7, 12, 13, 24, 0x4200
_OPTIONS = 0x1 | 0x80 | 0x100000  # TRACESYSGOOD, TRACESECCOMP, EXITKILL
_SECCOMP_STOP = signal.SIGTRAP | 7 << 8
_CALL_STOP = signal.SIGTRAP | 0x80
_REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
    "fs_base", "gs_base", "ds", "es", "fs", "gs",
)
_ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
_ANSWER_BYTES = 4 * 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulong) for name in _REGISTERS]


class Call(typing.NamedTuple):
    """A call that is about to be carried out: its name (or number, if it is none that we know) and its six arguments."""

    name: str
    arguments: tuple[int, ...]


class TracedProcess:
    """A child process that carries out ``action``. Use as a context manager: it never outlives that.

    ``answer`` is what ``action`` returned, or ``{"error": sentence}`` of its exception; None as long as there is none.
    """

    def __init__(self, action: typing.Callable[[], typing.Any]) -> None:
        if platform.machine() != "x86_64":
            raise RuntimeError("the tests that stop a process at its system calls know those of x86-64 only")
        self._answer = mmap.mmap(-1, _ANSWER_BYTES)
        self._registers = _Registers()
        self._ended = False
        self.pid = os.fork()
        if self.pid == 0:
            self._run(action)
        self._wait()
        self._trace(_SETOPTIONS, _OPTIONS)

    def __enter__(self) -> TracedProcess:
        return self

    def __exit__(self, *unused: object) -> None:
        if not self._ended:
            self.kill()
        self._answer.close()

    @property
    def answer(self) -> typing.Any:
        """What the action gave back."""
        (length,) = struct.unpack_from(">I", self._answer)
        return json.loads(self._answer[4:4 + length]) if length else None

    def next_call(self) -> Call | None:
        """Go on until the next call that may change something, which is not carried out yet. None when the process has ended by itself."""
        if self._go(_CONT) is None:
            return None
        self._trace(_GETREGS, ctypes.addressof(self._registers))
        number = self._registers.orig_rax
        return Call(_NAMES.get(number, str(number)), tuple(getattr(self._registers, name) for name in _ARGUMENTS))

    def shorten(self, count: int) -> None:
        """Let the call (a ``write``) that is about to be carried out write ``count`` bytes only."""
        self._registers.rdx = count
        self._trace(_SETREGS, ctypes.addressof(self._registers))

    def finish_call(self) -> int:
        """Carry the call out and stop at its end. Returns its result, a negative error number if it failed."""
        if self._go(_SYSCALL) is None:
            raise RuntimeError("the process ended within a call")
        self._trace(_GETREGS, ctypes.addressof(self._registers))
        return ctypes.c_long(self._registers.rax).value

    def kill(self) -> None:
        """End it with SIGKILL, where it is."""
        os.kill(self.pid, signal.SIGKILL)
        while not self._ended:
            self._wait()

    def text(self, address: int) -> str:
        """The NUL-terminated text at an address of the process: a path."""
        data = b""
        while b"\0" not in data:
            data += self.memory(address + len(data), 256 - (address + len(data)) % 256)
        return os.fsdecode(data[:data.index(b"\0")])

    def memory(self, address: int, count: int) -> bytes:
        """Bytes of the process's memory."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            return os.pread(memory.fileno(), count, address)

    def _go(self, request: int) -> int | None:
        """Resume until the stop that was asked for; signals are passed on. None at the end of the process."""
        passed_on = 0
        while True:
            self._trace(request, passed_on)
            status = self._wait()
            if self._ended:
                return None
            if status >> 8 == (_SECCOMP_STOP if request == _CONT else _CALL_STOP):
                return status
            passed_on = 0 if status >> 8 in (_SECCOMP_STOP, _CALL_STOP) else os.WSTOPSIG(status)

    def _wait(self) -> int:
        _pid, status = os.waitpid(self.pid, 0)
        self._ended = os.WIFEXITED(status) or os.WIFSIGNALED(status)
        return status

    def _trace(self, request: int, data: int) -> None:
        if _libc.ptrace(request, self.pid, None, data) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _run(self, action: typing.Callable[[], typing.Any]) -> typing.NoReturn:
        try:
            _libc.ptrace(_TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            _install_filter()
            try:
                answer = json.dumps(action()).encode()
            except Exception as error:
                answer = json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
            self._answer[4:4 + len(answer)] = answer
            self._answer[:4] = struct.pack(">I", len(answer))
        finally:
            os._exit(0)


def _install_filter() -> None:
    """Classic BPF over ``struct seccomp_data``: the call's number is at offset 0, the lower half of argument ``n`` at 16 + 8 * n."""
    load, jump_if_equal, jump_if_set, give = 0x20, 0x15, 0x45, 0x06
    allow, trace = 0x7FFF0000, 0x7FF00000
    code: list[tuple[int, int, int, int]] = [(load, 0, 0, 0)]
    for number, argument, flags in ((OPENAT, 2, _CHANGING_OPEN_FLAGS), (MMAP, 3, mmap.MAP_SHARED)):
        code += [
            (jump_if_equal, 0, 4, number),
            (load, 0, 0, 16 + 8 * argument),
            (jump_if_set, 0, 1, flags),
            (give, 0, 0, trace),
            (give, 0, 0, allow),
        ]
    for number in HARMLESS.values():
        code += [(jump_if_equal, 0, 1, number), (give, 0, 0, allow)]
    code.append((give, 0, 0, trace))
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(instructions))
    set_no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    _libc.prctl(set_no_new_privileges, 1, 0, 0, 0)
    if _libc.prctl(set_seccomp, filter_mode, ctypes.c_char_p(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the seccomp filter was refused")
