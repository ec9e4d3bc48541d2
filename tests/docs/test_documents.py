"""Every command and every code block of the documents is executed, and what they show is what is seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chassis import errors
from chassis.config import SecretUrl
from chassis.config.describe import written
from chassis.config.foreign import reason_against
from chassis.config.knobs import REQUIRED
from chassis.config.load import catalogue_of
from chassis.config.sections import SECTIONS
from chassis.limits import TokenBucket
from chassis.metrics import Metrics
from interceptors import RateLimitInterceptor, Rule, ValidationInterceptor, behind_auth, default_stack
from tests.docs.reader import ROOT, Reader

DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))
PAGES = [*DOCUMENTS, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(text: str) -> Iterator[list[str]]:
    """The cells of all rows of all tables."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_reader_who_does_what_the_document_says_sees_what_it_says(name: str, tmp_path: Path) -> None:
    Reader(page(name), tmp_path, name).read()


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page(name)):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), target


@pytest.mark.parametrize("name", PAGES)
def test_keys_of_the_configuration_are_called_by_names_that_they_have(name: str) -> None:
    known = {*catalogue_of(), *SECTIONS}
    words = re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_]+)`", page(name))
    assert [word for word in words if word not in known and reason_against(word) is None] == []


def test_the_table_of_errors_in_the_guide_is_that_of_the_code() -> None:
    verdicts = {
        errors.Verdict.ACK: "done",
        errors.Verdict.NAK: "again, at once",
        errors.Verdict.RETRY: "again after a wait, then dead letter",
        errors.Verdict.DEAD_LETTER: "dead letter",
    }
    levels = {20: "info", 30: "warn", 40: "error"}
    told = {row[0]: row[1:] for row in rows(page("docs/guide.md")) if len(row) == 6}
    chassis_own = {errors.Undecodable: "an event or a request that cannot be decoded", errors.Crash: "anything else"}
    for cls in (*errors.TABLE, *chassis_own):
        means = cls.meaning
        assert told[chassis_own.get(cls, f"`{cls.__name__}`")] == [
            means.code.name,
            str(means.http_status),
            verdicts[means.verdict],
            levels[means.log_level],
            "yes" if means.retryable else "no",
        ]


def test_the_interceptors_in_the_guide_are_those_of_the_code_in_their_order() -> None:
    class Nothing:
        """Stands for what the interceptors work with; they are made, and not used."""

        def __getattr__(self, name: str) -> Any:
            return self

    thing: Any = Nothing()
    stack = behind_auth(
        default_stack(tracing=thing, metrics=Metrics("docs"), logs=thing, authenticator=thing),
        RateLimitInterceptor(Rule(TokenBucket(rate=1))),
        ValidationInterceptor(),
    )
    told = [row[0].strip("`") for row in rows(page("docs/guide.md")) if row[0].endswith("Interceptor`")]
    assert told == [type(each).__name__ for each in stack]


def test_targets_that_contributors_are_told_of_exist() -> None:
    targets = re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE)
    told = re.findall(r"`(?:[A-Z]+=\S+ )?make (\w+)`", page("CONTRIBUTING.md"))
    assert told
    assert set(told) <= set(targets)


def test_the_defaults_in_the_handbook_are_those_of_the_code() -> None:
    catalogue = catalogue_of()
    told = {row[0].strip("`"): row[1] for row in rows(page("docs/operations.md")) if row[0].strip("`") in catalogue}
    assert len(told) > 10
    for key, default in told.items():
        knob = catalogue[key]
        assert knob.default is not REQUIRED
        shown = '""' if isinstance(knob.default, SecretUrl) else written(knob.default, knob.annotation)
        assert default.strip("`") == shown, key


def test_readers_are_told_of_no_document_that_is_not_tried() -> None:
    tried = {ROOT / name for name in PAGES}
    outside = {"proto", "tests", "examples", "bench-results", "v3"}
    found = {
        path
        for path in ROOT.rglob("*.md")
        if not any(part.startswith(".") or part in outside for part in path.relative_to(ROOT).parts)
    }
    assert found <= tried


def test_files_that_the_architecture_names_are_there() -> None:
    named = {
        name for name in re.findall(r"[\w./]+\.(?:py|toml|md)\b", page("docs/architecture.md")) if "NAME" not in name
    }
    assert len(named) > 40
    places = (ROOT, ROOT / "chassis", ROOT / "docs")
    assert [name for name in sorted(named) if not any((place / name).is_file() for place in places)] == []
