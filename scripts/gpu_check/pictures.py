"""Pictures to train on, drawn here: discs and stripes of random colours, as PNG files."""

import random
import struct
import zlib
from pathlib import Path

SIDE = 96
CLASSES = ("discs", "stripes")


def draw(folder: Path, count: int) -> None:
    """Writes `count` pictures of each class, the same ones every time."""
    numbers = random.Random(0)
    for kind in CLASSES:
        (folder / kind).mkdir(parents=True)
        for index in range(count):
            (folder / kind / f"{index:03}.png").write_bytes(png(picture(kind, numbers)))


def picture(kind, numbers):
    """Rows of intensities."""
    ink, ground = (bytes(numbers.randrange(256) for _ in range(3)) for _ in range(2))
    x0, y0, size = numbers.randrange(24, 72), numbers.randrange(24, 72), numbers.randrange(10, 24)

    def inside(x, y):
        if kind == "discs":
            return (x - x0) ** 2 + (y - y0) ** 2 < size**2
        return (x + y + x0) // (size // 2) % 2 == 0

    return [b"".join(ink if inside(x, y) else ground for x in range(SIDE)) for y in range(SIDE)]


def png(rows):
    """A PNG file of eight bits a channel."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
