from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from chassis.logging import Logger
from chassis.logging.line import FIELDS


class Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    handler = Keeper()
    below = logging.getLogger("tests.logger")
    below.addHandler(handler)
    below.setLevel(logging.DEBUG)
    below.propagate = False
    yield handler
    below.removeHandler(handler)
    below.setLevel(logging.NOTSET)
    below.propagate = True


@pytest.fixture
def log(keeper: Keeper) -> Logger:
    return Logger(logging.getLogger("tests.logger"))


def test_each_method_logs_at_its_level(log: Logger, keeper: Keeper) -> None:
    for method in (log.debug, log.info, log.warn, log.warning, log.error, log.exception, log.fatal, log.critical):
        method("x")
    assert [record.levelno for record in keeper.records] == [10, 20, 30, 30, 40, 40, 50, 50]


def test_a_level_may_be_given_by_name_or_number(log: Logger, keeper: Keeper) -> None:
    log.log("warn", "x")
    log.log(15, "x")
    assert [record.levelno for record in keeper.records] == [30, 15]
    with pytest.raises(ValueError, match="no log level"):
        log.log("loud", "x")


def test_keywords_are_fields_under_any_name(log: Logger, keeper: Keeper) -> None:
    log.bind(venue="binance", args=1).info("x %s", "y", name="n", message="m", self="s", msg="g", level=1)
    (record,) = keeper.records
    assert record.getMessage() == "x y"
    assert getattr(record, FIELDS) == {
        "venue": "binance", "args": 1, "name": "n", "message": "m", "self": "s", "msg": "g", "level": 1,
    }  # fmt: skip


def test_a_bound_logger_leaves_the_one_it_came_from_alone(log: Logger, keeper: Keeper) -> None:
    log.bind(a=1).bind(b=2, a=3).info("bound")
    log.info("free")
    assert [getattr(record, FIELDS) for record in keeper.records] == [{"a": 3, "b": 2}, {}]


def test_extra_means_fields_and_cannot_fail(log: Logger, keeper: Keeper) -> None:
    log.info("x", extra={"message": 1, "a": 2}, a=3)
    assert getattr(keeper.records[0], FIELDS) == {"message": 1, "a": 3}


def test_the_callers_line_is_the_one_that_is_recorded(log: Logger, keeper: Keeper) -> None:
    log.info("x")
    log.log("info", "x")
    log.exception("x")
    assert {record.funcName for record in keeper.records} == {"test_the_callers_line_is_the_one_that_is_recorded"}

    def helper() -> None:
        log.info("y", stacklevel=2)

    helper()
    assert keeper.records[-1].funcName == "test_the_callers_line_is_the_one_that_is_recorded"


def test_exceptions_and_stacks_are_taken_as_by_the_standard_library(log: Logger, keeper: Keeper) -> None:
    error = KeyError("id")
    log.info("x", exc_info=error, stack_info=True)
    assert keeper.records[0].exc_info == (KeyError, error, None)
    assert keeper.records[0].stack_info
    try:
        raise error
    except KeyError:
        log.exception("x")
    assert keeper.records[1].exc_info
    assert keeper.records[1].exc_info[1] is error
    log.exception("x", exc_info=False)
    assert not keeper.records[2].exc_info


def test_nothing_is_made_of_what_is_not_logged(log: Logger, keeper: Keeper) -> None:
    class Expensive:
        def __str__(self) -> str:
            raise AssertionError("read, although nobody wants it")

    logging.getLogger("tests.logger").setLevel(60)
    for method in (log.debug, log.info, log.warn, log.error, log.exception, log.fatal):
        method("x %s", Expensive(), field=Expensive())
    log.log("info", "x %s", Expensive())
    assert keeper.records == []
    assert not log.is_enabled_for("fatal")


def test_it_has_the_name_of_the_logger_below(log: Logger) -> None:
    assert log.name == "tests.logger"
    assert log.is_enabled_for("debug")
