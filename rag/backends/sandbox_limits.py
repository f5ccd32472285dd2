"""What a process that reads a stranger's file may do: take memory and time up to a limit, and read. Nothing else.

Why: the libraries that read documents are large and written in C. Whoever takes one over with a crafted file finds
himself in a process that cannot reach the network, start or signal another process, write a file, or read one outside
Python and the document.

Each layer is asked of the kernel and reported, since containers and other systems refuse some of them:
| layer                 | takes away                                   | where                          |
| resource limits       | memory, processor time, file sizes, handles  | everywhere (memory: not macOS) |
| network namespace     | every route, loopback too                    | Linux, where user namespaces may be made |
| system call filter    | sockets, new processes, signals, tracing     | Linux on x86-64 and arm64      |
| Landlock              | writing, and reading outside a few folders   | Linux 5.13 and later           |
"""

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_MEGABYTE = 1024 * 1024
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9
_M_ARENA_MAX = -8

# --- The system call filter: numbers on x86-64 and arm64 (None: it has no such call)
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
}
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)
_CLONE_THREAD = 0x10000
_X32 = 0x40000000  # the other way of calling an x86-64 kernel
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38

# --- Landlock: the same numbers on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _MAKE_SOCKET = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 9
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}  # by version of the interface: what can be taken away


def confine(*, seconds: int, memory: int, readable: Iterable[Path], threads: bool = False) -> dict[str, str]:
    """Takes from this process, for good, all that reading a file does not need, and says what was taken.

    `memory` is in bytes on top of what the process has mapped; `seconds` is processor time; `readable` are the files
    and folders that it may still read; with `threads` it may still start threads. Call it in a process with one thread,
    leader of a process group of its own.
    """
    report = {"memory": _limit_memory(memory)}
    _limit_resources(seconds, threads=threads)
    if sys.platform != "linux":
        return report | dict.fromkeys(("network", "processes", "files"), f"not limited on {platform.system()}")
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError):
        # Should the machine run out of memory, this process goes first, and not the one that waits for it.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Root can take the network alone where the making of user namespaces is forbidden.
    namespace = libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWNET) == 0
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    landlock = _restrict_files(libc, readable)
    seccomp = _filter_calls(libc)
    network = ["own network namespace"] * namespace + ["socket calls refused"] * seccomp
    return report | {
        "network": ", ".join(network) or "not taken away: neither user namespaces nor seccomp are permitted here",
        "processes": "new processes refused" if seccomp else "process group killed at the time limit",
        "files": "read only, and only Python and the file" if landlock else "written files limited to 1 MB",
    }


def confine_program(*, seconds: int, memory: int, readable: Iterable[Path], writable: Path) -> None:
    """Takes from this process, for good, what converting a file does not need; the program it then becomes is held too.

    It may read and run what lies in `readable`, write in the folder `writable` alone, and start processes. It reaches
    no network and no other program's socket, but may leave one of its own in /tmp, as LibreOffice insists.
    `memory` (bytes) is of all that it maps; `seconds` is processor time.
    """
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 1024 * _MEGABYTE),
        (resource.RLIMIT_NOFILE, 512),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS keeps to no limit of memory
            resource.setrlimit(kind, (most, most))
    os.nice(10)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWNET)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _restrict_files(libc, readable, writable=writable)
    known = _ARCHITECTURES.get(platform.machine())
    if known is not None:
        _install(libc, _local_sockets_only(*known))


def die_with_parent(parent: int) -> None:
    """Has the kernel, where it can, kill this process when `parent`, the process that forked it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)


def few_arenas() -> None:
    """Has the C library, where it can, keep one pool of memory for all threads: each more maps 64 MB, used or not."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _limit_memory(memory: int) -> str:
    mapped = 0
    with contextlib.suppress(OSError):
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
    except (OSError, ValueError):
        return "not limited: the system refuses"
    return "limited" if sys.platform == "linux" else "limited as far as the system keeps to it"


