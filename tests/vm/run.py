"""Boots a meter once and gives it to every test module in turn. A module is a `test_*.py` beside this file with
`run(vm, tally)`; one that has `ARCHES` runs on those, the others on x86 only.

Usage: run.py x86|arm [MODULE...]
"""

import glob
import importlib
import os
import sys
import time
import traceback

from vm import BootError, Vm, image
from meter import Tally


def modules(arch, wanted):
    names = [os.path.basename(it)[:-3] for it in glob.glob(os.path.join(image.HERE, "test_*.py"))]
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    # What the others stand on comes first.
    for name in sorted(names, key=lambda it: (it != "test_service", it)):
        module = importlib.import_module(name)
        if arch in getattr(module, "ARCHES", ("x86",)) and (not wanted or name in wanted):
            yield name, module


def attempt(vm, tally, name, module):
    """Runs one module; whatever goes wrong is one failure, and the next module finds a meter that runs."""
    begun = time.monotonic()
    try:
        module.run(vm, tally)
    except Exception:
        tally.check(f"{name} runs to its end", False, "\n" + traceback.format_exc())
        print(f"--- console:\n{vm.console()[-1500:]}\n--- log:")
        try:
            print(vm.sh("logread | tail -n 20", timeout=20)[1])
        except Exception as err:
            print(f"no log: {err}")
        vm.cut()
        vm.start()
    print(f"figure: {vm.arch}: {name} took {time.monotonic() - begun:.0f} s")


def main():
    arch, *wanted = sys.argv[1:] or ["x86"]
    tally = Tally()
    sys.stdout.reconfigure(line_buffering=True)
    found = list(modules(arch, wanted))
    try:
        with Vm(arch) as vm:
            for name, module in found:
                attempt(vm, tally, name, module)
    except BootError as err:
        tally.check("the meter boots", False, err)
    tally.close()


if __name__ == "__main__":
    main()
