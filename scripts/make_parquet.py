#!/usr/bin/env python3
"""Makes the Parquet files that tests read, with pyarrow as Hugging Face's `datasets` does.

    pip install pyarrow==26.0.1
    python3 scripts/make_parquet.py [OUT_DIR]

Beside them, in `photos/CLASS/`, lie the images that they hold, in the same order.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GOLDENS = Path(__file__).parent.parent / "crates/data/tests/goldens/parquet"
CLASSES = ["cat", "red fox"]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(number):
    """An image of 10 x 7 pixels."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 10, 7, 8, 2, 0, 0, 0)
    row = lambda y: bytes(value for x in range(10) for value in (number * 9, x * 20, y * 30))
    rows = b"".join(b"\0" + row(y) for y in range(7))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def photos():
    """Class, name and bytes of twelve images."""
    return [(number // 6, f"{number:02}.png", png(number)) for number in range(12)]


def features(**described):
    """What `datasets` writes of the columns into the footer."""
    return {"huggingface": json.dumps({"info": {"features": described}})}


def class_label(names=CLASSES):
    return {"names": names, "_type": "ClassLabel"}


def table(rows, image="image", **columns):
    """Images as `datasets` stores them, and other columns."""
    images = pa.array([{"bytes": content, "path": name} for _, name, content in rows], IMAGE)
    return pa.table({image: images, **columns})


def labels(rows, kind=pa.int64()):
    return pa.array([label for label, _, _ in rows], kind)


def hub(out, rows):
    """A repository: two files to train on, one to validate on."""
    out.mkdir(parents=True, exist_ok=True)
    caption = {"dtype": "string", "_type": "Value"}
    described = features(image={"_type": "Image"}, caption=caption, label=class_label())
    for name, part in [
        ("train-00000-of-00002", rows[:7]),
        ("train-00001-of-00002", rows[7:]),
        ("validation-00000-of-00001", rows[4:8]),
    ]:
        captions = pa.array([f"number {name}" for _, name, _ in part])
        content = table(part, label=labels(part), caption=captions).replace_schema_metadata(described)
        pq.write_table(content, out / f"{name}.parquet", row_group_size=3, compression="snappy")


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDENS
    rows = photos()
    for label, name, content in rows:
        path = out / "photos" / CLASSES[label] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    hub(out / "hub" / "data", rows)

    def write(name, content, described=None, **options):
        content = content.replace_schema_metadata(described) if described else content
        pq.write_table(content, out / f"{name}.parquet", **options)

    # Many pages in a row group, without a dictionary, and with one that is left when it grows.
    names = pa.array([CLASSES[label] for label, _, _ in rows])
    pages = {"data_page_size": 1, "write_batch_size": 2, "row_group_size": 7}
    plain = {"use_dictionary": False, "write_page_index": True}
    write("zstd", table(rows, label=names), compression="zstd", **plain, **pages)
    write("gzip", table(rows, label=names), compression="gzip", dictionary_pagesize_limit=300, **pages)
    write("lz4", table(rows, label=names.dictionary_encode()), compression="lz4", row_group_size=5)
    # Bytes alone, numbers without names, pages of the second version, and no column that may be null.
    plain = pa.table(
        {"jpg": [content for _, _, content in rows], "label": [[2, 10][label] for label, _, _ in rows]},
        pa.schema([pa.field("jpg", pa.binary(), False), pa.field("label", pa.int32(), False)]),
    )
    write("plain", plain, compression="none", data_page_version="2.0")
    write("v2", plain, compression="snappy", data_page_version="2.0", data_page_size=1, write_batch_size=5)

    two = rows[5:7]
    described = features(fine=class_label(["a", "b"]), coarse=class_label(["c", "d"]))
    write("one_class", table(two, kind=labels(two)), features(kind=class_label()))
    write("two_classes", table(two, fine=labels(two), coarse=labels(two)), described)
    write("twins", table(two, label=labels(two)), features(label=class_label(["crane"] * 2)))
    write("few_names", table(two, label=labels(two)), features(label=class_label(["a"])))
    write("unlabelled", table(two, label=pa.array([0, -1])))
    write("null_label", table(two, label=pa.array([None, "cat"])))
    write("float", table(two, label=pa.array([0.5, 1.5])))
    write("list", table(two, label=pa.array([[0], [1]])))
    write("two_images", table(two, image="left", right=table(two)["image"], label=labels(two)))
    write("several", table(two, mask=table(two[::-1])["image"], label=labels(two)))
    write("no_image", pa.table({"text": ["a"], "label": [1]}))
    write("path_only", table([(0, "0.png", None), two[1]], label=labels(two)))
    write("no_rows", table([], label=labels([])))


if __name__ == "__main__":
    main()
