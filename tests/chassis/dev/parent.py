"""A process with servers, to be killed: `parent.py FOLDER [SERVER...] [--user UID] [--fork]`.

It stores something in each, prints what runs as one line of JSON, and waits for its standard input to end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from chassis.dev import DevServers
from chassis.dev.privileges import become_user
from chassis.dev.processes import descendants
from tests.chassis.dev.stored import store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("servers", nargs="+")
    parser.add_argument("--user", type=int)
    parser.add_argument("--fork", action="store_true")
    options = parser.parse_args()
    if options.user is not None:
        become_user(options.user, options.user)
    with DevServers(options.folder, options.servers) as servers:
        for server in servers:
            store(server)
        holder = _forked() if options.fork else 0
        pids = [pid for pid in descendants(os.getpid()) if pid != holder]
        told = {
            "pids": pids,
            "ports": [server.port for server in servers],
            "uid": os.geteuid(),
            "holder": holder,
            "servers": [server.pid for server in servers],
        }
        print(json.dumps(told), flush=True)
        sys.stdin.read()


def _forked() -> int:
    """Leave a process that has all our files open, and so the ends of the supervisors' pipes."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid


if __name__ == "__main__":
    main()
