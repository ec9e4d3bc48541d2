from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chassis.component import Components
from chassis.config.secret import Secret, SecretUrl
from chassis.logging import Logs

root = logging.getLogger()
library = logging.getLogger("some.library")
Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def _root_is_left_as_it_was() -> Iterator[None]:
    before = (list(root.handlers), root.level)
    yield
    assert (list(root.handlers), root.level) == before


def test_records_of_libraries_have_the_standard_fields_too(log: Any) -> None:
    library.warning("retrying in %d s", 2, extra={"attempt": 1})
    line = log.line()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warn",
        "message": "retrying in 2 s",
        "service_name": "cqar",
        "logger": "some.library",
        "attempt": 1,
    }


def test_every_line_is_one_object_in_the_order_in_which_they_were_logged(log: Any) -> None:
    for number in range(600):
        log.logger.info("number\n%d", number)
    assert log.messages() == [f"number\n{number}" for number in range(600)]


def test_what_is_below_the_level_is_not_written_and_the_level_may_be_changed(open_log: Open) -> None:
    log = open_log(level="warn")
    library.info("not yet")
    log.logs.level = "info"
    library.info("now")
    log.logs.level = "error"
    library.warning("no more")
    assert log.messages() == ["now"]
    assert log.logs.level == logging.ERROR


def test_the_level_of_a_logger_counts_as_ever(log: Any) -> None:
    library.setLevel(logging.ERROR)
    try:
        library.warning("too quiet")
        library.error("loud")
    finally:
        library.setLevel(logging.NOTSET)
    assert log.messages() == ["loud"]


def test_two_services_in_one_process_do_not_see_each_other(open_log: Open) -> None:
    one, two = open_log(name="one"), open_log(name="two")

    def work(log: Any, name: str) -> None:
        log.logs.activate()
        library.warning("of %s", name)

    contextvars.copy_context().run(work, one, "one")
    contextvars.copy_context().run(work, two, "two")
    one.logger.info("one's own")
    two.logger.info("two's own")
    assert one.messages() == ["of one", "one's own"]
    assert two.messages() == ["of two", "two's own"]
    assert {line["service_name"] for line in two.lines()} == {"two"}


def test_records_that_belong_to_nobody_go_to_the_service_that_was_there_first(open_log: Open) -> None:
    one, two = open_log(name="one"), open_log(name="two")
    two.logs.activate()
    thread = threading.Thread(target=library.warning, args=("from a thread of a library",))
    thread.start()
    thread.join()
    assert (one.messages(), two.messages()) == (["from a thread of a library"], [])


def test_records_of_a_service_that_has_stopped_go_to_one_that_runs(open_log: Open) -> None:
    one, two = open_log(name="one"), open_log(name="two")
    two.logs.activate()
    assert two.logs.close(30)
    library.warning("late")
    two.logger.info("later")
    assert one.messages() == ["late", "later"]


