#!/usr/bin/env python3
"""Makes the odd images that decoding is tested with, and what Pillow sees in them.

    python3 scripts/odd_images.py crates/data/tests/goldens/odd

Writes NAME.EXT and, where Pillow reads it, NAME.EXT.png: the pixels of
`ImageOps.exif_transpose(image).convert("RGB")`. Needs Pillow, numpy and tifffile.
"""

import io
import math
import struct
import sys
import zlib
from pathlib import Path

import numpy
import tifffile
from PIL import Image, ImageOps

SIZE = (23, 17)


def photo(width=SIZE[0], height=SIZE[1]):
    """A smooth picture with edges and a little noise."""
    y, x = numpy.mgrid[:height, :width].astype(float)
    noise = numpy.random.default_rng(0).normal(0, 3, (height, width, 3))
    red = 128 + 100 * numpy.sin(x / 5) * numpy.cos(y / 7)
    green = 40 + 170 * x / width + 30 * ((x + y) % 11 > 6)
    blue = 230 - 200 * y / height
    return numpy.clip(numpy.stack([red, green, blue], -1) + noise, 0, 255).astype(numpy.uint8)


PHOTO = Image.fromarray(photo())
INKS = Image.merge("CMYK", [Image.fromarray(channel) for channel in (
    photo()[..., 0], photo()[..., 1], photo()[..., 2], photo()[..., 1] // 3)])


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


# A JPEG writer for what Pillow does not write: any sampling, any division into scans.

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8 if (i // 8 + i % 8) % 2 else i % 8)))
DC_BITS = [0, 0, 0, 0, 12] + [0] * 11  # twelve codes of five bits
DC_VALUES = list(range(12))
AC_VALUES = [run << 4 | size for size in range(11) for run in range(16) if size or run in (0, 15)]
AC_BITS = [0] * 7 + [len(AC_VALUES)] + [0] * 8


def codes(bits, values):
    table, code, at = {}, 0, 0
    for length, count in enumerate(bits, 1):
        for _ in range(count):
            table[values[at]] = (code, length)
            code, at = code + 1, at + 1
        code <<= 1
    return table


DC, AC = codes(DC_BITS, DC_VALUES), codes(AC_BITS, AC_VALUES)
DCT = numpy.array([[(math.sqrt(1 / 8) if u == 0 else 0.5) * math.cos((2 * x + 1) * u * math.pi / 16)
                    for x in range(8)] for u in range(8)])


class Bits:
    def __init__(self):
        self.text = []

    def put(self, code, length):
        if length:
            self.text.append(format(code, f"0{length}b"))

    def number(self, value):
        size = abs(value).bit_length()
        self.put(value if value >= 0 else value + (1 << size) - 1, size)

    def bytes(self):
        text = "".join(self.text)
        text += "1" * (-len(text) % 8)
        return bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\x00")


def segment(marker, data):
    return bytes([0xff, marker]) + struct.pack(">H", len(data) + 2) + data


def plane_of_blocks(plane, columns, rows, step):
    """Quantised coefficients of each block; the last pixels are repeated."""
    padded = numpy.pad(plane, ((0, rows * 8 - plane.shape[0]), (0, columns * 8 - plane.shape[1])), "edge")
    blocks = padded.reshape(rows, 8, columns, 8).swapaxes(1, 2).astype(float) - 128
    return numpy.rint(DCT @ blocks @ DCT.T / step).astype(int)


def put_block(bits, block, before):
    flat = [int(v) for v in block.reshape(64)[ZIGZAG]]
    difference = flat[0] - before
    bits.put(*DC[abs(difference).bit_length()])
    bits.number(difference)
    run = 0
    last = max((i for i in range(1, 64) if flat[i]), default=0)
    for value in flat[1:last + 1]:
        if value == 0:
            run += 1
            continue
        while run > 15:
            bits.put(*AC[0xf0])
            run -= 16
        bits.put(*AC[run << 4 | abs(value).bit_length()])
        bits.number(value)
        run = 0
    if last < 63:
        bits.put(*AC[0])
    return flat[0]


def jpeg(planes, sampling, scans=None, ids=None, restart=0, step=4, marker=0xc0, before=b"", precision=8):
    """Planes of full size, reduced as `sampling` (horizontal, vertical) says."""
    height, width = planes[0].shape
    across, down = max(h for h, _ in sampling), max(v for _, v in sampling)
    units = (-(-width // (8 * across)), -(-height // (8 * down)))
    ids = ids or list(range(1, len(planes) + 1))
    blocks, true = [], []
    for plane, (h, v) in zip(planes, sampling):
        rows = numpy.minimum(numpy.arange(-(-height * v // down)) * down // v, height - 1)
        columns = numpy.minimum(numpy.arange(-(-width * h // across)) * across // h, width - 1)
        small = plane[rows][:, columns]
        blocks.append(plane_of_blocks(small, units[0] * h, units[1] * v, step))
        true.append((-(-small.shape[1] // 8), -(-small.shape[0] // 8)))
    out = b"\xff\xd8" + before + segment(0xdb, bytes([0]) + bytes([step]) * 64)
    frame = struct.pack(">BHHB", precision, height, width, len(planes))
    out += segment(marker, frame + b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in zip(ids, sampling)))
    out += segment(0xc4, bytes([0]) + bytes(DC_BITS) + bytes(DC_VALUES))
    out += segment(0xc4, bytes([0x10]) + bytes(AC_BITS) + bytes(AC_VALUES))
    if restart:
        out += segment(0xdd, struct.pack(">H", restart))
    for scan in scans or [list(range(len(planes)))]:
        header = bytes([len(scan)]) + b"".join(bytes([ids[c], 0]) for c in scan) + bytes([0, 63, 0])
        out += segment(0xda, header) + scan_data(scan, blocks, true, sampling, units, restart)
    return out + b"\xff\xd9"


def scan_data(scan, blocks, true, sampling, units, restart):
    def order():
        if len(scan) == 1:
            [c] = scan
            for y in range(true[c][1]):
                for x in range(true[c][0]):
                    yield [(c, y, x)]
            return
        for y in range(units[1]):
            for x in range(units[0]):
                yield [(c, y * sampling[c][1] + v, x * sampling[c][0] + h)
                       for c in scan for v in range(sampling[c][1]) for h in range(sampling[c][0])]

    out, bits, before = b"", Bits(), {}
    for number, unit in enumerate(order()):
        if restart and number and number % restart == 0:
            out += bits.bytes() + bytes([0xff, 0xd0 + (number // restart - 1) % 8])
            bits, before = Bits(), {}
        for c, y, x in unit:
            before[c] = put_block(bits, blocks[c][y, x], before.get(c, 0))
    return out + bits.bytes()


def channels(image):
    return [numpy.asarray(channel) for channel in image.split()]


def adobe(transform):
    return segment(0xee, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def jpegs():
    ycc, rgb = channels(PHOTO.convert("YCbCr")), channels(PHOTO)
    inks = [255 - plane for plane in channels(INKS)]
    for name, luma in {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1),
                       "441": (1, 4), "410": (4, 2), "24": (2, 4), "31": (3, 1), "13": (1, 3)}.items():
        sampling = [luma, (1, 1), (1, 1)]
        yield f"{name}.jpg", jpeg(ycc, sampling)
        yield f"{name}-restart.jpg", jpeg(ycc, sampling, restart=2)
        yield f"{name}-three-scans.jpg", jpeg(ycc, sampling, scans=[[0], [1], [2]])
    yield "420-luma-then-chroma.jpg", jpeg(ycc, [(2, 2), (1, 1), (1, 1)], scans=[[0], [1, 2]])
    yield "420-chroma-first.jpg", jpeg(ycc, [(2, 2), (1, 1), (1, 1)], scans=[[2], [1], [0]])
    yield "420-three-scans-restart.jpg", jpeg(ycc, [(2, 2), (1, 1), (1, 1)], scans=[[0], [1], [2]], restart=3)
    yield "420-no-scan-of-chroma.jpg", jpeg(ycc, [(2, 2), (1, 1), (1, 1)], scans=[[0]])
    yield "luma-11-chroma-22.jpg", jpeg(ycc, [(1, 1), (2, 2), (2, 2)])
    yield "luma-11-chroma-21.jpg", jpeg(ycc, [(1, 1), (2, 1), (2, 1)])
    yield "luma-21-chroma-12.jpg", jpeg(ycc, [(2, 1), (1, 2), (1, 2)])
    yield "luma-32-chroma-22.jpg", jpeg(ycc, [(3, 2), (2, 2), (2, 2)])
    yield "luma-22-chroma-21-12.jpg", jpeg(ycc, [(2, 2), (2, 1), (1, 2)])
    yield "luma-22-chroma-21.jpg", jpeg(ycc, [(2, 2), (2, 1), (2, 1)])
    yield "luma-22-chroma-22.jpg", jpeg(ycc, [(2, 2)] * 3)
    yield "luma-21-chroma-21.jpg", jpeg(ycc, [(2, 1)] * 3)
    yield "luma-41-chroma-21.jpg", jpeg(ycc, [(4, 1), (2, 1), (2, 1)])
    yield "grey.jpg", jpeg(ycc[:1], [(1, 1)])
    yield "grey-sampled-22.jpg", jpeg(ycc[:1], [(2, 2)])
    yield "two-components.jpg", jpeg(ycc[:2], [(1, 1)] * 2)
    yield "rgb-ids.jpg", jpeg(rgb, [(1, 1)] * 3, ids=[82, 71, 66])
    yield "rgb-adobe.jpg", jpeg(rgb, [(1, 1)] * 3, before=adobe(0))
    yield "rgb-adobe-420.jpg", jpeg(rgb, [(2, 2), (1, 1), (1, 1)], before=adobe(0))
    yield "ycc-adobe.jpg", jpeg(ycc, [(2, 2), (1, 1), (1, 1)], before=adobe(1))
    yield "cmyk-adobe.jpg", jpeg(inks, [(1, 1)] * 4, before=adobe(0))
    yield "cmyk-plain.jpg", jpeg(inks, [(1, 1)] * 4)
    yield "cmyk-adobe-420.jpg", jpeg(inks, [(2, 2), (1, 1), (1, 1), (2, 2)], before=adobe(0))
    ycck = channels(Image.merge("RGB", INKS.split()[:3]).convert("YCbCr"))
    yield "ycck.jpg", jpeg(ycck + [inks[3]], [(1, 1)] * 4, before=adobe(2))
    yield "ycck-420.jpg", jpeg(ycck + [inks[3]], [(2, 2), (1, 1), (1, 1), (2, 2)], before=adobe(2))
    yield "ycck-422.jpg", jpeg(ycck + [inks[3]], [(2, 1), (1, 1), (1, 1), (2, 1)], before=adobe(2))
    yield "ycck-420-four-scans.jpg", jpeg(
        ycck + [inks[3]], [(2, 2), (1, 1), (1, 1), (2, 2)], scans=[[0], [1], [2], [3]], before=adobe(2))
    for name, subsampling in {"444": 0, "422": 1, "420": 2}.items():
        yield f"progressive-{name}.jpg", saved(PHOTO, "JPEG", progressive=True, subsampling=subsampling)
    yield "progressive-grey.jpg", saved(PHOTO.convert("L"), "JPEG", progressive=True)
    yield "progressive-cmyk.jpg", saved(INKS, "JPEG", progressive=True)
    yield "progressive-restart.jpg", saved(PHOTO, "JPEG", progressive=True, restart_marker_rows=1)
    progressive = saved(PHOTO, "JPEG", progressive=True)
    scans = [i for i in range(len(progressive)) if progressive[i:i + 2] == b"\xff\xda"]
    yield "progressive-some-scans.jpg", progressive[:scans[3]] + b"\xff\xd9"
    for orientation in range(1, 9):
        yield f"orientation-{orientation}.jpg", saved(PHOTO, "JPEG", exif=exif(orientation))
    yield from framed_jpegs(saved(PHOTO, "JPEG", quality=90), progressive)
    yield "sof1.jpg", jpeg(ycc, [(2, 2), (1, 1), (1, 1)], marker=0xc1)
    yield "arithmetic.jpg", jpeg(ycc, [(1, 1)] * 3, marker=0xc9)
    yield "lossless.jpg", jpeg(ycc, [(1, 1)] * 3, marker=0xc3)
    yield "hierarchical.jpg", jpeg(ycc, [(1, 1)] * 3, marker=0xc5)
    yield "12-bits.jpg", jpeg(ycc, [(1, 1)] * 3, marker=0xc1, precision=12)
    yield "one-pixel.jpg", saved(PHOTO.crop((0, 0, 1, 1)), "JPEG")
    yield "one-row.jpg", saved(PHOTO.crop((0, 0, 23, 1)), "JPEG")
    yield "one-column.jpg", saved(PHOTO.crop((0, 0, 1, 17)), "JPEG")
    yield "icc.jpg", saved(PHOTO, "JPEG", icc_profile=bytes(range(256)) * 2)
    yield "mpo.jpg", saved(PHOTO, "MPO", save_all=True, append_images=[ImageOps.mirror(PHOTO)])


def framed_jpegs(plain, progressive):
    yield "no-end.jpg", plain[:-2]
    yield "no-end-then-padding.jpg", plain[:-2] + bytes(64)
    yield "half-an-end.jpg", plain[:-1]
    yield "half-an-end-then-padding.jpg", plain[:-1] + bytes(64)
    yield "progressive-no-end.jpg", progressive[:-2]
    yield "progressive-no-end-then-padding.jpg", progressive[:-2] + bytes(64)
    yield "cut.jpg", plain[:-40]
    yield "cut-then-end.jpg", plain[:-40] + b"\xff\xd9"
    yield "cut-then-padding.jpg", plain[:-40] + bytes(600)
    yield "progressive-cut-then-end.jpg", progressive[:-40] + b"\xff\xd9"
    yield "junk-behind.jpg", plain + b"some junk \xff\xd8\xff\xda" + bytes(range(256))
    yield "junk-before-a-marker.jpg", plain[:20] + bytes(7) + plain[20:]
    yield "filling-before-a-marker.jpg", plain[:20] + b"\xff" * 5 + plain[20:]
    yield "comment.jpg", plain[:2] + segment(0xfe, b"\xff\xd9\xff\xda") + plain[2:]


def png(kind, depth, rows, extra=b"", interlaced=0, size=SIZE):
    """Packed rows as they stand in the file, unfiltered."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, interlaced))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    extra = b"".join(chunk(name, data) for name, data in extra or [])
    return b"\x89PNG\r\n\x1a\n" + header + extra + data + chunk(b"IEND", b"")


def packed(values, depth):
    """Rows of values, `depth` bits each."""
    for row in values:
        bits = "".join(format(int(v), f"0{depth}b") for v in row.reshape(-1))
        bits += "0" * (-len(bits) % 8)
        yield bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def passes(values, depth):
    for x, y, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        part = values[y::dy, x::dx]
        if part.size:
            yield from packed(part, depth)


def pngs():
    rgb = photo()
    grey = rgb[..., 1]
    wide = rgb.astype(int) * 257 - rgb // 3
    alpha = numpy.concatenate([rgb, rgb[..., :1]], -1)
    palette = bytes(numpy.random.default_rng(1).integers(0, 256, 768, dtype=numpy.uint8))
    for depth in (1, 2, 4, 8):
        small = grey >> (8 - depth)
        colours = [(b"PLTE", palette[:3 << depth])]
        yield f"grey-{depth}.png", png(0, depth, packed(small, depth))
        yield f"grey-{depth}-interlaced.png", png(0, depth, passes(small, depth), interlaced=1)
        yield f"palette-{depth}.png", png(3, depth, packed(small, depth), colours)
        yield f"palette-{depth}-transparent.png", png(3, depth, packed(small, depth), colours + [(b"tRNS", b"\0\x80")])
    yield "grey-8-transparent.png", png(0, 8, packed(grey, 8), [(b"tRNS", struct.pack(">H", int(grey[3, 3])))])
    yield "grey-16.png", png(0, 16, packed(wide[..., 1], 16))
    yield "grey-alpha-8.png", png(4, 8, packed(alpha[..., 2:], 8))
    yield "grey-alpha-16.png", png(4, 16, packed(wide[..., :2], 16))
    yield "rgb-8.png", png(2, 8, packed(rgb, 8))
    yield "rgb-8-interlaced.png", png(2, 8, passes(rgb, 8), interlaced=1)
    yield "rgb-8-transparent.png", png(2, 8, packed(rgb, 8), [(b"tRNS", struct.pack(">HHH", *map(int, rgb[2, 2])))])
    yield "rgb-16.png", png(2, 16, packed(wide, 16))
    yield "rgba-8.png", png(6, 8, packed(alpha, 8))
    yield "rgba-8-interlaced.png", png(6, 8, passes(alpha, 8), interlaced=1)
    yield "rgba-16.png", png(6, 16, packed(numpy.concatenate([wide, wide[..., :1]], -1), 16))
    yield "gamma.png", png(2, 8, packed(rgb, 8), [(b"gAMA", struct.pack(">I", 45455))])
    yield "orientation-6.png", saved(PHOTO, "PNG", exif=exif(6))
    yield "animated.png", saved(PHOTO, "PNG", save_all=True, append_images=[ImageOps.mirror(PHOTO)])
    yield "palette-too-short.png", png(3, 8, packed(grey, 8), [(b"PLTE", palette[:60])])
    plain = saved(PHOTO, "PNG")
    yield "cut.png", plain[:-60]
    yield "wrong-sum.png", plain[:-20] + bytes([plain[-20] ^ 255]) + plain[-19:]


def others():
    palette = PHOTO.quantize(16)
    yield "palette.gif", saved(palette, "GIF")
    yield "interlaced.gif", saved(palette, "GIF", interlace=1)
    yield "transparent.gif", saved(palette, "GIF", transparency=3)
    yield "grey.gif", saved(PHOTO.convert("L"), "GIF")
    yield "animated.gif", saved(palette, "GIF", save_all=True, append_images=[ImageOps.mirror(palette)], duration=9)
    gif = bytearray(saved(palette, "GIF"))
    gif[6:10] = struct.pack("<HH", 30, 20)
    yield "smaller-than-its-screen.gif", bytes(gif)
    yield "cut.gif", saved(palette, "GIF")[:-80]
    for name, image in {"1": PHOTO.convert("1"), "grey-8": PHOTO.convert("L"), "palette-8": palette,
                        "24": PHOTO, "32": PHOTO.convert("RGBA")}.items():
        yield f"{name}.bmp", saved(image, "BMP")
    yield "4.bmp", bmp(4, list(packed(numpy.asarray(palette), 4)), palette.getpalette()[:48])
    five = [((r >> 3) << 10 | (g >> 3) << 5 | b >> 3) for r, g, b in photo().reshape(-1, 3).astype(int)]
    rows = [struct.pack("<23H", *five[i * 23:i * 23 + 23]) for i in range(17)]
    yield "16.bmp", bmp(16, rows)
    yield "16-565.bmp", bmp(16, rows, masks=(0xf800, 0x7e0, 0x1f))
    yield "rle-8.bmp", bmp(8, [b"\x17" + bytes([y]) + b"\0\0" for y in range(16)] + [b"\x17\x03\0\1"],
                           palette.getpalette()[:48], 1)
    yield "top-down.bmp", bmp(24, [row[:, ::-1].tobytes() for row in photo()], height=-17)
    yield "cut.bmp", saved(PHOTO, "BMP")[:-200]
    yield "lossy.webp", saved(PHOTO, "WEBP", quality=80)
    yield "lossless.webp", saved(PHOTO, "WEBP", lossless=True)
    alpha = PHOTO.copy()
    alpha.putalpha(PHOTO.getchannel("R"))
    yield "alpha.webp", saved(alpha, "WEBP", lossless=True, exact=True)
    yield "lossy-alpha.webp", saved(alpha, "WEBP", quality=80)
    yield "animated.webp", saved(PHOTO, "WEBP", save_all=True, append_images=[ImageOps.mirror(PHOTO)], lossless=True)
    yield "orientation-6.webp", saved(PHOTO, "WEBP", exif=exif(6), lossless=True)
    yield "cut.webp", saved(PHOTO, "WEBP", lossless=True)[:-80]
    yield "rgb.qoi", saved(PHOTO, "QOI")
    yield "rgba.qoi", saved(alpha, "QOI")


def bmp(depth, rows, palette=(), compression=0, masks=(), height=17):
    colours = b"".join(bytes([b, g, r, 0]) for r, g, b in zip(*[iter(palette)] * 3))
    colours += b"".join(struct.pack("<I", mask) for mask in masks)
    compression = 3 if masks else compression
    data = b"".join(row if compression == 1 else row + bytes(-len(row) % 4) for row in rows)
    start = 54 + len(colours)
    header = struct.pack("<IiiHHIIiiII", 40, 23, height, 1, depth, compression, len(data), 0, 0, len(palette) // 3, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + colours + data


def tiff(data, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, data, metadata=None, software=None, **options)
    return out.getvalue()


def tiffs():
    rgb = photo()
    wide = rgb.astype(numpy.uint16) * 257
    for name, compression in {"plain": None, "lzw": "tiff_lzw", "deflate": "tiff_adobe_deflate",
                              "packbits": "packbits", "jpeg": "jpeg"}.items():
        yield f"{name}.tif", saved(PHOTO, "TIFF", compression=compression)
    yield "bilevel.tif", saved(PHOTO.convert("1"), "TIFF")
    yield "bilevel-group4.tif", saved(PHOTO.convert("1"), "TIFF", compression="group4")
    yield "bilevel-group3.tif", saved(PHOTO.convert("1"), "TIFF", compression="group3")
    yield "grey.tif", saved(PHOTO.convert("L"), "TIFF")
    yield "grey-16.tif", tiff(wide[..., 1], photometric="minisblack")
    yield "white-is-zero.tif", tiff(rgb[..., 1], photometric="miniswhite")
    yield "palette.tif", saved(PHOTO.quantize(16), "TIFF")
    yield "cmyk.tif", saved(INKS, "TIFF")
    yield "ycc.tif", saved(PHOTO.convert("YCbCr"), "TIFF")
    yield "lab.tif", saved(Image.merge("LAB", PHOTO.split()), "TIFF")
    yield "rgba.tif", saved(PHOTO.convert("RGBA"), "TIFF")
    yield "rgb-16.tif", tiff(wide, photometric="rgb")
    yield "float.tif", tiff(rgb[..., 1].astype(numpy.float32) / 255, photometric="minisblack")
    yield "tiles.tif", tiff(rgb, photometric="rgb", tile=(16, 16))
    yield "strips.tif", tiff(rgb, photometric="rgb", rowsperstrip=5)
    yield "planar.tif", tiff(numpy.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate")
    yield "big-endian.tif", tiff(rgb, photometric="rgb", byteorder=">")
    yield "big-endian-16.tif", tiff(wide, photometric="rgb", byteorder=">")
    yield "bigtiff.tif", tiff(rgb, photometric="rgb", bigtiff=True)
    yield "predictor.tif", saved(PHOTO, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    for orientation in (3, 6):
        yield f"orientation-{orientation}.tif", saved(PHOTO, "TIFF", tiffinfo={274: orientation})
    yield "two-pages.tif", saved(PHOTO, "TIFF", save_all=True, append_images=[ImageOps.mirror(PHOTO)])
    yield "cut.tif", tiff(rgb, photometric="rgb")[:-200]


def anymaps():
    rgb, grey = photo(), photo()[..., 1]
    bits = grey > 128
    text = lambda values: " ".join(str(int(v)) for v in values.reshape(-1)).encode()
    yield "p1.pbm", b"P1\n# a comment\n23 17\n" + text(bits)
    yield "p2.pgm", b"P2\n23 17\n255\n" + text(grey)
    yield "p3.ppm", b"P3\n23 17\n255\n" + text(rgb)
    yield "p4.pbm", b"P4\n23 17\n" + b"".join(packed(bits, 1))
    yield "p5.pgm", b"P5\n23 17\n255\n" + grey.tobytes()
    yield "p5-16.pgm", b"P5\n23 17\n65535\n" + (grey.astype(">u2") * 257).tobytes()
    yield "p5-100.pgm", b"P5\n23 17\n100\n" + (grey // 3).tobytes()
    yield "p6.ppm", b"P6\n23 17\n255\n" + rgb.tobytes()
    yield "p6-16.ppm", b"P6\n23 17\n65535\n" + (rgb.astype(">u2") * 257).tobytes()
    yield "p7.pam", b"P7\nWIDTH 23\nHEIGHT 17\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + rgb.tobytes()
    yield "cut.ppm", b"P6\n23 17\n255\n" + rgb.tobytes()[:-100]


# What Pillow refuses and is read, or sees otherwise on purpose (16-bit grey, of which Pillow shows
# all but the darkest 255 as white), shows what another image shows.
SHOWS = {"p7.pam": "p6.ppm", "luma-22-chroma-22.jpg": "444.jpg", "grey-16.png": "grey-8.png",
         "grey-16.tif": "grey-8.png", "p5-16.pgm": "grey-8.png"}


def seen(data):
    """What Pillow sees, or why it sees nothing."""
    try:
        image = Image.open(io.BytesIO(data))
        return ImageOps.exif_transpose(image).convert("RGB"), None
    except Exception as error:  # whatever it is, it is no picture
        return None, error


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    files = dict(pair for make in (jpegs, pngs, others, tiffs, anymaps) for pair in make())
    for name, data in files.items():
        image, error = seen(files[SHOWS.get(name, name)])
        (out / name).write_bytes(data)
        if image:
            image.save(out / f"{name}.png", optimize=True)
        else:
            print(f"{name}: {error}")


if __name__ == "__main__":
    main()
