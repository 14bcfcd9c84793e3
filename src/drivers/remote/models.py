#!/usr/bin/env python3
"""Writes models.txt from the model definitions (JSON) that the Python package pysunspec2 carries.

Usage: python models.py [--check] with pysunspec2 installed; --check compares instead of writing.
"""

import json
import os
import sys

import sunspec2

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, "models.txt")
# What measures: identification, inverters, ratings and status, meters, weather, strings, panels, trackers, DER,
# batteries. Left out are networks, control curves, and what single makers have.
IDS = [1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 201, 202, 203, 204, 211, 212, 213, 214]
IDS += [302, 303, 304, 305, 306, 307, 308, 401, 402, 403, 404, 501, 502, 601, 701, 702, 713, 714]
IDS += [802, 803, 804, 805, 806, 807, 808, 809]
SIZES = {
    1: ["int16", "uint16", "count", "enum16", "bitfield16", "pad", "sunssf"],
    2: ["int32", "uint32", "acc32", "enum32", "bitfield32", "float32"],
    4: ["uint64", "acc64"],
}
HEAD = """\
# SunSpec models in short, written by models.py from the model definitions in pysunspec2 1.3.7
# (https://pypi.org/project/pysunspec2/), Copyright SunSpec Alliance, licensed under the Apache License 2.0, whose text
# is in the file LICENSE at the root of this tree. Changed: only what is needed to read values was kept, in this form.
#
# =ID TITLE, then a line per point in the order of its registers, which begin after ID and L:
# NAME TYPE SCALE UNIT, where SCALE is a power of ten, the point that has it, or "-", and UNIT may be missing.
# +NAME COUNT begins the points that repeat: as often as the point COUNT says, or to the end of the model with "*".
"""


def point_line(point):
    kind = point["type"]
    if kind == "string":
        kind = f"string{point['size']}"
    elif point["size"] not in SIZES or kind not in SIZES[point["size"]]:
        raise SystemExit(f"{point['name']}: type {kind} of size {point['size']} has no reader")
    return f"{point['name']} {kind} {point.get('sf', '-')} {point.get('units', '').strip()}".rstrip()


def model_lines(number):
    path = os.path.join(os.path.dirname(sunspec2.__file__), "models", "json", f"model_{number}.json")
    with open(path) as file:
        group = json.load(file)["group"]
    yield f"={number} {group.get('label', group['name']).strip()}"
    if [it["name"] for it in group["points"][:2]] != ["ID", "L"]:
        raise SystemExit(f"model {number} does not begin with ID and L")
    yield from map(point_line, group["points"][2:])
    inner = group.get("groups", [])
    if len(inner) > 1 or any(it.get("groups") for it in inner):
        raise SystemExit(f"model {number}: nested or several groups have no reader")
    for it in inner:
        yield f"+{it['name']} {it['count'] or '*'}"
        yield from map(point_line, it["points"])


def main():
    text = HEAD + "".join(f"{line}\n" for number in IDS for line in model_lines(number))
    if sys.argv[1:] == ["--check"]:
        with open(TABLE) as file:
            same = file.read() == text
        print("models.txt is what models.py writes" if same else "models.txt is not what models.py writes")
        raise SystemExit(0 if same else 1)
    with open(TABLE, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
