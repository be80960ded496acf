#!/usr/bin/env python3
"""Makes crates/data/tests/goldens/bands: images of more channels or bits than pictures have, by tifffile and
numpy, and what Pillow makes of them.

    pip install numpy==2.4.6 tifffile==2026.3.3 imagecodecs Pillow==13.0.0
    python scripts/bands.py
"""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

OUT = Path(__file__).parent.parent / "crates/data/tests/goldens/bands"
CHANNELS, HEIGHT, WIDTH = 5, 6, 7
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def bands(dtype, channels=CHANNELS, shape=(HEIGHT, WIDTH)):
    """Numbers that tests/bands.rs computes as well."""
    c, y, x = np.meshgrid(np.arange(channels), *map(np.arange, shape), indexing="ij")
    if dtype == np.float32:
        return (c - 0.25 * y + x / 8).astype(dtype)
    step = (37, 11, 5) if dtype == np.uint8 else (4099, 977, 9331)
    return ((step[0] * c + step[1] * y + step[2] * x) % (np.iinfo(dtype).max + 1)).astype(dtype)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    for dtype in (np.uint8, np.uint16, np.float32):
        name, image = np.dtype(dtype).name, bands(dtype)
        last = image.transpose(1, 2, 0)
        chunky = dict(photometric="minisblack", planarconfig="contig", metadata=None)
        np.save(OUT / f"{name}_first.npy", image)
        np.save(OUT / f"{name}_last.npy", np.ascontiguousarray(last))
        np.save(OUT / f"{name}_swapped.npy", image.astype(np.dtype(dtype).newbyteorder(">")))
        tifffile.imwrite(OUT / f"{name}_chunky.tif", last, **chunky)
        tifffile.imwrite(
            OUT / f"{name}_planar.tif", image, photometric="minisblack", planarconfig="separate", metadata=None
        )
        with tifffile.TiffWriter(OUT / f"{name}_pages.tif") as pages:
            for plane in image:
                pages.write(plane, photometric="minisblack", metadata=None)
        tifffile.imwrite(OUT / f"{name}_big_endian.tif", last, byteorder=">", **chunky)
        tifffile.imwrite(OUT / f"{name}_bigtiff.tif", last, bigtiff=True, **chunky)
        tifffile.imwrite(OUT / f"{name}_tiled.tif", last, tile=(16, 16), **chunky)
        tifffile.imwrite(OUT / f"{name}_lzw.tif", last, compression="lzw", predictor=dtype != np.float32, **chunky)
        tifffile.imwrite(OUT / f"{name}_deflate.tif", last, compression="zlib", predictor=True, **chunky)
        # Red, green, blue, and two more.
        rgb = dict(photometric="rgb", metadata=None)
        extra = ("unspecified", "unspecified")
        tifffile.imwrite(OUT / f"{name}_rgb.tif", last, planarconfig="contig", extrasamples=extra, **rgb)
        tifffile.imwrite(
            OUT / f"{name}_rgb_big.tif", last, planarconfig="contig", extrasamples=extra, byteorder=">",
            bigtiff=True, **rgb
        )
        tifffile.imwrite(OUT / f"{name}_rgb_planar.tif", image, planarconfig="separate", extrasamples=extra, **rgb)
        # For networks of three channels: colours, colours with alpha, grey.
        tifffile.imwrite(OUT / f"three_{name}_rgb.tif", last[..., :3], **rgb)
        tifffile.imwrite(OUT / f"three_{name}_alpha.tif", last[..., :4], extrasamples=("unassalpha",), **rgb)
        tifffile.imwrite(OUT / f"one_{name}.tif", image[0], photometric="minisblack", metadata=None)
    Image.fromarray(bands(np.uint16)[0]).save(OUT / "one_uint16.png")
    # As GDAL marks what lies outside a scene.
    outside = bands(np.float32)[0]
    outside[0] = -9999
    tifffile.imwrite(
        OUT / "one_no_data.tif", outside, photometric="minisblack", metadata=None,
        extratags=[(42113, "s", 0, "-9999", True)],
    )
    # Resizing, smaller and larger in each direction.
    source = bands(np.float32, 2, (11, 13))
    np.save(OUT / "source.npy", source)
    for name, resample in FILTERS.items():
        for height, width in ((5, 6), (17, 4), (20, 30)):
            planes = [Image.fromarray(plane, "F").resize((width, height), resample) for plane in source]
            np.save(OUT / f"resized_{name}_{height}x{width}.npy", np.stack([np.asarray(p) for p in planes]))


if __name__ == "__main__":
    main()
