"""Programs that say that they were run, and a service that comes back."""

import os
import time

# A service that touches the machine, as far as its configuration lets it.
REAL = {"demo": False}


def script(folder, name, text):
    """A program that notes that it was run, and when."""
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(f"#!/bin/sh\necho {name} $(date +%s.%N) >> {folder}/run\n{text}\n")
    os.chmod(path, 0o755)
    return [path]


def ran(folder):
    try:
        with open(os.path.join(folder, "run")) as file:
            return [(line.split()[0], float(line.split()[1])) for line in file]
    except FileNotFoundError:
        return []


def wait_until_up(meter, within=40):
    """Waits until the service answers again, after nothing or only 503 came."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if meter.raw("GET", "/auth/unauthorized")[0] == 401:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError("the service does not come back")
