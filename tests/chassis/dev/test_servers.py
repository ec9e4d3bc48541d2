"""The servers themselves: what they keep, where they listen, and what is told when one can not be had."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chassis.dev import DevError, DevServers, NatsServer, PostgresServer, RedisServer, Server, server, servers
from chassis.dev.ports import Reservation
from chassis.dev.processes import descendants, may_listen
from chassis.dev.supervisor import Order
from chassis.errors import Permanent
from tests.chassis.dev.conftest import listens, unchanged
from tests.chassis.dev.stored import TEXT, answer_to_stranger, store, stored
from tests.process import is_alive

KINDS = [PostgresServer, NatsServer, RedisServer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".chassis"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("durable", [True, False])
def test_what_was_stored_is_there_after_a_stop_and_after_a_kill(
    folder: Path, kind: type[Server], durable: bool
) -> None:
    with unchanged(folder):
        one = kind(folder, durable=durable)
        with one:
            store(one)
            first = [one.pid, *descendants(one.pid)]
            port = one.port
            one.kill()
            assert not one.is_running
            assert not listens(port)
            one.start()
            assert stored(one) == TEXT
        assert not listens(port)
        assert [pid for pid in first if is_alive(pid)] == []
        with kind(folder, durable=durable) as again:
            assert (stored(again), again.port) == (TEXT, port)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_is_for_this_machine_and_for_those_who_know_its_password(folder: Path, kind: type[Server]) -> None:
    with kind(folder) as one:
        assert not listens(one.port, "127.0.0.2")
        assert re.search("NOAUTH|Authorization Violation|password authentication failed", answer_to_stranger(one))


@pytest.mark.parametrize("kind", KINDS)
def test_no_one_else_can_read_its_folder(folder: Path, kind: type[Server]) -> None:
    with kind(folder) as one:
        assert one.folder.stat().st_mode & 0o777 == 0o700
        told = [path for path in one.folder.iterdir() if path.is_file() and one.password in path.read_text()]
        assert {path.stat().st_mode & 0o777 for path in told} == {0o600}
    assert (folder / ".gitignore").read_text() == "*\n"


def test_a_server_says_what_runs(folder: Path) -> None:
    with DevServers(folder, ["redis", "nats"]) as both:
        versions = [one.version.split()[0] for one in both]
    assert versions == ["NATS", "Redis"] or versions == ["NATS", "Valkey"]


def test_a_port_that_somebody_else_has_by_now_is_left_to_them(folder: Path) -> None:
    one = RedisServer(folder)
    remembered = one.port
    with socket.create_server(("127.0.0.1", remembered)), one:
        assert one.port != remembered
        store(one)
    taken = one.port
    with RedisServer(folder) as again:
        assert (again.port, stored(again)) == (taken, TEXT)


def test_a_reserved_port_is_given_to_nobody_else_and_the_server_can_have_it() -> None:
    reservation = Reservation()
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind(("127.0.0.1", reservation.port))
    with socket.create_server(("127.0.0.1", reservation.port)):
        assert listens(reservation.port)
    reservation.close()


def test_a_second_process_is_told_who_has_the_servers(folder: Path) -> None:
    with DevServers(folder, ["redis"]), pytest.raises(DevError, match=rf"in use by process {os.getpid()}\b"):
        DevServers(folder, ["nats"]).open()
    with DevServers(folder, ["nats"]) as again:
        assert again.nats.is_running


class Thief:
    """Somebody else who is quicker: listens on a port that was chosen for a server, and answers as that would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[Server], times: int) -> None:
        self.stolen: list[int] = []
        self._times = times
        self._said = b""
        self._listening: list[socket.socket] = []
        self._order = kind._order
        monkeypatch.setattr(kind, "_order", lambda server, binary: self._steal_from(server, binary))

    def _steal_from(self, server: Server, binary: Path) -> Order:
        if len(self.stolen) < self._times:
            self.stolen.append(server.port)
            self._said = server._probe()[1].encode("latin-1")
            self._listening.append(socket.create_server((server.host, server.port)))
            threading.Thread(target=self._answer, args=(self._listening[-1],), daemon=True).start()
        return self._order(server, binary)

    def _answer(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self._said)

    def close(self) -> None:
        for listening in self._listening:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()


Steal = Callable[[type[Server], int], Thief]


@pytest.fixture
def steal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steal]:
    thieves: list[Thief] = []

    def steal(kind: type[Server], times: int) -> Thief:
        thieves.append(Thief(monkeypatch, kind, times))
        return thieves[-1]

    yield steal
    for thief in thieves:
        thief.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_is_taken_between_choosing_it_and_listening_costs_only_another_port(
    folder: Path, kind: type[Server], steal: Steal
) -> None:
    thief = steal(kind, 2)
    with kind(folder) as one:
        assert len({*thief.stolen, one.port}) == 3
        assert is_alive(one.pid)
        store(one)
    with kind(folder) as again:
        assert (again.port, stored(again)) == (one.port, TEXT)


def test_somebody_who_is_always_quicker_is_told_of(folder: Path, steal: Steal) -> None:
    thief = steal(RedisServer, 100)
    with pytest.raises(DevError, match=r"(?s)redis did not start: .*redis\.log:.*in use"):
        RedisServer(folder).start()
    assert len(set(thief.stolen)) == 5


