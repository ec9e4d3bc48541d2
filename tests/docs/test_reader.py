"""A document that is wrong is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.config import ConfigurationError
from tests.docs.document import blocks, pattern, steps
from tests.docs.reader import Reader

SERVICE = """
<!-- file: quiet.py -->
```python
from chassis import ServiceChassis


class Quiet(ServiceChassis):
    name = "quiet"
```

<!-- file: config.yaml -->
```yaml
server: {grpc_port: 9000, http_port: 8080}
```

```console
$ chassis run quiet:Quiet
{"timestamp":"…","message":"service started",…,"grpc_address":"127.0.0.1:9000",…}
```
"""


def console(*lines: str) -> str:
    return "\n".join(["```console", *lines, "```", ""])


def test_a_service_is_started_called_and_stopped(tmp_path: Path) -> None:
    called = console(
        "$ curl -s http://127.0.0.1:8080/health/live", '{"status":"alive"}', "^C", '…"message":"service stopped"…'
    )
    Reader(SERVICE + called, tmp_path).read()


def test_a_port_that_the_document_speaks_of_is_nobody_elses_from_the_first_line_on(tmp_path: Path) -> None:
    steal = """
```python
import socket

thief = socket.socket()
try:
    thief.bind(("127.0.0.1", 8080))
    thief.listen()
except OSError:
    thief.close()
```
"""
    Reader(steal + SERVICE, tmp_path).read()


def test_commands_share_a_shell_as_they_do_for_a_person(tmp_path: Path) -> None:
    Reader(console("$ mkdir inner", "$ cd inner", "$ X=1", "$ echo $X; pwd", "1", "…/inner"), tmp_path).read()


def test_a_status_that_is_asked_for_may_be_any_and_is_compared(tmp_path: Path) -> None:
    Reader(console("$ chassis run nothing:Nothing", "chassis: …", "$ echo $?", "2"), tmp_path).read()


@pytest.mark.parametrize(
    "document",
    [
        console("$ echo one", "two"),
        console("$ false"),
        console("$ false", "$ echo $?", "0"),
        console("$ echo one", "…", "two"),
        console("$ chassis run nothing:Nothing"),
        console("$ make nothing"),
        SERVICE + console("$ curl -s http://127.0.0.1:8080/health/live", '{"status":"dead"}'),
        SERVICE.replace("service started", "service ended"),
        SERVICE + '```json\n{"message": "service started"}\n```\n',
        "```json\n{}\n```\n",
        "```python\nassert False\n```\n",
        "```python\n>>> 1 + 1\n3\n```\n",
        "```toml\na = 1\n```\n",
        "```rust\n```\n",
        "```\nplain\n```\n",
    ],
)
def test_what_is_not_as_the_document_says_is_seen(document: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Reader(document, tmp_path, patience=0.2).read()


def test_a_configuration_that_nobody_could_use_is_seen(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="drain_delay"):
        Reader("```yaml\nserver: {drain_delay: 5}\n```\n", tmp_path).read()


def test_a_variable_that_means_nothing_is_seen_in_a_manifest(tmp_path: Path) -> None:
    manifest = "<!-- manifest: CQAR -->\n```yaml\nenv:\n  - {name: CQAR_SERVER_PROT, value: '1'}\n```\n"
    with pytest.raises(AssertionError):
        Reader(manifest, tmp_path).read()


def test_what_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        Reader("one\n\n" + console("$ false"), tmp_path, "README.md").read()
    assert caught.value.__notes__ == ["README.md, line 3"]


@pytest.mark.parametrize(
    "text", ["```python\nnever ends\n", "~~~\n~~~\n", "  ```python\n  ```\n", "<!-- fil: a.py -->\n```python\n```\n"]
)
def test_a_block_that_would_be_overlooked_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        list(blocks(text))


def test_a_console_block_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="command"):
        list(steps("only output\n"))


def test_an_ellipsis_stands_for_text_within_a_line_and_alone_for_lines() -> None:
    assert pattern(("a…c", "…", "z")).fullmatch("abc\nq\nr\nz\n")
    assert pattern(("a…c", "…", "z")).fullmatch("ac\nz\n")
    assert not pattern(("a…c", "z")).fullmatch("a\nc\nz\n")
