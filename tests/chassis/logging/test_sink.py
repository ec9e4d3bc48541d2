from __future__ import annotations

import io
import os
import select
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chassis.logging.sink import open_sink


def test_a_list_gets_line_by_line() -> None:
    lines: list[str] = []
    open_sink(lines).write(["a", "b"])
    assert lines == ["a", "b"]


def test_streams_of_text_and_of_bytes_get_lines_with_their_ends() -> None:
    text, raw = io.StringIO(), io.BytesIO()
    open_sink(text).write(["é", "b"])
    open_sink(raw).write(["é", "b"])
    assert text.getvalue() == "é\nb\n"
    assert raw.getvalue() == "é\nb\n".encode()


def test_standard_streams_are_looked_up_by_name_when_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    open_sink("stdout").write(["to out"])
    open_sink("stderr").write(["to err"])
    assert (out.getvalue(), err.getvalue()) == ("to out\n", "to err\n")


@pytest.mark.parametrize("output", ["file.log", None, 3])
def test_an_output_that_there_is_not_is_refused(output: Any) -> None:
    with pytest.raises(ValueError, match="give stdout, stderr, an open stream or a list"):
        open_sink(output)


def test_a_process_without_a_standard_output_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ValueError, match="log lines cannot go to 'stdout'"):
        open_sink("stdout")


def test_what_was_printed_before_comes_before(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        stream.write("printed\n")
        open_sink(stream).write(["logged"])
    assert (tmp_path / "log").read_text() == "printed\nlogged\n"


def test_half_of_a_surrogate_pair_does_not_stop_a_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as stream:
        open_sink(stream).write(["a\ud800"])
    assert (tmp_path / "log").read_bytes() == b"a\\ud800\n"


def test_lines_go_into_a_pipe_in_whole_pieces_that_nobody_can_write_between(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(bytes(data)) or write(fd, data))
    lines = [f"{number:04d} {'x' * 95}" for number in range(100)] + ["y" * (select.PIPE_BUF + 10)] + ["end"]
    with os.fdopen(writer, "wb", buffering=0) as stream, os.fdopen(reader, "rb") as back:
        open_sink(stream).write(lines)
        stream.close()
        assert back.read().decode().splitlines() == lines
    assert all(piece.endswith(b"\n") for piece in written)
    assert [len(piece) > select.PIPE_BUF for piece in written] == [False] * (len(written) - 2) + [True, False]


def test_an_output_that_must_not_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lines = ["x" * 1000] * 500
    read: list[bytes] = []
    with os.fdopen(writer, "wb", buffering=0) as stream, os.fdopen(reader, "rb") as back:
        reading = threading.Thread(target=lambda: read.append(back.read()))
        with suppress(BlockingIOError):
            while os.write(writer, b"f" * 4095 + b"\n"):
                pass  # until it is full
        reading.start()
        open_sink(stream).write(lines)
        stream.close()
        reading.join(30)
    assert read[0].decode().splitlines()[-500:] == lines
