"""From the file, the environment and the service's own defaults to one immutable configuration, or to all problems.

>>> config = load(defaults={"service.name": "cqar"}, environ={"CQI_SERVER_DRAIN_DELAY": "2s"})
>>> config.server.drain_delay, config.origins["server.drain_delay"]
(2.0, 'CQI_SERVER_DRAIN_DELAY')
>>> load(defaults={"service.name": "cqar"}, environ={"CQI_CACHE_DB": "x"})
Traceback (most recent call last):
chassis.config.problems.ConfigurationError: cache.db (CQI_CACHE_DB): a whole number is expected, got 'x'
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chassis.config.building import build
from chassis.config.checks import PARTS, Facts, findings
from chassis.config.conversion import convert, ensure_readable
from chassis.config.environment import read_environment
from chassis.config.given import Given
from chassis.config.knobs import REQUIRED, Catalogue, type_name
from chassis.config.problems import ConfigurationError, Problem, nearest, shown
from chassis.config.sections import (
    SECTIONS,
    AuthConfig,
    CacheConfig,
    DatabaseConfig,
    EventBusConfig,
    LogConfig,
    MetricsConfig,
    ServerConfig,
    ServiceConfig,
    TracingConfig,
)
from chassis.config.yaml_file import read_file

DEFAULT_PREFIX: Final = "CQI"
DEFAULT_ORIGIN: Final = "default"
SERVICE_ORIGIN: Final = "default of the service"
_DEV_ORIGIN: Final = "default with --dev"
_DERIVED_ORIGIN: Final = "default, from "

DEV_DEFAULTS: Final[Mapping[str, object]] = {"server.drain_delay": 0.0, "server.enable_reflection": True}
"""Defaults that are others with `--dev`: nobody waits for load balancers, and tools may look around."""


class Origins(Mapping[str, str]):
    """Where the value of each knob came from, by key; it cannot be changed."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def __getitem__(self, key: str) -> str:
        return self._texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __deepcopy__(self, memo: object) -> Origins:
        return self

    def __repr__(self) -> str:
        return f"<Origins of {len(self)} knobs>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration that has been checked; secrets in it show themselves only to `reveal()`.

    `origins` tells for each dotted key where its value came from; `warnings` are lines for the operator.
    """

    service: ServiceConfig
    server: ServerConfig
    database: DatabaseConfig
    cache: CacheConfig
    eventbus: EventBusConfig
    log: LogConfig
    metrics: MetricsConfig
    tracing: TracingConfig
    auth: AuthConfig
    settings: Any = None
    prefix: str = DEFAULT_PREFIX
    file: Path | None = None
    dev: bool = False
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=lambda: Origins({}))

    def problem(self, key: str, message: str) -> Problem:
        """Give the problem with a knob that came to light only when its value was used."""
        return Problem(key, self.origin_of(key), message)

    def origin_of(self, key: str) -> str:
        """Give where the value of a knob came from, for people; `default` for a configuration that was made by hand."""
        return self.origins.get(key, DEFAULT_ORIGIN)

    def is_default(self, key: str) -> bool:
        """Whether nobody who runs the service said this value: it is a default, maybe the service's own."""
        origin = self.origin_of(key)
        return origin in (DEFAULT_ORIGIN, SERVICE_ORIGIN, _DEV_ORIGIN) or origin.startswith(_DERIVED_ORIGIN)


def catalogue_of(service_settings: type | None = None) -> Catalogue:
    """Give all knobs of a service: those of every service, and those of its own `Settings`.

    Raises TypeError for a Settings class that configuration cannot be read into.
    """
    sections = SECTIONS if service_settings is None else {**SECTIONS, "settings": service_settings}
    catalogue = Catalogue(sections)
    for key, knob in catalogue.items():
        if key.startswith("settings."):
            ensure_readable(knob.annotation, key)
    return catalogue


def load(
    service_settings: type | None = None,
    *,
    prefix: str = DEFAULT_PREFIX,
    file: Path | None = None,
    environ: Mapping[str, str],
    uses: Collection[str] = (),
    dev: bool = False,
    defaults: Mapping[str, object] | None = None,
    overrides: Mapping[str, object] | None = None,
    also: Callable[[Mapping[str, Any], Mapping[str, str]], Iterable[Problem]] | None = None,
) -> Config:
    """Read and check a configuration: overrides win over the environment, it over the file, and that over defaults.

    `service_settings` is the service's own dataclass or attrs class; its section is `settings`. `defaults` come from
    the service (its `service.name`), `overrides` from what runs it; both by dotted key, in the forms a file has (a
    duration is `5s`), or as `Given` with an origin to tell. `uses` are the service's parts. `also` finds what is wrong
    with values that are good as far as is known here; it gets them, and their origins, by dotted key.

    Raises ConfigurationError with every problem at once; TypeError for a Settings class, and ValueError for a prefix,
    a part or a key in defaults and overrides, that no configuration could put right.
    """
    for part in uses:
        if part not in PARTS:
            raise ValueError(f"a service uses {', '.join(PARTS)}; there is no {part!r}")
    catalogue = catalogue_of(service_settings)
    problems: list[Problem] = []
    given = _from_code(defaults, catalogue, SERVICE_ORIGIN)
    if file is not None:
        from_file, problems = read_file(file, catalogue, environ)
        given.update(from_file)
    from_environment, warnings = read_environment(prefix, catalogue, environ)
    given.update(from_environment)
    given.update(_from_code(overrides, catalogue, "set by what runs the service"))

    reading = _Reading(catalogue, given, prefix=prefix, uses=uses, dev=dev)
    sections = reading.sections()
    problems += reading.problems
    if also is not None:
        problems += also(reading.good, reading.origins)
    if problems:
        raise ConfigurationError(problems, warnings)
    return Config(
        **sections, prefix=prefix, file=file, dev=dev, warnings=tuple(warnings), origins=Origins(reading.origins)
    )


