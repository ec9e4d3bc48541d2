"""Running PostgreSQL whoever runs the service: it refuses to be root, or somebody without a name.

The process gives its privileges up for good, so this is for supervisors only.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_NOBODY: Final = 65534

# linux/sched.h, linux/prctl.h, linux/capability.h
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1


def become_unprivileged(folder: Path, needs: Sequence[Path] = ()) -> None:
    """Be a user from here on whom PostgreSQL accepts, and who can use `folder`; most are that already.

    Root, and a number without a name such as containers have, get another number in a user namespace; their files stay
    theirs. Where such namespaces are refused, or `folder` or one of `needs` can not be reached from it, root gives the
    folder to `nobody`. Root uses a folder of someone else's as that user.

    Raises OSError where all of it is refused.
    """
    uid = os.geteuid()
    if uid != 0 and _has_name(uid):
        return
    owner = folder.stat().st_uid
    if owner == uid and sys.platform == "linux" and _can_enter_namespace(folder, *needs):
        _enter_namespace()
    elif uid == 0:
        target = owner or _unprivileged_user()
        if owner == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, target, target, follow_symlinks=False)
        become_user(target, folder.stat().st_gid)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _unprivileged_user() -> int:
    # One with a name, which initdb asks for.
    known = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    return _NOBODY if _NOBODY in known or not known else known[-1]


def _can_enter_namespace(*needs: Path) -> bool:
    child = os.fork()
    if child == 0:
        refused = 1
        try:
            _enter_namespace()
            # Refused below folders of others, whom the namespace does not know.
            for path in (*needs, Path(os.__file__), Path(__file__)):
                path.stat()
            refused = 0
        finally:
            os._exit(refused)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _enter_namespace() -> None:
    inside, uid, gid = _unprivileged_user(), os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are refused")
    Path("/proc/self/setgroups").write_bytes(b"deny")
    Path("/proc/self/uid_map").write_bytes(f"{inside} {uid} 1".encode())
    Path("/proc/self/gid_map").write_bytes(f"{inside} {gid} 1".encode())
    if os.geteuid() != inside:
        raise PermissionError("the user namespace has no such user")


def become_user(uid: int, gid: int) -> None:
    """Be that user from here on; root keeps its reach into folders where the system lets it."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc is not None:
        _keep_reach(libc)


def _keep_reach(libc: ctypes.CDLL) -> None:
    """Keep one capability of root's, as the folder or the binaries may be below folders that only root can enter.

    Where that is refused the servers are told by the system what they can not reach.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_OVERRIDE
    # Effective, permitted and inheritable, for the lower and the upper 32 capabilities.
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(ctypes.byref(header), ctypes.byref(sets)) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
