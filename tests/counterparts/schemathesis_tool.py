"""Runs schemathesis as its users do."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def finds_nothing(description, folder, token, *args, hooks=False):
    """Whether it has tried what the description has and found nothing wrong, with the checks in `hooks` too if wanted."""
    # A folder of their own: all that lies beside them would go before its own modules.
    own = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": os.path.join(HERE, "hooks")}
    env = {**os.environ, **(own if hooks else {})}
    command = [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", description, "--seed", "1", "--no-color"]
    command += ["-H", f"Authorization: Bearer {token}", *args]
    run = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    # What it counts are requests; checks are counted here.
    print(run.stdout.replace(" passed", " fine"), flush=True)
    return run.returncode == 0 and bool(re.search(r"\b([1-9][0-9]*) generated, \1 passed", run.stdout))
