"""The log of a service: one JSON object a line, the standard fields on all of them, and never in anyone's way.

>>> import json, logging
>>> lines = []
>>> logs = Logs("cqar", level="info", output=lines)
>>> logs.install()
>>> token = logs.activate()  # what libraries log from here on belongs to it, too
>>> logs.logger.bind(venue="binance").info("asset listed", asset_id="a-1")
>>> logging.getLogger("some.library").warning("retrying in %d s", 2, extra={"attempt": 1})
>>> logs.close()
True
>>> [json.loads(line)["message"] for line in lines], json.loads(lines[0])["venue"]
(['asset listed', 'retrying in 2 s'], 'binance')

| field | |
|---|---|
| `timestamp` | RFC 3339, UTC, milliseconds |
| `level` | debug, info, warn, error, fatal |
| `message`, `service_name`, `logger` | |
| `trace_id`, `span_id`, `request_id` | of the call that is being served |
| `method`, for HTTP also `path`, for events `topic` | the same |
| `error`, `stack`, `detail` | of the exception that was logged |

Your fields stand behind these; one whose name is taken gets a `_` at its end.
"""

from chassis.logging.logger import Logger
from chassis.logging.logs import Logs

__all__ = ["Logger", "Logs"]
