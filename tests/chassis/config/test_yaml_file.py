from __future__ import annotations

from dataclasses import dataclass

import pytest

from chassis.config import ConfigurationError, Secret, load

NAMED = {"service.name": "cqar"}


@dataclass(frozen=True)
class Settings:
    word: str = ""
    number: int = 1
    words: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    limit: int | None = 5


@pytest.fixture
def problems(tmp_path):
    def lines(text, environ=None, settings=Settings):
        file = tmp_path / "config.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ConfigurationError) as caught:
            load(settings, file=file, environ=environ or {}, defaults=NAMED)
        return [str(problem).replace(str(file), "FILE") for problem in caught.value.problems]

    return lines


@pytest.fixture
def loaded(tmp_path):
    def config(text, environ=None):
        file = tmp_path / "config.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(Settings, file=file, environ=environ or {}, defaults=NAMED)

    return config


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "null\n", "server:\n", "server: {}\n", "server: ~\n", "\ufeff"]
)
def test_an_empty_file_or_section_gives_the_defaults(loaded, text):
    assert loaded(text).server.grpc_port == 9000


@pytest.mark.parametrize("word", ["no", "1.10", "0123", "2024-01-01", "1:30", "on", "0x10", "=", "1_000"])
def test_text_stays_as_it_is_written_whatever_it_looks_like(loaded, word):
    assert loaded(f"settings:\n  word: {word}\n").settings.word == word


def test_quotes_and_blocks_are_yaml_s(loaded):
    assert loaded('settings: {word: "null"}').settings.word == "null"
    assert loaded("settings:\n  word: |\n    a\n    b\n").settings.word == "a\nb\n"
    assert loaded('settings: {number: "7"}').settings.number == 7


def test_nothing_is_a_value_only_where_it_may_be(loaded, problems):
    assert loaded("settings:\n  limit:\n").settings.limit is None
    assert problems("settings:\n  number:\n") == ["settings.number (FILE:2): a whole number is expected, got nothing"]


def test_a_text_for_a_list_is_read_as_in_the_environment(loaded):
    config = loaded("settings:\n  words: ${WORDS}\n", {"WORDS": "a, b"})
    assert config.settings.words == ("a", "b")


def test_variables_are_expanded(loaded):
    text = "settings:\n  word: ${A}-${B:-b}-${C:-c:-d}-$D-$${A}-${EMPTY:-e}${SET}\n  number: ${N}\n"
    config = loaded(text, {"A": "1", "EMPTY": "", "SET": "", "N": "7"})
    assert config.settings.word == "1-b-c:-d-$D-${A}-e"
    assert config.settings.number == 7


def test_what_comes_in_from_a_variable_is_not_expanded_again(loaded):
    assert loaded("settings: {word: '${A}'}", {"A": "${B}", "B": "no"}).settings.word == "${B}"


def test_a_variable_that_is_not_set_is_told_with_its_name_and_key(problems):
    assert problems("settings:\n  words: [a, '${NOWHERE}']\n") == [
        "settings.words (FILE:2): a value for ${NOWHERE} is expected: that environment variable is not set"
    ]


@pytest.mark.parametrize("text", ["${}", "${A", "${A:?no}", "${A:-${B}}", "${9}", "${A B}"])
def test_what_only_looks_like_a_reference_is_refused(problems, text):
    (line,) = problems(f"settings:\n  word: '{text}'\n", {"A": "a", "B": "b"})
    assert line.startswith("settings.word (FILE:2): ${NAME} or ${NAME:-default} is expected")


def test_messages_show_the_reference_and_not_what_came_in_for_it(problems):
    assert problems("settings:\n  number: ${PASSWORD}\n", {"PASSWORD": "hunter2"}) == [
        "settings.number (FILE:2): a whole number is expected, got '${PASSWORD}'"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("serer: {}", "serer (FILE:1): unknown key; server is the nearest one"),
        ("server:\n  grpc_prot: 1", "server.grpc_prot (FILE:2): unknown key; server.grpc_port is the nearest one"),
        ("server:\n  level: x", "server.level (FILE:2): unknown key; log.level is the nearest one"),
        ("Server: {}", "Server (FILE:1): unknown key; server is the nearest one"),
        ("server: {GRPC_PORT: 1}", "server.GRPC_PORT (FILE:1): unknown key; server.grpc_port is the nearest one"),
        ("bus: {}", "bus (FILE:1): unknown key; eventbus is the nearest one"),
        ("redis: {}", "redis (FILE:1): unknown key; cache is the nearest one"),
        ("zzzzzz: 1", "zzzzzz (FILE:1): unknown key"),
        ("<<: {}", "<< (FILE:1): merge keys are not read: write the options out"),
        ('"a\\nb": 1', "'a\\nb' (FILE:1): unknown key"),
        ("'a\tb': 1", "'a\\tb' (FILE:1): unknown key"),
    ],
)
def test_an_unknown_key_names_the_nearest_one(problems, text, line):
    assert problems(text) == [line]


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("metrics: {port: 9090}", "metrics.port", "server.http_port"),
        ("server: {read_timeout: 30s}", "server.read_timeout", "deadline"),
        ("server: {write_timeout: 30s}", "server.write_timeout", "deadline"),
        ("server: {max_header_bytes: 1}", "server.max_header_bytes", "server.max_metadata_bytes"),
        ("registry: {backend: redis}", "registry", "not part of this version"),
        ("runner: {}", "runner", "restart policy"),
        ("http_client: {timeout: 3s}", "http_client", "settings"),
        ("websocket: {}", "websocket", "settings"),
        ("cache_ttl: {}", "cache_ttl", "settings"),
        ("bootstrap: {}", "bootstrap", "settings"),
    ],
)
def test_a_key_of_the_go_sibling_without_meaning_here_is_refused_with_the_reason(problems, text, key, reason):
    (line,) = problems(text)
    assert line.startswith(f"{key} (FILE:1): not used here: ")
    assert reason in line