def _from_code(values: Mapping[str, object] | None, catalogue: Catalogue, origin: str) -> dict[str, Given]:
    for key in values or ():
        if key not in catalogue:
            near = nearest(key, catalogue)
            raise ValueError(f"there is no key {key!r}{f', the nearest one is {near}' if near else ''}")
    return {
        key: value if isinstance(value, Given) else Given(value, origin, value) for key, value in (values or {}).items()
    }


class _Reading:
    """One pass over all knobs: values, origins, and problems in the order of the catalogue."""

    def __init__(
        self, catalogue: Catalogue, given: Mapping[str, Given], *, prefix: str, uses: Collection[str], dev: bool
    ) -> None:
        self._catalogue = catalogue
        self._prefix = prefix
        self._bad: set[str] = set()
        self._given = given
        self.problems: list[Problem] = []
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        for key in catalogue:
            if key in given:
                self._read(key, given[key])
            else:
                self._default(key, dev)
        self._derive()
        facts = Facts(self.values, given, uses, dev, prefix)
        for key, message in findings(facts, self._bad):
            self._problem(key, self.origins[key], message)

    @property
    def good(self) -> dict[str, Any]:
        """The values that nothing is wrong with."""
        return {key: value for key, value in self.values.items() if key not in self._bad}

    def sections(self) -> dict[str, Any]:
        """Build the sections, as far as their values are good."""
        built = {}
        for path in self._catalogue.classes:
            if "." in path or any(key.startswith(f"{path}.") for key in self._bad):
                continue
            values = {key: value for key, value in self.values.items() if key.startswith(f"{path}.")}
            built[path], failures = build(self._catalogue, path, values)
            for key, message in failures:
                self._problem(key, self.origins.get(key, self._origins_below(key)), message)
        return built

    def _origins_below(self, path: str) -> str:
        """A rule of a whole class has no one origin: those of the values that were given are where to look."""
        below = [origin for key, origin in self.origins.items() if key.startswith(f"{path}.") and key in self._given]
        return ", ".join(dict.fromkeys(below)) or DEFAULT_ORIGIN

    def _problem(self, key: str, origin: str, message: str) -> None:
        self._bad.add(key)
        self.problems.append(Problem(key, origin, message))

    def _read(self, key: str, given: Given) -> None:
        knob = self._catalogue[key]
        self.origins[key] = given.origin
        if given.problem is not None:
            self._problem(key, given.origin, given.problem)
            return
        value, messages = convert(given.value, knob.annotation, given.written)
        for message in messages:
            self._problem(key, given.origin, message)
        if messages:
            return
        if knob.check is not None and not (value is None or knob.check.test(value)):
            got = "" if knob.secret else f", got {shown(given.written)}"
            self._problem(key, given.origin, f"{knob.check.expected} is expected{got}")
            return
        self.values[key] = value

    def _default(self, key: str, dev: bool) -> None:
        knob = self._catalogue[key]
        if knob.default is REQUIRED:
            variable = knob.variable(self._prefix)
            what = f" ({knob.doc.rstrip('.')})" if knob.doc else ""
            message = f"a value is expected: {type_name(knob.annotation)}{what}; set it in the file or as {variable}"
            self.origins[key] = "not set"
            self._problem(key, "not set", message)
            return
        changed = dev and key in DEV_DEFAULTS
        self.values[key] = DEV_DEFAULTS[key] if changed else knob.default
        self.origins[key] = _DEV_ORIGIN if changed else DEFAULT_ORIGIN

    def _derive(self) -> None:
        """Give the defaults that follow from other values."""
        name = self.values.get("service.name", "service")
        derived = {
            "eventbus.backend": ("jetstream" if self.values.get("eventbus.servers") else "memory", "eventbus.servers"),
            "eventbus.consumer_name": (name, "service.name"),
            "metrics.namespace": (name, "service.name"),
            "tracing.service_name": (name, "service.name"),
            "tracing.environment": (self.values.get("service.env", ""), "service.env"),
        }
        for key, (value, source) in derived.items():
            # An empty value means what it says; but spans of a service without a name could not be found.
            if key not in self._given or (key == "tracing.service_name" and self.values.get(key) == ""):
                self.values[key] = value
                self.origins[key] = f"{_DERIVED_ORIGIN}{source}"
        if "metrics.namespace" in self.values:
            self.values["metrics.namespace"] = self.values["metrics.namespace"].replace("-", "_")