def _limit_resources(seconds: int, *, threads: bool) -> None:
    # The second of grace lets the signal at the soft limit tell the tale.
    limits = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (_MEGABYTE, _MEGABYTE),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
    }
    if not threads:
        # It counts threads as well. Not kept to for root, for whom the system call filter stands in.
        limits[resource.RLIMIT_NPROC] = (0, 0)
    for kind, (soft, hard) in limits.items():
        most = resource.getrlimit(kind)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))
    os.nice(10)


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path], *, writable: Path | None = None) -> bool:
    """Reading in `readable` alone; with a folder `writable`, everything in that, and running programs in the others."""
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    handled = struct.pack("=Q", _RIGHTS[min(version, 3)])
    ruleset = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(8), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path, _READ_FILE | _READ_DIR | (_EXECUTE if writable is not None else 0))
        if writable is not None:
            _allow(libc, ruleset, writable, _RIGHTS[min(version, 3)] & ~_EXECUTE)
            _allow(libc, ruleset, Path("/dev/null"), _READ_FILE | _WRITE_FILE)
            for folder in ("/tmp", "/var/tmp"):  # noqa: S108  (sockets alone)
                _allow(libc, ruleset, Path(folder), _MAKE_SOCKET)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # such as /lib64 where there is none; what is missing cannot be read
    try:
        if not path.is_dir():
            rights &= ~_READ_DIR  # has no meaning there, and the kernel would refuse the rule
        libc.syscall(_ADD_RULE, ruleset, ctypes.c_int(1), struct.pack("=Qi", rights, handle), ctypes.c_uint32(0))
    finally:
        os.close(handle)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    known = _ARCHITECTURES.get(platform.machine())
    if known is None:
        return False
    return _install(libc, _filter_program(*known, os.getpid()))


def _install(libc: ctypes.CDLL, code: bytes) -> bool:
    program = _Program(len(code) // 8, code)
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0)


def _local_sockets_only(architecture: int, column: int) -> bytes:
    """The filter for a program that talks to itself: sockets of the machine's own kind alone, and no call to others'."""
    local = 1  # AF_UNIX

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    refuse = step(_RETURN, _ERRNO | _EPERM)
    program = [step(_LOAD, 4), step(_EQUAL, architecture, 1, 0), step(_RETURN, _KILL), step(_LOAD, 0)]
    if column == 0:
        program += [step(_AT_LEAST, _X32, 0, 1), refuse]
    for name in ("connect", "io_uring_setup", "ptrace", "process_vm_writev", "bpf", "mount", "setns", "userfaultfd"):
        number = _REFUSED[name][column]
        if number is not None:
            program += [step(_EQUAL, number, 0, 1), refuse]
    socket_call = _REFUSED["socket"][column] or 0
    program += [step(_EQUAL, socket_call, 0, 3), step(_LOAD, 16), step(_EQUAL, local, 1, 0), refuse]
    return b"".join([*program, step(_RETURN, _ALLOW)])


def _filter_program(architecture: int, column: int, pid: int) -> bytes:
    """The filter as the kernel reads it: eight bytes an instruction (code, jump if true, jump if false, value).

    Every test is followed by its own answer, so that no jump goes further than the next test.
    """

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    def answer(value: int) -> bytes:
        return step(_RETURN, value)

    load_call, load_architecture, load_first = (step(_LOAD, place) for place in (0, 4, 16))
    refuse = answer(_ERRNO | _EPERM)
    program = [load_architecture, step(_EQUAL, architecture, 1, 0), answer(_KILL), load_call]
    if column == 0:
        program += [step(_AT_LEAST, _X32, 0, 1), refuse]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [step(_EQUAL, number, 0, 1), refuse]
    # "Not there" makes the C library fall back to clone, whose flags can be looked at: threads yes, processes no.
    program += [step(_EQUAL, _CLONE3[column], 0, 1), answer(_ERRNO | _ENOSYS)]
    program += [
        step(_EQUAL, _CLONE[column], 0, 4),
        load_first,
        step(_HAS_BIT, _CLONE_THREAD, 1, 0),
        refuse,
        answer(_ALLOW),
    ]
    # abort() sends its signal this way; to itself it may.
    program += [step(_EQUAL, _TGKILL[column], 0, 4), load_first, step(_EQUAL, pid, 1, 0), refuse, answer(_ALLOW)]
    program += [answer(_ALLOW)]
    return b"".join(program)
