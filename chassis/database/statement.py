"""What can be known about a statement from its text, found out once: its name, and what it does to the session."""

from __future__ import annotations

import enum
import re
from typing import Final

from chassis.database.functions import KEEPING, PURE, words
from chassis.database.sqlstate import NO_COMMIT, NO_LASTING

MAX_STATEMENTS: Final = 2000
"""Texts that are remembered; those beyond are looked at each time."""

MAX_NAMES: Final = 300
"""Names that metrics tell apart; those beyond share the name `other`."""

OTHER: Final = "other"


class Effect(enum.Enum):
    """What a statement leaves behind in its session."""

    NONE = enum.auto()
    SETTINGS = enum.auto()  # something that a reset of the session undoes
    LASTING = enum.auto()  # something that only a new connection is without


class Statement:
    """One text of SQL with all that is the same each time it is run; compared by identity.

    >>> read = Statement("SELECT symbol FROM asset WHERE lower(symbol) = $1", "asset_by_symbol")
    >>> read.label, read.verb, read.effect.name, read.repeatable
    ('asset_by_symbol', 'SELECT', 'NONE', True)
    >>> Statement("SET search_path TO other").effect.name, Statement("SELECT my_function()").repeatable
    ('SETTINGS', False)
    """

    __slots__ = ("effect", "label", "name", "outside", "repeatable", "shown", "sql", "verb")

    def __init__(
        self, sql: str, name: str | None = None, label: str | None = None, effect: Effect | None = None
    ) -> None:
        self.sql = sql
        self.name = name
        bare = _bare(sql)
        self.verb = _verb(bare)
        self.label = label or name or self.verb
        self.effect = effect or _effect(bare, self.verb)
        # Why it is not sent in a transaction; an empty text where it is.
        self.outside = NO_LASTING.format(self.verb) if self.effect is Effect.LASTING else ""
        if bare is not None and _ENDS.match(bare):
            self.outside = NO_COMMIT
        # What spans show: what stands in its text and looks like a value may be somebody's data, as may comments.
        self.shown = None if bare is None else _VALUE.sub(_hide, sql)
        # Sent a second time where no one can tell whether the first one arrived: only what changes nothing.
        self.repeatable = self.verb == "SELECT" and bare is not None and _calls(bare) <= PURE and not _INTO.search(bare)


class Statements:
    """The statements of one database, by text and name."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str | None], Statement] = {}
        self._names: set[str] = set()

    def get(self, sql: str, name: str | None = None) -> Statement:
        """What is known of a statement; raises TypeError or ValueError for what is no statement or no name."""
        return self._known.get((sql, name)) or self._learn(sql, name)

    def _learn(self, sql: str, name: str | None) -> Statement:
        if not isinstance(sql, str):
            raise TypeError(f"a statement is SQL text, not a {type(sql).__name__}")
        label = None
        if name is not None:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a statement: letters, digits, _, - and . can be used")
            if name not in self._names and len(self._names) >= MAX_NAMES:
                label = OTHER
            else:
                self._names.add(name)
        statement = Statement(sql, name, label)
        if len(self._known) < MAX_STATEMENTS:
            self._known[sql, name] = statement
        return statement


_NAME = re.compile(r"[A-Za-z][\w.-]{0,62}", re.ASCII)

# Comments, texts and quoted names; what these expressions cannot read safely is taken for the worst.
_COMMENT = re.compile(r"--[^\n]*|/\*(?:(?!/\*|\*/).)*\*/", re.DOTALL)
_TEXT = re.compile(r"'(?:[^']|'')*'")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_READ = re.compile(f"{_TEXT.pattern}|{_QUOTED.pattern}|{_COMMENT.pattern}", re.DOTALL)
_PLAIN_NAME = re.compile(r'"[A-Za-z_]+"')
_UNREADABLE = re.compile(r"\$\w*\$|/\*|\*/|\\|'")
_VALUE = re.compile(rf"{_READ.pattern}|(?<![\w$])\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")
_CALL = re.compile(
    r'(\b(?:into|as|with|recursive)\s+)?((?:"[^"]*"|[\w$])+(?:\s*\.\s*(?:"[^"]*"|[\w$])+)*)\s*\(', re.IGNORECASE
)
# The schema of the session's own tables has two names: pg_temp, and one with a number.
_INTO_SESSION = re.compile(r"""\binto\s+(?:table\s+)?(?:(?:local|global)\s+)?"?(?:pg_)?temp""", re.IGNORECASE)
_INTO = re.compile(r"\binto\b", re.IGNORECASE)
_ENDS = re.compile(
    r"(?:commit|end|abort|rollback(?!\s+(?:work\s+|transaction\s+)?to\b)|prepare\s+transaction)\b", re.IGNORECASE
)
_SET_LOCAL = re.compile(r"set\s+(?:local|transaction|constraints)\b", re.IGNORECASE)

