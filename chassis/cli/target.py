from __future__ import annotations

import importlib
import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

from chassis.service import ServiceChassis


class TargetError(Exception):
    """What should be run is not there; the text says what was looked for, and where."""


def find_target(target: str | None) -> type[ServiceChassis]:
    """Find the service class that `MODULE:CLASS` names, or else pyproject.toml.

    Raises TargetError where there is none. What the module itself raises is passed on: its author has to see it.
    """
    origin = ""
    if target is None:
        target = _from_pyproject()
        origin = " ([tool.chassis] service in pyproject.toml)"
    module_name, _, class_name = target.partition(":")
    if not module_name or not class_name:
        raise TargetError(f"{target!r}{origin} names no service: write MODULE:CLASS, such as pricing.service:Pricing")
    module = _import(module_name, origin)
    found = getattr(module, class_name, None)
    if found is None:
        services = [name for name, value in vars(module).items() if _is_service(value)]
        hint = f"; it has {', '.join(services)}" if services else ""
        raise TargetError(f"there is no {class_name!r} in {module_name} ({module.__file__}){origin}{hint}")
    if not _is_service(found):
        raise TargetError(f"{target}{origin} is no service: it is {_kind(found)}, and no subclass of ServiceChassis")
    cls: type[ServiceChassis] = found
    return cls


def has_target() -> bool:
    """Whether pyproject.toml in the current folder names a service."""
    return _service_in(Path("pyproject.toml")) is not None


def _from_pyproject() -> str:
    file = Path("pyproject.toml")
    service = _service_in(file)
    if service is None:
        raise TargetError(
            f"which service? Say MODULE:CLASS, or put `service` under [tool.chassis] in {file.absolute()}"
        )
    return service


def _service_in(file: Path) -> str | None:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetError(f"{file.absolute()} is no valid TOML: {error}") from error
    service = content.get("tool", {}).get("chassis", {}).get("service")
    if service is not None and not isinstance(service, str):
        raise TargetError(
            f"[tool.chassis] service in {file.absolute()} must be a text such as 'pricing.service:Pricing'"
        )
    return service


def _import(name: str, origin: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only if it is the module itself, or a package that it is in: what it imports is its author's matter.
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise TargetError(
            f"there is no module {name!r}{origin}, looked for in {Path.cwd()} and where Python looks"
        ) from None


def _is_service(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ServiceChassis) and value is not ServiceChassis


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"
