"""Runs schemathesis as its users do."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def finds_nothing(description, folder, token, *args):
    """Whether it has tried what the description has and found nothing wrong. The checks in `hooks` are at hand."""
    # A folder of their own: all that lies beside them would go before its own modules.
    env = dict(os.environ, SCHEMATHESIS_HOOKS="schemathesis_hooks", PYTHONPATH=os.path.join(HERE, "hooks"))
    command = [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", description, "--seed", "1", "--no-color"]
    command += ["-H", f"Authorization: Bearer {token}", *args]
    run = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    print(run.stdout, flush=True)
    return run.returncode == 0 and "No issues found" in run.stdout