_VERBS: Final = words(
    """ALTER ANALYZE BEGIN CALL CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE DELETE DISCARD DO DROP END
    EXECUTE EXPLAIN FETCH GRANT IMPORT INSERT LISTEN LOAD LOCK MERGE MOVE NOTIFY PREPARE REASSIGN REFRESH REINDEX
    RELEASE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW START TABLE TRUNCATE UNLISTEN UPDATE VACUUM VALUES
    WITH"""
)
_KEEPS: Final = words("SELECT INSERT UPDATE DELETE MERGE VALUES TABLE WITH SHOW LOCK NOTIFY TRUNCATE")
_LASTS: Final = words("PREPARE DEALLOCATE DISCARD LOAD")


def _bare(sql: str) -> str | None:
    """The one statement without its comments and texts; None where that cannot be told for sure."""
    # All three in one pass: a comment may stand in a text, and a quote in a comment.
    bare = _READ.sub(_blank, sql).strip()
    bare = bare.removesuffix(";").rstrip()
    return None if _UNREADABLE.search(bare) or ";" in bare else bare


def _blank(match: re.Match[str]) -> str:
    # Texts with a prefix or a backslash are read by other rules: they stay, and make the statement unreadable.
    text = match[0]
    if text.startswith("'"):
        before = match.string[: match.start()][-1:]
        return text if "\\" in text or before in ("e", "E", "&") else " 0 "
    return text if text.startswith('"') else " "


def _hide(match: re.Match[str]) -> str:
    text = match[0]
    if text.startswith('"'):  # a name; one that is no word may be a value that somebody put into the wrong quotes
        return text if _PLAIN_NAME.fullmatch(text) else '"?"'
    return " " if text.startswith(("--", "/*")) else "?"


def _verb(bare: str | None) -> str:
    match = None if bare is None else _WORD.match(bare.lstrip("( \t\r\n"))
    verb = match[0].upper() if match else ""
    return verb if verb in _VERBS else "OTHER"


def _effect(bare: str | None, verb: str) -> Effect:
    if verb in _LASTS:
        return Effect.LASTING
    if bare is None:
        return Effect.SETTINGS
    if verb in _KEEPS:
        return Effect.NONE if _calls(bare) <= KEEPING and not _makes_a_table(bare, verb) else Effect.SETTINGS
    return Effect.NONE if _SET_LOCAL.match(bare) else Effect.SETTINGS


def _makes_a_table(bare: str, verb: str) -> bool:
    # SELECT … INTO TEMP or pg_temp is a table of the session's; the INTO of INSERT and MERGE is another.
    return verb in ("SELECT", "WITH") and _INTO_SESSION.search(bare) is not None


def _calls(bare: str) -> set[str]:
    """What stands before parentheses, lists of columns aside; a name in quotes or of another schema stays as it is."""
    calls = set()
    for match in _CALL.finditer(bare):
        if match[1] is None:
            calls.add(match[2].lower().removeprefix("pg_catalog."))
    return calls
