from __future__ import annotations

from dataclasses import dataclass

from chassis.config import at_least, knob


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """The registry's own options: the section `settings` of its file, and `CQAR_SETTINGS_…` variables.

    >>> RegistrySettings().default_page_size
    50
    """

    default_page_size: int = knob(50, doc="Assets of a page where the caller does not say.", check=at_least(1))
    max_page_size: int = knob(500, doc="The most assets of a page or a search.", check=at_least(1))
    max_listed: int = knob(
        5000, doc="The most records of a list without pages; where more match, it is refused.", check=at_least(1)
    )
