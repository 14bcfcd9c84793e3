"""Draws `init/restore.svg`: what a terminal shows while meterctl restores three weeks of rows into a service. A real
service, and a real client on a pseudo-terminal; its bytes go through a terminal emulator (pyte), and a few moments of the
screen become one SVG.

Usage: target/venv/bin/python tests/counterparts/terminal_svg.py   (after a build of meterctl with its feature)
"""

import fcntl
import html
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time

import pyte
from meter import BINARY, PASSWORD, ROOT, Meter, backup_text

METERCTL = os.environ.get("METERCTL", os.path.join(os.path.dirname(BINARY), "meterctl"))
OUT = os.path.join(ROOT, "init", "restore.svg")
COLUMNS, ROWS = 100, 8
REGISTERS = [("Grid", "P"), ("Grid+", "P"), ("Solar", "P"), ("Solar+", "P")]
N_ROWS = 30_000
# Shares of the bar at which a picture is taken, beside the end.
MOMENTS = 25, 75
COLOURS = {"default": "#d8dee9", "green": "#a3be8c", "cyan": "#88c0d0", "red": "#bf616a", "brown": "#ebcb8b"}
# Small chunks, so that a bench is not done before there is something to see.
COMMAND = "meterctl restore weeks.txt --no-backup --yes --chunk 65536"


def record(meter, folder):
    """The screens of the moments and of the end."""
    env = {
        **os.environ,
        "METERCTL_URL": f"http://127.0.0.1:{meter.port}",
        "METERCTL_PASSWORD": PASSWORD,
        "XDG_CACHE_HOME": os.path.join(folder, "cache"),
        "TERM": "xterm-256color",
    }
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(METERCTL, COMMAND.split(), env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    pictures, wanted = [], list(MOMENTS)
    while select.select([terminal], [], [], 120)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        stream.feed(data)
        share = max((int(it) for it in re.findall(r"(\d+) %", "\n".join(screen.display))), default=-1)
        if wanted and wanted[0] <= share < 100:
            pictures.append(shot(screen))
            while wanted and wanted[0] <= share:
                wanted.pop(0)
    os.waitpid(child, 0)
    return [*pictures, shot(screen)]


def shot(screen):
    """Runs of one colour, line by line, without what is empty at the end."""
    lines = []
    for y in range(ROWS):
        runs = []
        for x in range(COLUMNS):
            char = screen.buffer[y][x]
            if runs and runs[-1][0] == char.fg:
                runs[-1][1] += char.data
            else:
                runs.append([char.fg, char.data])
        runs[-1][1] = runs[-1][1].rstrip()
        lines.append(runs)
    while lines and not "".join(text for _, text in lines[-1]).strip():
        lines.pop()
    return lines


def draw(pictures):
    lines = [[["green", "$ "], ["default", COMMAND]]]
    for picture in pictures:
        lines += [*picture, []]
    lines.pop()
    width, height = 8 * COLUMNS + 24, 20 * len(lines) + 24
    spans = []
    for y, runs in enumerate(lines):
        parts = "".join(
            f'<tspan fill="{COLOURS.get(colour, COLOURS["default"])}">{html.escape(text)}</tspan>'
            for colour, text in runs
        )
        if parts:
            spans.append(f'<text x="12" y="{20 * y + 27}" xml:space="preserve">{parts}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" rx="8" fill="#2e3440"/>'
        f'<g font-family="ui-monospace,DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="13">\n'
        + "\n".join(spans) + "\n</g></svg>\n"
    )


with tempfile.TemporaryDirectory() as scratch, Meter(demo=False) as meter:
    newest = int(time.time()) // 60 * 60 - 60
    rows = [(newest - 60 * at, [(N_ROWS - at) * 977 - at * 31, -at * 90, -at * 70, -at * 70]) for at in range(N_ROWS)]
    with open(os.path.join(scratch, "weeks.txt"), "w") as file:
        file.write(backup_text(REGISTERS, rows))
    pictures = record(meter, scratch)
if len(pictures) <= len(MOMENTS):
    sys.exit(f"only {len(pictures)} pictures were there to be taken")
with open(OUT, "w") as file:
    file.write(draw(pictures))
print(f"{OUT}: {os.path.getsize(OUT)} bytes")
