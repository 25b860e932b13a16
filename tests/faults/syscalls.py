"""Which system calls srvinit makes, and with which errnos each is made to fail.

The errnos are those that the call's own page in section 2 of the manual names for calls as srvinit
makes them, and EPERM where a seccomp profile commonly answers so. A call that cannot fail as it is
made here (getpid), or whose failure is a bug of srvinit's alone (EFAULT), is in NEVER, with no
errno: a run that makes a call which is in neither table fails, so a new one cannot be forgotten.
"""

from __future__ import annotations

FAILING: dict[str, tuple[str, ...]] = {
    "access": ("EACCES", "ENOENT"),
    "bind": ("EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "ENOMEM"),
    "chdir": ("EACCES", "EIO", "ENOENT", "ENOMEM"),
    "clone": ("EAGAIN", "ENOMEM", "EPERM"),
    "close": ("EINTR", "EIO"),
    "dup2": ("EBUSY", "EINTR", "EMFILE"),
    "dup3": ("EBUSY", "EINTR", "EMFILE"),
    "epoll_create1": ("EMFILE", "ENFILE", "ENOMEM"),
    "epoll_ctl": ("ENOMEM", "ENOSPC"),
    "epoll_wait": ("EINTR",),
    "execve": ("E2BIG", "EACCES", "EIO", "ELOOP", "ENOENT", "ENOEXEC", "ENOMEM", "ETXTBSY"),
    "fcntl": ("EINTR", "EMFILE", "EPERM"),
    "getcwd": ("EACCES", "ENOENT"),
    "getdents64": ("EACCES", "ENOENT"),
    "getsockname": ("ENOBUFS",),
    "getsockopt": ("ENOBUFS", "ENOPROTOOPT"),
    "ioctl": ("ENOTTY",),
    "kill": ("EPERM", "ESRCH"),
    "listen": ("EADDRINUSE", "EOPNOTSUPP"),
    "lseek": ("ESPIPE",),
    "memfd_create": ("EINVAL", "EMFILE", "ENFILE", "ENOMEM", "EPERM"),
    "mmap": ("EAGAIN", "EMFILE", "ENOMEM"),
    "newfstatat": ("EACCES", "ENOENT", "ENOMEM"),
    "openat": ("EACCES", "EINTR", "EMFILE", "ENFILE", "ENOENT", "ENOMEM"),
    "pipe2": ("EMFILE", "ENFILE"),
    "poll": ("EINTR", "ENOMEM"),
    "prctl": ("EINVAL", "EPERM"),
    "pread64": ("EINTR", "EIO"),
    "prlimit64": ("EPERM",),
    "read": ("EINTR", "EIO"),
    "readlink": ("EACCES", "EINVAL", "ENOENT", "ENOMEM"),
    "setpgid": ("EACCES", "EPERM", "ESRCH"),
    "setsockopt": ("EACCES", "ENOMEM", "ENOPROTOOPT"),
    "socket": ("EACCES", "EAFNOSUPPORT", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"),
    "splice": ("EAGAIN", "EINTR", "EINVAL", "ENOMEM", "EPIPE"),
    "wait4": ("ECHILD", "EINTR"),
    "waitid": ("ECHILD", "EINTR"),
    "write": ("EAGAIN", "EINTR", "EIO", "ENOSPC", "EPIPE"),
}

NEVER = frozenset(
    {
        "brk",  # malloc's: it fails by another word than strace can say, and malloc takes mmap then
        "exit_group",
        "futex",
        "getegid",
        "geteuid",
        "getgid",
        "getpgrp",
        "getpid",
        "getppid",
        "getrandom",
        "gettid",
        "getuid",
        "madvise",
        "mprotect",
        "munmap",
        "pselect6",  # the hold of inject.py
        "restart_syscall",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigtimedwait",  # EINTR where it waits, and by real stops: tests/process/test_signals.py
        "sched_yield",
        "set_robust_list",
        "setitimer",
        "sysinfo",
        "umask",
        "uname",
    }
)

# A lack that lasts, or a profile that refuses for good: such a call fails for a whole phase as well
# as once. The others pass, so that one which never passed would tell nothing.
LASTING = {
    "EACCES",
    "EADDRINUSE",
    "EAFNOSUPPORT",
    "EMFILE",
    "ENFILE",
    "ENOBUFS",
    "ENOENT",
    "ENOMEM",
    "ENOPROTOOPT",
    "ENOSPC",
    "EPERM",
}
