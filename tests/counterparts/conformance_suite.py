"""Calls the conformance suite and reads its reports, for the tests that set it on a meter."""

import json
import os
import subprocess

from meter import ROOT

SUITE = os.environ.get("CONFORMANCE", os.path.join(ROOT, "target", "debug", "meter-conformance"))


def run(*args, password=None, timeout=400):
    """One run of the suite: exit status, standard output, standard error."""
    env = dict(os.environ, **({"METER_PASSWORD": password} if password else {}))
    pipes = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    res = subprocess.run([SUITE, *args], env=env, timeout=timeout, **pipes)
    return res.returncode, res.stdout, res.stderr


def verdicts(path):
    """A report's verdicts by the ids of their rules."""
    with open(path) as file:
        return {it["id"]: it for it in json.load(file)["verdicts"]}