def test_settings_of_a_service_that_has_none_are_refused(problems):
    assert problems("settings: {a: 1}", settings=None) == ["settings (FILE:1): this service has no settings of its own"]


def test_a_key_that_comes_twice_is_refused(problems):
    assert problems("log: {level: info}\nserver:\n  host: a\n  host: b\nlog: {}\n") == [
        "server.host (FILE:4): each key is expected once: it is already on line 3",
        "log (FILE:5): each key is expected once: it is already on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a", "configuration file (FILE:1): a mapping of sections is expected"),
        ("hello", "configuration file (FILE:1): a mapping of sections is expected"),
        ("server: 9000", "server (FILE:1): a mapping of options such as host is expected"),
        ("server: [a]", "server (FILE:1): a mapping of options such as host is expected"),
        ("[a]: b", "configuration file (FILE:1): keys that are text are expected"),
        ("settings: {word: [a]}", "settings.word (FILE:1): a text is expected, got a list"),
        ("settings: {number: {a: b}}", "settings.number (FILE:1): a whole number is expected, got a mapping"),
        ("settings: {words: {a: b}}", "settings.words (FILE:1): a list is expected, got a mapping"),
        (
            "settings: {word: {a: 1, a: 2}}",
            "settings.word (FILE:1): a mapping that has each name once, as text, is expected",
        ),
        ("settings: {names: &a [*a]}", "settings.names (FILE:1): a value that does not hold itself is expected"),
    ],
)
def test_a_wrong_shape_is_told(problems, text, line):
    assert problems(text) == [line]


@pytest.mark.parametrize(
    "text",
    ["a: b: c", "a: [", "a: *b", "a: %x", "a: 'x", "a: !x", "\ta: b", "a: b\n---\nc: d", "a: @x", "{", "a:\n b\n  - c"],
)
def test_what_is_no_yaml_is_told_with_its_line(problems, text):
    (line,) = problems(text)
    assert "(FILE:" in line
    assert "expected" in line or "unknown key" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: \xff", "(FILE:1): text in UTF-8 is expected"),
        (b"a: b\nc: \x00", "(FILE:2): text without control characters is expected"),
        (b"[" * 20_000, "YAML with fewer levels is expected"),
        (b"#" * (1024 * 1024 + 1), "at most 1048576 bytes are read"),
    ],
)
def test_what_is_no_text_is_told(problems, text, message):
    (line,) = problems(text)
    assert line.startswith("configuration file (FILE")
    assert message in line


@pytest.mark.parametrize("value", ["!!python/object/apply:os.getcwd []", "!hunter2 x", "!!set {a}", "[!hunter2 x]"])
def test_tags_are_not_read(problems, value):
    (line,) = problems(f"settings:\n  words: {value}\n")
    assert "YAML tags are not read" in line
    assert "hunter2" not in line


def test_anchors_are_read_and_many_names_for_one_list_cost_nothing(problems, loaded):
    assert loaded("settings:\n  word: &a x\n  words: [*a, *a]\n").settings.words == ("x", "x")
    bomb = "settings:\n  word: &a0 [x]\n  words:\n" + "".join(
        f"  - &a{level + 1} [{', '.join([f'*a{level}'] * 10)}]\n" for level in range(40)
    )
    assert len(problems(bomb)) > 1


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="it cannot be read: No such file"):
        load(file=tmp_path / "nope.yaml", environ={}, defaults=NAMED)


def test_secrets_in_the_file_are_secret(loaded):
    config = loaded("database:\n  password: ${P}\nauth:\n  api_keys: {cqmd: [a, b], other: c}\n", {"P": "hunter2"})
    assert config.database.password == Secret("hunter2")
    assert [key.reveal() for key in config.auth.api_keys] == ["cqmd:a", "cqmd:b", "other:c"]