def test_services_may_have_different_levels(open_log: Open) -> None:
    quiet, chatty = open_log(name="quiet", level="error"), open_log(name="chatty", level="debug")
    for log in (quiet, chatty):
        log.logger.debug("details")
        log.logger.error("trouble")
    assert (quiet.messages(), chatty.messages()) == (["trouble"], ["details", "trouble"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_root_logger_is_as_before_in_whatever_order_services_end(open_log: Open, order: tuple[int, int]) -> None:
    before = (list(root.handlers), root.level)
    logs = [open_log(name="one", level="error").logs, open_log(name="two", level="debug").logs]
    assert root.level == logging.DEBUG
    assert logs[order[0]].close(30)
    assert root.level == (root.level if order[0] == 0 else min(before[1], logging.ERROR))
    assert logs[order[1]].close(30)
    assert (list(root.handlers), root.level) == before


def test_what_the_root_logger_passed_before_it_still_passes(open_log: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = open_log(level="error")
    library.debug("for others")
    assert "for others" in caplog.text
    assert log.messages() == []


def test_a_level_that_somebody_else_has_set_meanwhile_stays(open_log: Open) -> None:
    log, before = open_log(), root.level
    root.setLevel(logging.CRITICAL)
    try:
        assert log.logs.close(30)
        assert root.level == logging.CRITICAL
    finally:
        root.setLevel(logging.WARNING)
    assert before == logging.INFO


def test_the_services_own_records_reach_other_handlers_as_well(log: Any, caplog: pytest.LogCaptureFixture) -> None:
    log.logger.warning("asset %s", "created", asset_id="a-1")
    assert "asset created" in caplog.text


def test_filters_on_the_handler_are_heard(log: Any) -> None:
    (handler,) = [handler for handler in root.handlers if type(handler).__name__ == "LogsHandler"]

    def without_noise(record: logging.LogRecord) -> bool | logging.LogRecord:
        return "noise" not in record.getMessage()

    handler.addFilter(without_noise)
    library.warning("noise")
    library.warning("signal")
    assert log.messages() == ["signal"]


def test_configuration_that_throws_handlers_away_is_survived(open_log: Open) -> None:
    log = open_log()
    ours = [handler for handler in root.handlers if type(handler).__name__ == "LogsHandler"]
    level = root.level
    for handler in ours:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    assert level == logging.INFO
    assert not log.logs.installed
    assert log.logs.close(30)


def test_secrets_stay_masked_wherever_they_are(log: Any, open_log: Open) -> None:
    people = open_log(name="people", format="console")
    marker = "c4n4ry"
    secret, url = Secret(marker), SecretUrl(f"nats://user:{marker}@nats-1:4222")
    for logger in (log.logger, people.logger):
        logger.info("with %s and %r", secret, url, secret=secret, nested={"list": [secret, url]})
        try:
            raise RuntimeError(secret)
        except RuntimeError:
            logger.exception(secret, error=secret)
    library.error("%s", secret, extra={"secret": secret, "keyed": {secret: 1}})
    written = "\n".join(log.texts() + people.texts())
    assert len(log.texts()) == 3
    assert marker not in written
    assert "***" in written


def test_a_record_that_cannot_be_formatted_still_says_what_it_has_to_say(log: Any) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no")

    # Straight to the log: other handlers do not survive such records.
    for odd in (
        {"msg": "broken %s", "args": (Broken(),)},
        {"msg": "odd", "exc_info": ("not", "an", "exception")},
        {"msg": "strange", "created": "yesterday"},
    ):
        log.logs.write_record(logging.makeLogRecord({"name": "x", "levelno": 20, **odd}))
    lines = log.lines()
    assert [line["message"] for line in lines] == ["broken %s", "odd", "strange"]
    assert "log_problem" in lines[2]


def test_constant_fields_stand_on_every_line(open_log: Open) -> None:
    log = open_log(fields={"version": "1.2", "env": "test"})
    library.warning("x")
    assert (log.line()["version"], log.line()["env"]) == ("1.2", "test")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"level": "loud"}, "there is no log level 'loud'"),
        ({"format": "xml"}, "there is no log format 'xml'; there are json and console"),
        ({"buffer_records": 0}, "at least one record must fit into the buffer, not 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Logs("cqar", **options)


def test_an_output_that_there_is_not_is_refused_when_it_is_opened() -> None:
    with pytest.raises(ValueError, match=r"log lines cannot go to 'file\.log'"):
        Logs("cqar", output="file.log").install()  # type: ignore[arg-type]


def test_installing_twice_and_closing_twice_is_once(open_log: Open) -> None:
    log = open_log()
    log.logs.install()
    library.warning("once")
    assert log.messages() == ["once"]
    assert log.logs.close(30)
    assert log.logs.close(30)
    log.logs.install()
    library.warning("again")
    assert log.messages() == ["once", "again"]


def test_without_being_installed_its_logger_is_one_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    Logs("cqar").logger.warning("said early")
    assert "said early" in caplog.text


def test_warnings_of_python_are_records_if_asked_for_and_as_before_when_it_is_over(open_log: Open) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = warnings.showwarning
        one, two = open_log(name="one", capture_warnings=True), open_log(name="two", capture_warnings=True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
        assert one.logs.close(30)
        warnings.warn("older ways", DeprecationWarning, stacklevel=1)
        assert two.logs.close(30)
        assert warnings.showwarning is before
    assert "old ways" in json.loads(one.raw[0])["message"]
    assert json.loads(one.raw[0])["logger"] == "py.warnings"
    assert "older ways" in json.loads(two.raw[0])["message"]


def test_warnings_that_the_application_captures_itself_stay_captured(open_log: Open) -> None:
    with warnings.catch_warnings():
        logging.captureWarnings(True)
        captured = warnings.showwarning
        assert open_log(capture_warnings=True).logs.close(30)
        assert warnings.showwarning is captured
        logging.captureWarnings(False)


async def test_as_a_component_it_starts_is_healthy_and_stops() -> None:
    lines: list[str] = []
    logs = Logs("cqar", output=lines)
    components = Components()
    await components.start(logs)
    assert logs.installed
    await logs.check()
    await asyncio.create_task(_warn("in a task"))
    assert await components.stop() == []
    assert not logs.installed
    await logs.check()
    assert [json.loads(line)["message"] for line in lines] == ["in a task"]


async def _warn(message: str) -> None:
    library.warning(message)


async def test_starting_makes_the_records_of_this_context_its_own(open_log: Open) -> None:
    first = open_log(name="first")
    second: list[str] = []
    logs = Logs("second", output=second)
    await logs.start()
    await asyncio.create_task(_warn("of the second"))
    await logs.stop()
    assert (len(second), first.messages()) == (1, [])


class Stuck(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.reached = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.release.wait(30)
        return len(text)


async def test_a_dead_output_holds_up_neither_calls_nor_the_stop_and_health_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chassis.logging.logs._PATIENCE", -1.0)
    stuck = Stuck()
    logs = Logs("cqar", output=stuck, buffer_records=5, flush_timeout=0.01)
    await logs.start()
    try:
        library.warning("stuck")
        assert stuck.reached.wait(30)
        for _ in range(100):
            library.warning("more")
        assert logs.dropped == 95
        with pytest.raises(RuntimeError, match="the output of log lines is blocked; 95 records were dropped"):
            await logs.check()
        await logs.stop()
        assert not logs.installed
    finally:
        stuck.release.set()


def test_the_number_of_lost_records_is_kept_over_a_restart() -> None:
    stuck = Stuck()
    logs = Logs("cqar", output=stuck, buffer_records=1, flush_timeout=0.01)
    logs.install()
    library.warning("stuck")
    assert stuck.reached.wait(30)
    library.warning("waiting")
    library.warning("lost")
    logs.close()
    assert logs.dropped == 1
    stuck.release.set()


def _run(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=50, **options
    )


def test_a_process_that_ends_by_an_exception_has_its_last_lines_written() -> None:
    ended = _run(
        """
        from chassis.logging import Logs
        logs = Logs("cqar")
        logs.install()
        for number in range(1000):
            logs.logger.info("number %d", number)
        raise SystemError("crash")
        """
    )
    assert ended.returncode == 1
    assert [json.loads(line)["message"] for line in ended.stdout.splitlines()] == [f"number {n}" for n in range(1000)]


def test_a_process_whose_output_nobody_reads_ends_all_the_same() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb") as out:
        ended = subprocess.run(
            [
                sys.executable,
                "-c",
                "from chassis.logging import Logs\n"
                "logs = Logs('cqar', flush_timeout=0.1)\n"
                "logs.install()\n"
                "for _ in range(2000): logs.logger.info('x' * 1000)\n",
            ],
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=50,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_process_whose_reader_has_gone_ends_without_a_word() -> None:
    ended = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -c \"from chassis.logging import Logs; logs = Logs('cqar'); logs.install(); "
            "[logs.logger.info('x' * 1000) for _ in range(5000)]; logs.close(); "
            'import os; os._exit(7 if logs.dropped else 8)" | true; exit ${PIPESTATUS[0]}',
        ],
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (7, b"")


def test_importing_it_imports_no_formatter_before_one_is_needed() -> None:
    ended = _run(
        """
        import sys
        from chassis.logging import Logs
        Logs("cqar")
        print({"pythonjsonlogger", "chassis.metrics", "chassis.tracing", "aiohttp"} & set(sys.modules))
        """
    )
    assert (ended.stdout.strip(), ended.stderr) == ("set()", "")


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_the_console_is_coloured_on_a_terminal_unless_unwanted(
    open_log: Open, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    terminal, file = Terminal(), io.StringIO()
    for output in (terminal, file):
        log = open_log(format="console", output=output)
        log.logger.info("x")
        assert log.logs.close(30)
    assert ("\x1b[" in terminal.getvalue()) is coloured
    assert "\x1b[" not in file.getvalue()