@pytest.mark.parametrize(
    "table", [None, "", "  sl  local_address\n", "  sl\n   0: 0100007F:0001 00000000:0000 01 0:0 0:0 0 0 0 7 1\n"]
)
def test_where_the_system_does_not_tell_who_listens_a_server_that_answers_is_the_one(
    table: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_text(path: Path, **options: str) -> str:
        assert path == Path("/proc/net/tcp")
        if table is None:
            raise FileNotFoundError(path)
        return table

    monkeypatch.setattr(Path, "read_text", read_text)
    assert may_listen(os.getpid(), 1)


def test_it_is_known_who_listens() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert may_listen(os.getpid(), port)
        assert not may_listen(child.pid, port)
        child.communicate(b"\n")
        assert not may_listen(child.pid, port)  # no longer there


def test_a_server_that_was_not_wanted_is_not_there(folder: Path) -> None:
    with pytest.raises(LookupError, match="postgres was not wanted: these servers are redis"):
        _ = DevServers(folder, ["redis"]).postgres
    with pytest.raises(ValueError, match="no server 'mysql', but postgres, nats, redis"):
        DevServers(folder, ["mysql"])  # type: ignore[list-item]


def test_none_at_all_leave_no_trace(folder: Path) -> None:
    with DevServers(folder, []) as none:
        assert len(none) == 0
    assert not folder.exists()


def test_what_keeps_a_server_from_starting_is_told_with_the_end_of_its_log(folder: Path) -> None:
    with PostgresServer(folder) as one:
        port = one.port
    (folder / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(DevError, match=r"(?s)postgres did not start: .*postgres\.log:.*by PostgreSQL version 17"):
        DevServers(folder, ["redis", "postgres"]).open()
    assert not listens(port)
    assert [path for path in Path("/proc").glob("[0-9]*/cwd") if _is_in(path, folder)] == []


def _is_in(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False


def test_a_number_that_a_crash_left_behind_and_somebody_else_has_is_no_obstacle(folder: Path) -> None:
    with PostgresServer(folder) as one:
        left = one.folder / "data" / "postmaster.pid"
        content = left.read_text().splitlines()
    left.write_text("\n".join([str(os.getpid()), *content[1:]]))
    with PostgresServer(folder) as again:
        assert again.sql("SELECT 1") == "1"


def test_a_half_made_folder_of_data_is_made_anew(folder: Path) -> None:
    (folder / "postgres" / "data.new" / "base").mkdir(parents=True)
    with PostgresServer(folder) as one:
        assert one.sql("SELECT datcollate, datlocprovider, datlocale FROM pg_database WHERE datname = 'postgres'") == (
            "C|b|C.UTF-8"
        )


def test_databases_are_created_once_and_with_any_name(folder: Path) -> None:
    with PostgresServer(folder, durable=False) as one:
        for name in ("""a "quoted" 'name'""", "plain"):
            one.create_database(name)
            one.create_database(name)
            assert one.sql("SELECT current_database()", database=name) == name
            one.drop_database(name)
            one.drop_database(name)
        with pytest.raises(DevError, match=r'postgres refused: .*database "plain" does not exist'):
            one.sql("SELECT 1", database="plain")


def test_a_server_that_cannot_be_stopped_politely_is_killed(folder: Path) -> None:
    with RedisServer(folder) as one:
        pid = one.pid
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


def test_a_folder_that_is_not_ours_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    for start in (DevServers(folder, ["redis"]).open, RedisServer(folder).start):
        with pytest.raises(DevError, match="belongs to another user"):
            start()


async def test_as_a_component_they_are_told_in_the_log_and_watched(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    caplog.set_level(logging.INFO, "chassis.dev")
    component = DevServers(Path(".chassis"), ["redis"])
    await component.start()
    redis = component.redis
    assert caplog.messages == [f"{redis.version} on 127.0.0.1:{redis.port}, data in .chassis/redis"]
    await component.check()
    redis.kill()
    with pytest.raises(Permanent, match=r"redis ended, see \.chassis/redis/redis\.log"):
        await component.check()
    await component.stop()


async def test_a_start_that_is_cancelled_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(descendants(os.getpid()))
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    begin_start = PostgresServer.begin_start

    def begin(one: PostgresServer) -> None:
        begin_start(one)
        loop.call_soon_threadsafe(begun.set)

    monkeypatch.setattr(PostgresServer, "begin_start", begin)
    starting = asyncio.ensure_future(DevServers(folder, ["postgres"]).start())
    await begun.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert set(descendants(os.getpid())) <= before
    async with DevServers(folder, ["postgres"]) as again:
        assert again.postgres.is_running


async def test_accounts_of_nats_are_added_while_it_runs_and_kept_over_a_restart(folder: Path) -> None:
    import nats

    with NatsServer(folder) as one:
        one.add_accounts("one", "two")
        first, second = [await nats.connect(one.url_of(name).reveal()) for name in ("one", "two")]
        await first.jetstream().add_stream(name="events", subjects=["same"])
        await second.jetstream().add_stream(name="events", subjects=["same"])
        await first.jetstream().publish("same", b"for one")
        assert [(await each.jetstream().stream_info("events")).state.messages for each in (first, second)] == [1, 0]
        await first.close()
        await second.close()
        one.kill()
        one.start()
        again = await nats.connect(one.url_of("one").reveal())
        assert (await again.jetstream().stream_info("events")).state.messages == 1
        await again.close()


def test_servers_know_nothing_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("API_KEY", "secret")
    with PostgresServer(folder) as one:
        known = Path(f"/proc/{one.pid}/environ").read_bytes()
        assert one.sql("SELECT 1") == "1"
    assert b"secret" not in known


def test_modules_are_where_the_package_says() -> None:
    assert (server.Server, servers.DevServers) == (Server, DevServers)
