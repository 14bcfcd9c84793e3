"""schemathesis with the maker's own description of the API, on the paths that are served: no request may end in a 500,
and every answer must be of the documented shape."""

import os
import sys

from meter import Meter
from schemathesis_tool import HERE, finds_nothing

DESCRIPTION = os.path.join(HERE, "openapi", "webapi-4.6-subset.openapi.yaml")
SERVED = (
    "^/auth/(login|rights|unauthorized)$|^/cmd/(cancel|clear|db)$|^/register$|^/config/net/hostname$"
    "|^/sys/(status|time|uptime|version|sn|model|boot|reboot|db)"
)
# Where the description fits every answer. Elsewhere it leaves out what its own text allows: `null` for a level without
# rows, the shapes that `max-depth` makes, and methods of /config, which is read-only here.
EXACT = "^/auth/(rights|unauthorized)$|^/cmd/(cancel|clear|db)$|^/sys/(time|uptime|sn|model|reboot)$"
SAFE = "not_a_server_error,content_type_conformance"
# Here a refused body is HTTP 200 with `error`, as the API has it.
LENIENT = "negative_data_rejection,positive_data_acceptance,unsupported_method"

meter = Meter(demo=True, limits={"reply_seconds": 1})
meter.cli("user", "set", "visitor", stdin="visitor")
with meter:
    common = ["-u", f"http://127.0.0.1:{meter.port}/api", "--max-examples", os.environ.get("EXAMPLES", "25")]
    # A token does not outlive a logout, so that path is run with a token of its own.
    runs = [
        (["--include-path", "/auth/logout", "--checks", SAFE], meter.login("visitor", "visitor")),
        (["--include-path-regex", SERVED, "--checks", SAFE], meter.login()),
        (["--include-path-regex", EXACT, "--exclude-checks", LENIENT], meter.login()),
    ]
    failed = 0
    for args, token in runs:
        failed += not finds_nothing(DESCRIPTION, meter.dir, token, *common, *args)
    alive = meter.call("GET", "/auth/rights")["usr"] == "owner"
    panicked = "panicked" in meter.read_log()
    print(f"alive={alive} panicked={panicked}")
    failed += not alive
    failed += panicked
print(f"{5 - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
