#!/usr/bin/env python3
"""Makes the shards that tests read, as WebDataset's writer does: with Python's tarfile.

    python3 scripts/make_shards.py [OUT_DIR]

One in each layout of tarfile: pax, which is its default, GNU, and USTAR.
"""

import io
import json
import struct
import sys
import tarfile
import zlib
from pathlib import Path

GOLDENS = Path(__file__).parent.parent / "crates/data/tests/goldens/shards"
LONG = "photos/" + "a folder with a long name/" * 5


def png(red):
    """An image of 2 x 1 pixels of one colour."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + bytes([red, 0, 0]) * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def files():
    """Three samples: short, long and non-ASCII names, classes in `.cls` and `.json`."""
    yield "000.png", png(10)
    yield "000.cls", b"2"
    yield "000.json", json.dumps({"label": "not read beside .cls", "width": 2}).encode()
    yield LONG + "001.PNG", png(11)
    yield LONG + "001.txt", "a caption, för nobody".encode()
    yield LONG + "001.json", json.dumps({"label": 10}).encode()
    yield "größe.002.npy", b"left out"
    yield "größe.cls", b"2\n"
    yield "größe.png", png(12)


def write(path, layout):
    with tarfile.open(path, "w", format=layout) as archive:
        for name, content in files():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1700000000.25
            info.mode, info.uname, info.gname = 0o444, "bigdata", "bigdata"
            archive.addfile(info, io.BytesIO(content))


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDENS
    out.mkdir(parents=True, exist_ok=True)
    write(out / "pax.tar", tarfile.PAX_FORMAT)
    write(out / "gnu.tar", tarfile.GNU_FORMAT)
    write(out / "ustar.tar", tarfile.USTAR_FORMAT)


if __name__ == "__main__":
    main()
