"""Something that each server is to keep, stored and read by its own protocol."""

from __future__ import annotations

import asyncio
import socket

import nats
import redis

from chassis.dev import DevError, NatsServer, PostgresServer, RedisServer, Server

TEXT = "what was stored"


def store(server: Server) -> None:
    if isinstance(server, PostgresServer):
        server.create_database("kept")
        server.sql("CREATE TABLE kept (text text); INSERT INTO kept VALUES (:'text')", database="kept", text=TEXT)
    elif isinstance(server, RedisServer):
        with _redis(server) as client:
            client.set("kept", TEXT)
    elif isinstance(server, NatsServer):
        asyncio.run(_publish(server))


def stored(server: Server) -> str:
    if isinstance(server, PostgresServer):
        return server.sql("SELECT text FROM kept", database="kept")
    if isinstance(server, RedisServer):
        with _redis(server) as client:
            return str(client.get("kept"))
    assert isinstance(server, NatsServer)
    return asyncio.run(_read(server))


def answer_to_stranger(server: Server) -> str:
    """What it says to somebody with a wrong password, or with none."""
    if isinstance(server, PostgresServer):
        (server.folder / "password").write_text("guessed")
        try:
            return server.sql("SELECT 1")
        except DevError as error:
            return str(error)
    said = b"PING\r\n" if isinstance(server, RedisServer) else b'CONNECT {"user":"dev","pass":"guessed"}\r\nPING\r\n'
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read().decode()


def _redis(server: RedisServer) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, password=server.password, decode_responses=True)


async def _publish(server: NatsServer) -> None:
    client = await nats.connect(server.url.reveal())
    stream = client.jetstream()
    await stream.add_stream(name="kept", subjects=["kept"])
    await stream.publish("kept", TEXT.encode())
    await client.close()


async def _read(server: NatsServer) -> str:
    client = await nats.connect(server.url.reveal())
    message = await client.jetstream().get_msg("kept", 1)
    await client.close()
    return bytes(message.data or b"").decode()
