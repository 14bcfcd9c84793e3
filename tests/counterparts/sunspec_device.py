"""SunSpec devices out of pysunspec2's model definitions: registers, made up here, and what its client reads of them.

As a program it serves them with pymodbus: sunspec_device.py tcp PORT | rtu DEVICE, then UNIT:BASE:FILE...
"""

import json
import os
import random
import struct
import sys

import sunspec2
import sunspec2.modbus.client as client

UNIMPLEMENTED = {
    "int16": b"\x80\0",
    "uint16": b"\xff" * 2,
    "count": b"\xff" * 2,
    "enum16": b"\xff" * 2,
    "bitfield16": b"\xff" * 2,
    "sunssf": b"\x80\0",
    "pad": b"\x80\0",
    "int32": b"\x80\0\0\0",
    "uint32": b"\xff" * 4,
    "acc32": b"\0" * 4,
    "enum32": b"\xff" * 4,
    "bitfield32": b"\xff" * 4,
    "float32": b"\x7f\xc0\0\0",
    "uint64": b"\xff" * 8,
    "acc64": b"\0" * 8,
}
HIDDEN = ("pad", "sunssf")


def definition(number):
    path = os.path.join(os.path.dirname(sunspec2.__file__), "models", "json", f"model_{number}.json")
    with open(path) as file:
        return json.load(file)["group"]


def point_bytes(dice, point, counts):
    """Something that fits the type; one in six is not implemented."""
    kind, name = point["type"], point["name"]
    if name in counts:
        return struct.pack(">H", counts[name])
    if kind == "string":
        text = "".join(dice.choice("ABCxyz019-.") for _ in range(dice.randrange(2 * point["size"] + 1)))
        return text.encode().ljust(2 * point["size"], b"\0")
    if kind in ("pad",) or (kind != "sunssf" and dice.random() < 1 / 6):
        return UNIMPLEMENTED[kind]
    if kind == "sunssf":
        return UNIMPLEMENTED[kind] if dice.random() < 0.05 else struct.pack(">h", dice.randint(-4, 3))
    if kind == "float32":
        return struct.pack(">f", dice.uniform(-1e6, 1e6))
    size = len(UNIMPLEMENTED[kind])
    if kind.startswith("int"):
        return dice.randint(-(2 ** (8 * size - 1)) + 1, 2 ** (8 * size - 1) - 1).to_bytes(size, "big", signed=True)
    # The client computes with doubles, which hold no more than 53 bits.
    return dice.randint(1, min(2 ** (8 * size) - 2, 2**50)).to_bytes(size, "big")


def model_bytes(dice, number, repeats):
    """One model with its header; points that repeat do so `repeats` times."""
    group = definition(number)
    inner = group.get("groups", [])
    counts = {it["count"]: repeats for it in inner if it.get("count")}
    body = b"".join(point_bytes(dice, it, counts) for it in group["points"][2:])
    for it in inner:
        body += b"".join(point_bytes(dice, point, {}) for _ in range(repeats) for point in it["points"])
    return struct.pack(">HH", number, len(body) // 2) + body


def device_bytes(models, seed=1, repeats=2):
    """All registers of a device with these models."""
    dice = random.Random(seed)
    parts = [model_bytes(dice, number, repeats) for number in models]
    return b"SunS" + b"".join(parts) + struct.pack(">HH", 0xFFFF, 0)


def by_client(device):
    """What pysunspec2's client reads: {(model, instance, place in the group or 0, point): (value, unit)}."""
    device.scan()
    res = {}
    for number, models in device.models.items():
        if not isinstance(number, int):
            continue
        for instance, model in enumerate(models, 1):
            blocks = [(0, model.points)]
            for group in model.groups.values():
                group = group if isinstance(group, list) else [group]
                blocks += [(at, it.points) for at, it in enumerate(group, 1)]
            for at, points in blocks:
                for name, point in points.items():
                    hidden = point.pdef["type"] in HIDDEN or (at == 0 and name in ("ID", "L"))
                    # An empty text is no value to us, and b"\0..." is one character to the client.
                    value = None if hidden else point.cvalue
                    if value is not None and value != "":
                        res[number, instance, at, name] = (value, point.pdef.get("units", "").strip())
    device.close()
    return res


def tcp_client(port, unit):
    return client.SunSpecModbusClientDeviceTCP(slave_id=unit, ipaddr="127.0.0.1", ipport=port, timeout=5)


def rtu_client(path, unit):
    return client.SunSpecModbusClientDeviceRTU(slave_id=unit, name=path, baudrate=9600, timeout=2)


def names(keys):
    """How each of these points has to be called: its id, with its place in front where the id is not unique."""
    times = {}
    for *_, name in keys:
        times[name] = times.get(name, 0) + 1
    res = {}
    for key in keys:
        number, instance, at, name = key
        place = f"{number}:{instance}:" + (f"{at}:" if at else "")
        res[key] = name if times[name] == 1 else place + name
    return res


def main():
    from pymodbus.server import StartSerialServer, StartTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    kind, where, *devices = sys.argv[1:]
    context = []
    for it in devices:
        unit, base, path = it.split(":", 2)
        with open(path, "rb") as file:
            content = file.read()
        values = list(struct.unpack(f">{len(content) // 2}H", content))
        data = SimData(int(base), values=values, datatype=DataType.REGISTERS)
        context.append(SimDevice(id=int(unit), simdata=[data]))
    if kind == "tcp":
        StartTcpServer(context, address=("127.0.0.1", int(where)))
    else:
        StartSerialServer(context, port=where, baudrate=9600)


if __name__ == "__main__":
    main()
