"""Whatever a file or an environment has in it: a configuration comes out, or a ConfigurationError."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.config import ByteSize, ConfigurationError, Duration, Secret, load
from chassis.config.conversion import convert, converter
from chassis.config.describe import table
from chassis.config.load import catalogue_of

NAMED = {"service.name": "cqar"}


@dataclass(frozen=True)
class Inner:
    a: int = 1
    b: tuple[Duration, ...] = ()


@dataclass(frozen=True)
class Settings:
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = ()
    sizes: dict[str, ByteSize] = field(default_factory=dict)
    keys: frozenset[Secret] = frozenset()
    side: Literal["buy", "sell"] | None = None
    deep: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)


CATALOGUE = catalogue_of(Settings)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "[",
            "{",
            "[]",
            "{}",
            "[1]",
            '["a"]',
            '{"a": 1}',
            "1s",
            "1",
            "true",
            "${A}",
            "$${",
            "${",
            "null",
            "1e400",
            "-1",
        ]
    ),
)
NAMES = st.one_of(
    st.sampled_from([knob.variable("CQI") for knob in CATALOGUE.values()]),
    st.sampled_from([f"{knob.variable('CQI')}_FILE" for knob in CATALOGUE.values()]),
    st.text("ABCQI_", max_size=12).map("CQI_".__add__),
)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
TREES = st.dictionaries(
    st.one_of(st.sampled_from(sorted(CATALOGUE.classes)), TEXTS),
    st.one_of(
        PLAIN,
        st.dictionaries(
            st.one_of(st.sampled_from([key.partition(".")[2] for key in CATALOGUE]), TEXTS), PLAIN, max_size=5
        ),
    ),
    max_size=5,
)


def load_and_describe(**source):
    with contextlib.suppress(ConfigurationError):
        config = load(Settings, defaults=NAMED, **source)
        assert table(config)


@settings(deadline=None)
@given(st.dictionaries(NAMES, TEXTS, max_size=8))
def test_any_environment(environ):
    load_and_describe(environ=environ)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES)
def test_any_tree_in_a_file(tmp_path, tree):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), errors="surrogatepass")
    load_and_describe(file=file, environ={"A": "1"})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text("ab:-[]{}&*!|>'\"%@#\n \t${}?,", max_size=60).map(str.encode)))
def test_any_bytes_in_a_file(tmp_path, content):
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    load_and_describe(file=file, environ={})


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(CATALOGUE)), st.one_of(PLAIN, st.binary(), st.complex_numbers()), max_size=4)
)
def test_any_values_from_code(values):
    load_and_describe(overrides=values, environ={})


def test_a_start_without_a_file_does_without_the_heavy_libraries():
    code = (
        "import sys; from chassis.config import load; "
        "load(environ={'CQI_SERVER_GRPC_PORT': '0'}, defaults={'service.name': 'x'}); "
        "print({'cattrs', 'attr', 'yaml', 'grpc', 'difflib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_lists_of_plain_values_are_read_without_the_heavy_libraries_too():
    code = (
        "import sys; from dataclasses import dataclass; from chassis.config import Secret, load; "
        "Own = dataclass(type('Own', (), {'__annotations__': {'keys': frozenset[Secret]}, 'keys': frozenset()})); "
        "config = load(Own, defaults={'service.name': 'x'}, "
        "environ={'CQI_EVENTBUS_SERVERS': 'nats://a:4222, nats://b:4222', 'CQI_SETTINGS_KEYS': '[\"k\"]'}); "
        "print([each.reveal() for each in config.eventbus.servers], len(config.settings.keys), "
        "{'cattrs', 'attr', 'yaml'} & set(sys.modules))"
    )
    read = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert read == "['nats://a:4222', 'nats://b:4222'] 1 set()\n"


LISTS = [
    *(tuple[str, ...], list[int], set[Duration], frozenset[Secret]),
    *(list[Literal["buy", "sell"]], tuple[Path, ...], tuple[int, str]),
]
ITEMS = st.lists(st.sampled_from(["1", 2, "3s", "buy", "/a", True, None, ["1"]]), max_size=4)


@settings(deadline=None)
@given(st.sampled_from(LISTS), ITEMS | ITEMS.map(tuple) | PLAIN.filter(lambda value: not isinstance(value, str)))
def test_lists_of_plain_values_are_what_cattrs_makes_of_them(annotation, value):
    try:
        expected = converter().structure(value, annotation)
    except Exception:
        expected = None
    read, messages = convert(value, annotation, value)
    assert (type(read), read, not messages) == (type(expected), expected, expected is not None)
