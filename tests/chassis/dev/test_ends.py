"""However a service ends, its servers end with it, and the next start finds the data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chassis.dev import DevServers
from tests.chassis.dev.conftest import ORDINARY_USER, PROMISED, ROOT, StartParent, unchanged
from tests.chassis.dev.stored import TEXT, stored
from tests.process import is_alive

ALL = ("postgres", "nats", "redis")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".chassis"


def test_nothing_outlives_a_killed_service_and_the_next_start_finds_the_data(
    folder: Path, start_parent: StartParent
) -> None:
    with unchanged(folder):
        parent = start_parent(folder, *ALL)
        assert len(parent.told["pids"]) > len(ALL) * 2  # supervisors, servers, and what PostgreSQL starts
        parent.kill()
        parent.until_gone()
        with DevServers(folder, ["postgres", "nats", "redis"]) as again:
            assert [stored(server) for server in again] == [TEXT] * len(ALL)
            assert [server.port for server in again] == parent.told["ports"]


def test_the_next_start_waits_for_servers_that_are_still_stopping(folder: Path, start_parent: StartParent) -> None:
    parent = start_parent(folder, "redis")
    # It does not hear that it is to stop, and is killed when its time is over.
    os.kill(parent.told["servers"][0], signal.SIGSTOP)
    parent.kill()
    with DevServers(folder, ["redis"]) as again:
        assert stored(again.redis) == TEXT
        assert not is_alive(parent.told["servers"][0])


def test_a_forked_process_that_lives_on_does_not_keep_them(folder: Path, start_parent: StartParent) -> None:
    parent = start_parent(folder, "redis", "--fork")
    parent.kill()
    parent.until_gone()
    assert is_alive(parent.told["holder"])


def test_servers_end_with_supervisors_that_are_killed(folder: Path, start_parent: StartParent) -> None:
    parent = start_parent(folder, *ALL)
    supervisors = [pid for pid in parent.told["pids"] if _parent_of(pid) == parent.process.pid]
    assert len(supervisors) == len(ALL)
    for pid in supervisors:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + PROMISED
    while [pid for pid in parent.told["pids"] if is_alive(pid)]:
        assert time.monotonic() < until, parent.left()
        time.sleep(0.02)
    parent.kill()
    with DevServers(folder, ["postgres", "nats", "redis"]) as again:
        assert [stored(server) for server in again] == [TEXT] * len(ALL)


def test_an_ordinary_user_can_run_them_and_root_goes_on_with_that_users_data(
    tmp_path: Path, start_parent: StartParent
) -> None:
    folder = tmp_path / ".chassis"
    user: tuple[str, ...] = ()
    if os.geteuid() == 0:
        os.chown(tmp_path, ORDINARY_USER, ORDINARY_USER)
        user = ("--user", str(ORDINARY_USER))
    with unchanged(folder):
        parent = start_parent(folder, *ALL, *user)
        uid = parent.told["uid"]
        assert uid != 0
        assert {_user_of(pid) for pid in parent.told["pids"]} == {uid}
        assert {path.lstat().st_uid for path in (folder, *folder.rglob("*"))} == {uid}
        parent.kill()
        parent.until_gone()
        with DevServers(folder, ["postgres"]) as again:
            assert stored(again.postgres) == TEXT
            assert _user_of(again.postgres.pid) == uid


def test_where_namespaces_are_refused_root_gives_the_data_to_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    (folder / "data").mkdir(parents=True)
    # Something that can not be reached from a namespace is as good as none.
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import os; from pathlib import Path; from chassis.dev.privileges import become_unprivileged\n"
        "folder = Path(sys.argv[2])\n"
        "become_unprivileged(folder, needs=[folder / 'missing'])\n"
        "(folder / 'data' / 'made').touch()\n"
        "print(os.geteuid(), *{path.stat().st_uid for path in (folder, *folder.rglob('*'))})"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(ROOT), str(folder)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[1:] == said[:1] != ["0"]
    if os.geteuid() == 0:
        assert tmp_path.stat().st_uid == 0
        assert folder.stat().st_uid not in (0, ORDINARY_USER)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid
