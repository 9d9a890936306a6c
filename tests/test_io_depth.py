"""TIFFs of every depth, format, layout and byte order, packed here by hand from the standard (TIFF 6.0); profiles in
every mode; what belongs to a file stays, whoever decodes its pixels."""
import importlib.util
import itertools
import random
import struct
import zlib
from io import BytesIO
from unittest.mock import patch

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin, features
from skimage.color import rgb2lab

from colorize_nb.io import tiff
from colorize_nb.io.files import check_pictures, read_whole
from colorize_nb.io.image import LIMITS, PictureError
from colorize_nb.io.metadata import Metadata
from colorize_nb.io.read import open_pages, open_picture, read_colours
from colorize_nb.train.store import read_small

H, W = 19, 37
UP = np.tile(np.linspace(0, 1, W), (H, 1)) # shares of white
SHARES = [UP, UP[:, ::-1], np.tile(np.linspace(0, 1, H)[:, None], (1, W))] # red, green, blue
ALPHA = np.tile(np.linspace(.2, 1, H)[:, None], (1, W))
OTHER = np.tile(np.linspace(0, .02, W), (H, 1)) # nearly black: infrared of a clean film

# ---------- a writer of TIFF, with nothing but the standard

def stored(share, bits, kind):
    "Whole numbers or floats that stand for shares of white, and the shares that they really are"
    if kind == 'f': return share, {16: np.float16, 24: np.float32}.get(bits, np.float32)(share).astype(float)
    top = 2**(bits - (kind == 'p')) - 1 # p: signed, from zero upwards
    v = np.round(share.astype(np.longdouble)*top).astype(object)
    v = np.array([int(o) for o in v.ravel()], object).reshape(share.shape)
    real = (v/top).astype(float)
    return (v - 2**(bits - 1) if kind == 'i' else v), real

def float24(x):
    "Sign, 7 bits of exponent with 63 added, 16 bits of fraction"
    if not x: return 0
    fraction, power = np.frexp(x) # fraction in [.5, 1)
    power += 62
    if power < 1: return 0
    return (int(power) << 16) + round((fraction*2 - 1)*65536)

def number(v, bits, kind, order):
    "A sample as a whole number without sign, and as bytes if it has whole ones"
    if kind == 'f': return float24(v).to_bytes(3, order) if bits == 24 else struct.pack(('<' if order == 'little' else
        '>') + {16: 'e', 32: 'f', 64: 'd'}[bits], v)
    v = int(v) & (1 << bits) - 1
    return v.to_bytes(bits//8, order) if bits in (8, 16, 24, 32, 64) else v

def row(samples, bits, kind, order):
    "The bytes of a row of samples"
    numbers = [number(v, bits, kind, order) for v in samples]
    if isinstance(numbers[0], bytes): return b''.join(numbers)
    text = ''.join(f'{v:0{bits}b}' for v in numbers)
    text += '0'*(-len(text)%8)
    return int(text, 2).to_bytes(len(text)//8, 'big')

def make(planes, bits, kind, photometric, order='<', big=False, extra=(), planar=False, segment=None, tiled=False,
    packed=False, fill=1, tags=()):
    "A TIFF of planes (h,w) of stored values"
    endian = 'little' if order == '<' else 'big'
    a = np.stack([np.asarray(p, object) for p in planes], -1)
    h, w, c = a.shape
    seg_w, seg_h = segment or (w, h)
    parts = []
    for some in ([a[..., i:i + 1] for i in range(c)] if planar else [a]):
        for t, l in itertools.product(range(0, h, seg_h), range(0, w, seg_w)):
            piece = some[t:t + seg_h, l:l + seg_w]
            if tiled: piece = np.pad(piece, [(0, seg_h - len(piece)), (0, seg_w - piece.shape[1]), (0, 0)])
            data = b''.join(row(r.ravel(), bits, kind, endian) for r in piece)
            if fill == 2: data = bytes(int(f'{b:08b}'[::-1], 2) for b in data)
            parts.append(zlib.compress(data) if packed else data)
    head = (b'II' if order == '<' else b'MM') + struct.pack(order + ('HHHQ' if big else 'HI'), *((43, 8, 0, 0) if big
        else (42, 0)))
    data, places = b'', []
    for p in parts:
        places.append(len(head) + len(data))
        data += p + bytes(len(p)%2)
    form = {'u': 1, 'i': 2, 'p': 2, 'f': 3}[kind]
    entries = {256: (4, [w]), 257: (4, [h]), 258: (3, [bits]*c), 259: (3, [8 if packed else 1]),
        262: (3, [photometric]), 266: (3, [fill]), 277: (3, [c]), 284: (3, [2 if planar else 1]), 339: (3, [form]*c)}
    if extra: entries[338] = 3, list(extra)
    entries |= {322: (4, [seg_w]), 323: (4, [seg_h]), 324: (4, places), 325: (4, list(map(len, parts)))} if tiled else {
        273: (4, places), 278: (4, [seg_h]), 279: (4, list(map(len, parts)))}
    entries |= dict(tags)
    codes, room, table = {2: 's', 3: 'H', 4: 'I', 5: 'I', 7: 's', 11: 'f', 12: 'd'}, 8 if big else 4, b''
    for tag, (type, values) in sorted(entries.items()):
        n = len(values)
        value = values if isinstance(values, bytes) else struct.pack(f'{order}{n}{codes[type]}', *values)
        if len(value) > room:
            at = len(head) + len(data)
            data += value + bytes(len(value)%2)
            value = struct.pack(order + ('Q' if big else 'I'), at)
        table += struct.pack(order + ('HHQ' if big else 'HHI'), tag, type, n//2 if type == 5 else n) + value.ljust(room,
            b'\0')
    at = len(head) + len(data)
    head = head[:-8] + struct.pack(order + 'Q', at) if big else head[:-4] + struct.pack(order + 'I', at)
    return head + data + struct.pack(order + ('Q' if big else 'H'), len(entries)) + table + bytes(8 if big else 4)

# ---------- depth, format, layout, order

DEPTHS = [*(('u', b) for b in (*range(1, 17), 24, 32, 64)), *(('i', b) for b in (4, 8, 12, 16, 24, 32)), ('p', 8),
    ('p', 16), ('p', 32), *(('f', b) for b in (16, 24, 32, 64))]
EXTRAS = [(), (0,), (1,), (2,), (0, 0), (0, 2), (1, 0), (0, 0, 2, 0)]
LAYOUTS = [dict(), dict(segment=(W, 4)), dict(segment=(16, 16), tiled=True), dict(packed=True),
    dict(packed=True, segment=(W, 5)), dict(packed=True, segment=(16, 32), tiled=True)]

def cases():
    "All cases: depth x photometric x extra channels x planar x strips, tiles, deflate x order x classic or big"
    for (kind, bits), photometric, extra, planar, layout, order, big in itertools.product(DEPTHS, (0, 1, 2), EXTRAS,
        (False, True), LAYOUTS, '<>', (False, True)):
        if planar and photometric < 2 and not extra: continue # one plane
        if 1 in extra and (kind != 'u' or bits < 8 or photometric == 0): continue # see test_premultiplied
        yield kind, bits, photometric, extra, planar, layout, order, big

def check(kind, bits, photometric, extra, planar, layout, order, big):
    "One case: what comes out is what was put in"
    n = 3 if photometric == 2 else 1
    shares, alpha = SHARES[:n], next((i for i, e in enumerate(extra) if e), None)
    if alpha is not None and extra[alpha] == 1: seen = [s*ALPHA for s in shares]
    else: seen = [1 - s for s in shares] if photometric == 0 else shares
    planes, real = zip(*(stored(s, bits, kind) for s in seen))
    others, real_others = zip(*(stored(ALPHA if i == alpha else OTHER, bits, kind) for i in range(len(extra)))
        ) if extra else ((), ())
    data = make([*planes, *others], bits, kind, photometric, order, big, extra, planar, **layout)
    p = open_picture(data, 'x')
    real = [1 - r for r in real] if photometric == 0 else list(real)
    a = None if alpha is None else real_others[alpha]
    if alpha is not None and extra[alpha] == 1: real = [np.minimum(r/a, 1) for r in real]
    want = rgb2lab(np.stack(real*(3 if n == 1 else 1), -1))[..., 0]
    # half a step of 8 bits is .2 of L*; of 16 bits nothing, beside scikit-image's rounded matrix; floats of 16 and 24
    # bits are rounded when they are written
    eight = bits <= 8 and kind != 'f'
    eps = .25 if eight else .06 if kind == 'f' and bits < 32 else .02
    if alpha is not None and extra[alpha] == 1: eps *= 2 # the quotient is rounded once more
    assert np.abs(p.lightness() - want).max() < eps
    assert p.bits == (8 if eight else 16)
    assert (p.alpha is None) == (a is None)
    if a is not None: assert np.abs(p.alpha/(255 if eight else 65535) - a).max() < (1/255 if eight else 1/4000)
    assert any('neither colour nor transparency' in o for o in p.notes) == (len(extra) > (alpha is not None)), p.notes
    assert any('none of them below zero' in o for o in p.notes) == (kind == 'p')
    assert any('signed samples' in o for o in p.notes) == (kind in 'ip')
    if n == 3: # passed on as they are, they are the same colours
        got = np.asarray(read_colours(data, p), float)[..., :3]/(255 if eight else 65535)
        assert np.abs(got - np.stack(real, -1)).max() < (2/255 if eight else 1/4000)

def some(n, seed=0):
    "A part of the campaign in which each value of each axis occurs"
    every = list(cases())
    random.Random(seed).shuffle(every)
    return every[:n]

def failures(chosen):
    "The cases that fail, with the reason"
    res = []
    for case in chosen:
        try: check(*case)
        except (AssertionError, PictureError, ValueError, TypeError, IndexError) as e: res.append((case, repr(e)[:200]))
    return res

def test_samples():
    "A share of the campaign"
    chosen = some(250)
    assert {c[:2] for c in chosen} == set(DEPTHS) and {c[3] for c in chosen} == set(EXTRAS)
    assert not failures(chosen)

@pytest.mark.slow
@pytest.mark.parametrize('part', range(4))
def test_many_samples(part):
    "A quarter of all 28,000 cases"
    chosen = some(7000, 1)[part::4]
    assert len(chosen) == 1750
    bad = failures(chosen)
    assert not bad, (len(bad), bad[:5])

def test_training_and_evaluation_see_the_same():
    "Both read 8 bits, over white; a premultiplied sample is divided first, which here nearly comes to the same"
    for kind, bits, photometric, extra, planar, layout, order, big in some(90, seed=5):
        n = 3 if photometric == 2 else 1
        seen = [1 - s for s in SHARES[:n]] if photometric == 0 else SHARES[:n]
        planes, real = zip(*(stored(s, bits, kind) for s in seen))
        real = np.stack([1 - r for r in real] if photometric == 0 else real, -1)
        alpha = next((i for i, e in enumerate(extra) if e), None)
        if alpha is not None and extra[alpha] == 1: continue # see test_premultiplied
        others, shares = zip(*(stored(ALPHA if i == alpha else OTHER, bits, kind) for i in range(len(extra)))
            ) if extra else ((), ())
        data = make([*planes, *others], bits, kind, photometric, order, big, extra, planar, **layout)
        a = 1 if alpha is None else shares[alpha][..., None]
        want = real*a + 1 - a
        for got in read_whole(data), read_small(data, H, 2.):
            # one rounding of a colour, one of alpha, one of their product
            assert np.abs(got/255 - want).max() < 2.5/255, (kind, bits, photometric, extra, planar, layout, order, big)

def test_training_calls_no_good_file_broken(tmp_path):
    rng = np.random.default_rng(0)
    files = {'12.tif': make([rng.integers(0, 4096, (9, 9)) for _ in range(3)], 12, 'u', 2),
        'complex.tif': make([np.zeros((9, 9), int)]*3, 8, 'u', 2, tags={339: (3, [5]*3)})}
    for name, data in files.items(): (tmp_path/name).write_bytes(data)
    good, ((path, why),) = check_pictures([tmp_path/f for f in files])
    assert good == [tmp_path/'12.tif'] and why.startswith('not read:') and 'complex' in why and 'broken' not in why

@pytest.mark.parametrize('packed', [False, True])
def test_tiles_whose_places_are_called_strips(packed):
    "Tiles by their size, with StripOffsets and StripByteCounts (libtiff's sample cramps-tile.tif has them so)"
    planes = [stored(UP, 8, 'u')[0]]
    data = make(planes, 8, 'u', 1, segment=(16, 16), tiled=True, packed=packed)
    for old, new in (324, 273), (325, 279):
        entry = struct.pack('<HHI', old, 4, 6) # 3 tiles across, 2 down
        assert data.count(entry) == 1
        data = data.replace(entry, struct.pack('<HHI', new, 4, 6))
    want = planes[0].astype(np.uint8)
    assert np.array_equal(open_picture(data).gray, want) and np.array_equal(read_whole(data)[..., 0], want)

def test_twelve_bits_by_hand():
    "TIFF 6.0: two samples of 12 bits in three bytes, high bits first, in both byte orders; white is 4095"
    for order in '<>':
        data = make([[[0xFFF, 0x800, 0]]], 12, 'u', 1, order)
        assert bytes([0xFF, 0xF8, 0x00, 0x00, 0x00]) in data
        assert open_picture(data).gray.tolist() == [[65535, round(0x800*65535/4095), 0]]

@pytest.mark.parametrize('bits', [1, 2, 4, 12])
def test_lowest_bit_first(bits):
    "FillOrder 2"
    planes = [stored(UP, bits, 'u')[0]]
    one, two = (open_picture(make(planes, bits, 'u', 1, fill=f)) for f in (1, 2))
    assert np.array_equal(one.gray, two.gray)

@pytest.mark.parametrize('bits', [1, 2, 4, 8])
@pytest.mark.parametrize('old', [False, True], ids=['16 bits', '8 bits'])
def test_palette(bits, old):
    "ColorMap: all reds, all greens, all blues, of 16 bits; old programs wrote 8"
    rng = np.random.default_rng(bits)
    table = rng.integers(0, 256, (3, 2**bits))
    index = rng.integers(0, 2**bits, (H, W))
    for extra, others in [((), []), ((2,), [np.full((H, W), 2**bits - 1)])]:
        data = make([index, *others], bits, 'u', 3, extra=extra, tags={320: (3, (table*(1 if old else 257)).ravel(
            ).tolist())})
        p = open_picture(data)
        rgb = table.T[index]
        assert np.abs(p.lightness() - rgb2lab(rgb/255)[..., 0]).max() < .02
        assert (p.alpha is not None) == bool(extra)
        assert np.array_equal(np.asarray(read_colours(data, p))[..., :3], rgb)

@pytest.mark.parametrize('predictor', [2, 3])
@pytest.mark.parametrize('order', '<>')
def test_differences(predictor, order):
    "By another program's encoder where there is one: tifffile's for whole numbers; floats by hand (technical note 3)"
    if predictor == 2:
        for dtype in (np.uint8, np.uint16, np.uint32):
            a = np.round(np.dstack(SHARES)*np.iinfo(dtype).max).astype(dtype)
            tifffile.imwrite(f := BytesIO(), a, photometric='rgb', compression='zlib', predictor=True, byteorder=order)
            p = open_picture(f.getvalue())
            off = np.abs(p.lightness() - rgb2lab(np.dstack(SHARES))[..., 0]).max()
            assert off < (.25 if dtype == np.uint8 else .02)
        return
    lines = b''
    for line in UP.astype('>f4'):
        b = np.frombuffer(line.tobytes(), np.uint8).reshape(W, 4).T.ravel() # the highest bytes of all samples first
        lines += np.diff(b, prepend=np.uint8(0)).astype(np.uint8).tobytes()
    plain = b''.join(row(r, 32, 'f', 'little' if order == '<' else 'big') for r in UP)
    data, old, new = make([UP], 32, 'f', 1, order, packed=True), zlib.compress(plain), zlib.compress(lines)
    assert old in data and len(new) <= len(old)
    data = data.replace(old, new.ljust(len(old), b'\0'))
    at = data.index(struct.pack(order + 'HHIHH', 266, 3, 1, 1, 0)) # the entry of FillOrder becomes Predictor's
    p = open_picture(data[:at] + struct.pack(order + 'HHIHH', 317, 3, 1, 3, 0) + data[at + 12:])
    assert np.abs(p.lightness() - rgb2lab(np.dstack([UP]*3))[..., 0]).max() < .02

@pytest.mark.parametrize('compression', ['tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'lzma', 'zstd'])
def test_compressions(compression):
    "libtiff's own encoders, by a gray picture as wide as 12-bit rows have bytes"
    data = b''.join(row(r, 12, 'u', 'big') for r in stored(UP, 12, 'u')[0])
    as_bytes = Image.fromarray(np.frombuffer(data, np.uint8).reshape(H, -1))
    as_bytes.save(f := BytesIO(), 'TIFF', compression=compression, tiffinfo={339: 1})
    f.seek(0)
    with tifffile.TiffFile(f, mode='r+') as t:
        t.pages[0].tags['ImageWidth'].overwrite(W)
        t.pages[0].tags['BitsPerSample'].overwrite(12)
    assert np.abs(open_picture(f.getvalue()).lightness() - rgb2lab(np.dstack([UP]*3))[..., 0]).max() < .05

def test_premultiplied():
    "The associated alpha of floats and signed samples, and transparent pixels that keep a colour"
    for kind, bits in [('f', 32), ('i', 16)]:
        data = make([stored(UP*ALPHA, bits, kind)[0], stored(ALPHA, bits, kind)[0]], bits, kind, 1, extra=(1,))
        assert np.abs(open_picture(data).lightness() - rgb2lab(np.dstack([UP]*3))[..., 0]).max() < .05
    p = open_picture(make([[[7, 100, 60]], [[0, 50, 120]]], 8, 'u', 1, extra=(1,)))
    assert p.gray.tolist() == [[0, 255, 128]] and p.alpha.tolist() == [[0, 50, 120]] # 60*255/120 is 127.5

@pytest.mark.parametrize('top', [3, 20, 300, 4095, 9999, 16383, 1e6, float('nan'), float('inf')])
def test_unknown_white(top):
    "Floats whose white cannot be known are refused, not guessed"
    planes = [np.where(UP > .9, top, UP)]
    with pytest.raises(PictureError, match='scale them to'): open_picture(make(planes, 32, 'f', 1))

@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('kind', [11, 12], ids=['float', 'double'])
def test_range_that_a_file_states(kind, channels):
    "SMinSampleValue and SMaxSampleValue (TIFF 6.0, section 19), one of each channel"
    planes = [200 + 3800*o for o in SHARES[:channels]]
    def tag(v): return kind, [v]*channels
    def data(low, high): return make(planes, 32, 'f', 1 if channels == 1 else 2, tags={340: tag(low), 341: tag(high)})
    p = open_picture(data(200, 4000), 'x')
    want = rgb2lab(np.stack(SHARES if channels == 3 else [UP]*3, -1))[..., 0]
    assert np.abs(p.lightness() - want).max() < .02
    assert p.notes == ('x states its range: 200 is black, 4000 is white',)
    for low, high in [(0, 1), (-3.4e38, 3.4e38), (4000, 200), (0, float('nan')), (0, 1e5)]: # said, but not of these
        with pytest.raises(PictureError, match='scale them to'): open_picture(data(low, high), 'x')

# ---------- luma and colour differences

def ycbcr(planes, across, down, planar=False, segment=None, tiled=False, packed=False, order='<', big=False, tags=()):
    "A TIFF of Y (h,w), Cb and Cr (h/down,w/across): in units, or plane after plane (TIFF 6.0, section 21)"
    y, h, w = planes[0], *planes[0].shape
    w2, h2 = -(-w//across), -(-h//down)
    full = {256: (4, [w]), 257: (4, [h]), 258: (3, [8]*3), 277: (3, [3]), 284: (3, [2 if planar else 1]),
        339: (3, [1]*3), 530: (3, [across, down])}
    if planar: # three pictures of one strip each, whose data are put behind one another
        parts = [zlib.compress(o.tobytes()) if packed else o.tobytes() for o in planes]
        places = [8 + sum(map(len, parts[:i])) for i in range(3)]
        return make([np.frombuffer(b''.join(parts), np.uint8)[None]], 8, 'u', 6, order, tags=full | {
            259: (3, [8 if packed else 1]), 273: (4, places), 278: (4, [h]), 279: (4, list(map(len, parts)))})
    padded = np.pad(y, [(0, h2*down - h), (0, w2*across - w)], mode='edge')
    units = [padded[i::down, j::across] for i in range(down) for j in range(across)] + list(planes[1:])
    seg_w, seg_h = segment or (w, h)
    full |= {322: (4, [seg_w]), 323: (4, [seg_h])} if tiled else {278: (4, [seg_h])}
    return make(units, 8, 'u', 6, order, big, segment=(-(-seg_w//across), -(-seg_h//down)), tiled=tiled, packed=packed,
        tags=full | dict(tags))

def fraction(*v): return 5, [o for x in v for o in (round(x*10_000), 10_000)]

CODINGS = dict(silent=((.299, .587, .114), (0, 255, 128, 255, 128, 255), {}),
    video=((.299, .587, .114), (16, 235, 128, 240, 128, 240), {532: fraction(16, 235, 128, 240, 128, 240)}),
    whole=((.299, .587, .114), (16, 235, 128, 240, 128, 240), {532: (4, [16, 235, 128, 240, 128, 240])}),
    rec709=((.2126, .7152, .0722), (0, 255, 128, 255, 128, 255), {529: fraction(.2126, .7152, .0722)}))

def coded(size, across, down, seed=0):
    "Planes of soft noise"
    w, h = size
    rng = np.random.default_rng(seed)
    y = rng.integers(40, 200, (h, w), dtype=np.uint8)
    return y, *rng.integers(100, 157, (2, -(-h//down), -(-w//across)), dtype=np.uint8)

def red_green_blue(planes, across, down, luma, reference):
    "The formulas of TIFF 6.0, section 21, where a colour difference stands for all of its pixels"
    h, w = planes[0].shape
    wide = [planes[0]] + [np.repeat(np.repeat(o, down, 0), across, 1)[:h, :w] for o in planes[1:]]
    y, cb, cr = ((o.astype(float) - reference[2*i])*(127 if i else 255)/(reference[2*i + 1] - reference[2*i])
        for i, o in enumerate(wide))
    r, b = cr*(2 - 2*luma[0]) + y, cb*(2 - 2*luma[2]) + y
    return np.clip(np.stack([r, (y - luma[2]*b - luma[0]*r)/luma[1], b], -1), 0, 255)

SHARED = [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (1, 2)]

@pytest.mark.parametrize('coding', CODINGS)
@pytest.mark.parametrize('across, down', SHARED)
def test_ycbcr(across, down, coding):
    "What is not compressed: in strips and tiles, both orders, classic and big, and plane after plane"
    luma, reference, tags = CODINGS[coding]
    planes = coded((W, H), across, down)
    want = red_green_blue(planes, across, down, luma, reference)
    for kw in [{}, dict(segment=(W, 8)), dict(segment=(16, 16), tiled=True), dict(order='>'), dict(big=True)]:
        data = ycbcr(planes, across, down, tags=tags, **kw)
        p = open_picture(data, 'x')
        assert np.abs(np.asarray(read_colours(data, p), float) - want).max() <= .51, kw
        assert np.abs(p.lightness() - rgb2lab(want/255)[..., 0]).max() < .7 and p.notes == () and p.bits == 8
        assert np.array_equal(read_whole(data), np.asarray(read_colours(data, p))) # as training reads it

@pytest.mark.parametrize('across, down', [o for o in SHARED if o != (4, 4)]) # libtiff 4.7 loses the last rows there
def test_ycbcr_as_libtiff_has_it(across, down):
    "Deflated, libtiff converts it for Pillow; it rounds to whole values more than once"
    for size in (W, H), (32, 32):
        for coding in 'silent', 'video', 'rec709':
            planes, tags = coded(size, across, down, 1), CODINGS[coding][2]
            packed, plain = (ycbcr(planes, across, down, tags=tags, packed=o) for o in (True, False))
            other = np.asarray(Image.open(BytesIO(packed)).convert('RGB'), float)
            for data in packed, plain:
                got = np.asarray(read_colours(data, open_picture(data, 'x')), float)
                assert np.abs(got - other).max() <= (3 if coding == 'video' else 1), (size, coding)

@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('across, down', SHARED)
def test_ycbcr_plane_after_plane(across, down, packed):
    planes = coded((W, H), across, down, 2)
    data = ycbcr(planes, across, down, planar=True, packed=packed)
    got = np.asarray(read_colours(data, open_picture(data, 'x')), float)
    luma, reference, _ = CODINGS['silent']
    assert np.abs(got - red_green_blue(planes, across, down, luma, reference)).max() <= (1 if packed else .51)

@pytest.mark.parametrize('tags', [{530: (3, [3, 1])}, {530: (3, [0, 0])}, {529: fraction(1, 1, 1)},
    {529: (5, [1, 0, 1, 0, 1, 0])}, {532: fraction(0, 0, 0, 0, 0, 0)}, {532: (3, [0, 255])}, {278: (4, [7])}])
def test_ycbcr_that_cannot_be(tags):
    data = ycbcr(coded((W, H), 2, 2), 2, 2, tags=tags)
    with pytest.raises(PictureError, match='YCbCr channels with 8 bits, not compressed, which is not read: convert it'):
        open_picture(data, 'x')

@pytest.mark.parametrize('kind', 'up')
def test_sixteen_bits_in_thirty_two(kind):
    "Pillow's and NumPy's users store such: by the standard all of it is black, which nobody means"
    data = make([np.full((3, 4), 40_000)], 32, kind, 1)
    with pytest.raises(PictureError, match='up to 40000, where white is .*to 16 bits'): open_picture(data, 'x')
    assert open_picture(make([np.zeros((3, 4), int)], 32, 'u', 1), 'x').lightness().max() == 0

def test_overshoot():
    "A resampled picture exceeds white a little: it is clipped, and said"
    p = open_picture(make([UP*1.04], 32, 'f', 1))
    assert 'clipped' in p.notes[0]
    assert np.abs(p.lightness() - rgb2lab(np.dstack([np.minimum(UP*1.04, 1)]*3))[..., 0]).max() < .02

def test_pillow_image_of_a_file():
    "A TIFF that somebody opened with Pillow is as light as its path"
    for kind, bits in [('u', 12), ('i', 8), ('u', 16), ('p', 16), ('u', 32)]:
        data = make([stored(UP, bits, kind)[0]], bits, kind, 1)
        for load in (False, True):
            if load and (kind, bits) == ('i', 8): continue # Pillow keeps no trace of the sign
            im = Image.open(BytesIO(data))
            if load: im.load()
            assert np.abs(open_picture(im).lightness() - open_picture(data).lightness()).max() < .01

@pytest.mark.parametrize('photometric,bits,kind,word', [(8, 16, 'u', 'Lab'), (1, 128, 'u', '128'), (2, 8, 'f', 'RGB')])
def test_one_true_sentence(photometric, bits, kind, word):
    planes = [np.zeros((2, 3), int)]*(1 if photometric == 1 else 3)
    data = make(planes, 8 if bits == 128 else bits, 'u', photometric, tags={258: (3, [bits]*len(planes)),
        339: (3, [3 if kind == 'f' else 1]*len(planes))})
    with pytest.raises(PictureError, match='is a TIFF of .*which is not read: convert it') as e: open_picture(data, 'x')
    assert word in str(e.value) and 'broken' not in str(e.value)

# ---------- what belongs to the file

def linear_profile(space):
    "ICC.1:2010: a profile of light itself, for gray or for sRGB's primaries"
    def s15(*v): return struct.pack(f'>{len(v)}i', *(round(o*65536) for o in v))
    tags = {b'wtpt': b'XYZ \0\0\0\0' + s15(.9642, 1, .8249)}
    line = b'curv' + bytes(8)
    if space == b'GRAY': tags[b'kTRC'] = line
    else:
        for c, xyz in zip('rgb', [(.4361, .2225, .0139), (.3851, .7169, .0971), (.1431, .0606, .7141)]):
            tags |= {f'{c}XYZ'.encode(): b'XYZ \0\0\0\0' + s15(*xyz), f'{c}TRC'.encode(): line}
    tags |= {b'desc': b'desc\0\0\0\0\0\0\0\x02x\0' + bytes(78), b'cprt': b'text\0\0\0\0-\0'}
    at, table, data = 132 + 12*len(tags), b'', b''
    for k, v in tags.items():
        v += bytes(-len(v)%4)
        table += struct.pack('>4sII', k, at + len(data), len(v))
        data += v
    head = struct.pack('>I4sI4s4s4s12x4s', at + len(data), b'', 0x02100000, b'mntr', space, b'XYZ ', b'acsp')
    return head.ljust(68, b'\0') + s15(.9642, 1, .8249).ljust(60, b'\0') + struct.pack('>I', len(tags)) + table + data

def encoded(light):
    "sRGB's value of light (IEC 61966-2-1)"
    return np.where(light <= .0031308, 12.92*light, 1.055*np.maximum(light, 1e-9)**(1/2.4) - .055)

GRAYS = np.tile(np.arange(0, 256, 3, dtype=np.uint8), (12, 1))
HUES = np.dstack([np.tile(np.arange(16, 240, 28), (8, 1)), np.tile(np.arange(16, 240, 28)[:, None], (1, 8)),
    np.full((8, 8), 90)]).astype(np.uint8)
RGB_ICC, GRAY_ICC = linear_profile(b'RGB '), linear_profile(b'GRAY')

def saved(im, fmt, **kw):
    im.save(f := BytesIO(), fmt, **kw)
    return f.getvalue()

def palette_of(rgb):
    "The same pixels as a palette"
    colours, index = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    im = Image.fromarray(index.reshape(rgb.shape[:2]).astype(np.uint8)).convert('P')
    im.putpalette(colours.ravel().tolist())
    assert np.array_equal(np.asarray(im.convert('RGB')), rgb)
    return im

def with_gif_profile(data):
    "A GIF with a profile: an application's block behind the palette"
    at = 13 + (3 << (data[10] & 7) + 1)
    parts = b''.join(bytes([len(RGB_ICC[i:i + 255])]) + RGB_ICC[i:i + 255] for i in range(0, len(RGB_ICC), 255))
    return data[:at] + b'!\xff\x0bICCRGBG1012' + parts + b'\0' + data[at:]

def with_gamma(data, gamma):
    "A PNG with gAMA and sRGB's own cHRM"
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    chrm = struct.pack('>8I', 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    return data[:33] + chunk(b'gAMA', struct.pack('>I', round(gamma*1e5))) + chunk(b'cHRM', chrm) + data[33:]

def with_bmp_header(data, size, space, tail=b'', profile=b''):
    "A bitmap whose header is of version 4 or 5 (Microsoft, BITMAPV5HEADER): 108 or 124 bytes"
    pixels = int.from_bytes(data[10:14], 'little')
    head = (data[14:54] + bytes(16) + space + tail).ljust(108, b'\0')
    if size == 124: head += struct.pack('<4I', 4, size + len(data) - 54, len(profile), 0)
    return data[:10] + struct.pack('<II', pixels + size - 40, size) + head[4:] + data[54:] + profile

def with_jp2_profile(data, profile):
    "A JPEG 2000 with a restricted ICC profile (ISO 15444-1, I.5.3.3) instead of a number for its colour space"
    at = data.index(b'jp2h') - 4
    colr = data.index(b'colr', at) - 4
    n, old = (int.from_bytes(data[i:i + 4], 'big') for i in (at, colr))
    new = struct.pack('>I4s3B', 11 + len(profile), b'colr', 2, 0, 0) + profile
    return data[:at] + struct.pack('>I', n - old + len(new)) + data[at + 4:colr] + new + data[colr + old:]

PRIMARIES = (.64, .33), (.3, .6), (.15, .06) # sRGB's
FIXED = [round(v*2**30) for x, y in PRIMARIES for v in (x, y, 1 - x - y)]
LINEAR = struct.pack('<9i3I', *FIXED, *[65536]*3) # with gammas of 1

def palette_tiff(rgb, alpha=False):
    colours, index = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    table = np.zeros((256, 3), int)
    table[:len(colours)] = colours.astype(int)*257
    planes = [index.reshape(rgb.shape[:2])] + [np.full(rgb.shape[:2], 255)]*alpha
    return make(planes, 8, 'u', 3, extra=(2,)*alpha, tags={320: (3, table.T.ravel().tolist()), 34675: (7, RGB_ICC)})

def rgb_files(rgb):
    "The same colours of linear light in every kind of file that holds them: name -> bytes"
    im, p = Image.fromarray(rgb), palette_of(rgb)
    rgba = im.copy()
    rgba.putalpha(255)
    planes, tags, opaque = list(np.moveaxis(rgb, -1, 0)), {34675: (7, RGB_ICC)}, np.full(rgb.shape[:2], 255)
    return {'png': saved(im, 'PNG', icc_profile=RGB_ICC), 'png palette': saved(p, 'PNG', icc_profile=RGB_ICC),
        'png palette, transparent': saved(p, 'PNG', icc_profile=RGB_ICC, transparency=bytes([255]*20)),
        'png palette, gamma': with_gamma(saved(p, 'PNG'), 1), 'png gamma': with_gamma(saved(im, 'PNG'), 1),
        'rgba': saved(rgba, 'PNG', icc_profile=RGB_ICC), 'gif': with_gif_profile(saved(p, 'GIF')),
        'tiff palette': palette_tiff(rgb), 'tiff palette and alpha': palette_tiff(rgb, True),
        'tiff': saved(im, 'TIFF', icc_profile=RGB_ICC),
        'tiff planes': make(planes, 8, 'u', 2, planar=True, tags=tags),
        'tiff floats': make([o/255 for o in planes], 32, 'f', 2, tags=tags),
        'bigtiff MM': make(planes, 8, 'u', 2, '>', True, tags=tags),
        'premultiplied': make([*planes, opaque], 8, 'u', 2, extra=(1,), tags=tags),
        'bmp': with_bmp_header(saved(im, 'BMP'), 124, b'DEBM', profile=RGB_ICC),
        'bmp palette': with_bmp_header(saved(p, 'BMP'), 124, b'DEBM', profile=RGB_ICC),
        'bmp calibrated': with_bmp_header(saved(im, 'BMP'), 108, bytes(4), LINEAR),
        'bmp palette, calibrated': with_bmp_header(saved(p, 'BMP'), 124, bytes(4), LINEAR),
        **({'jp2': with_jp2_profile(saved(im, 'JPEG2000'), RGB_ICC)} if features.check('jpg_2000') else {}),
        'webp': saved(im, 'WEBP', lossless=True, icc_profile=RGB_ICC)}

RGB_FILES = rgb_files(HUES)

@pytest.mark.parametrize('name', RGB_FILES)
def test_profile_of_colours(name):
    "Colours of linear light come out as sRGB's, in colouring and in copying"
    data, want = RGB_FILES[name], encoded(HUES/255)
    p = open_picture(data)
    assert not any('profile' in o for o in p.notes), p.notes
    assert np.abs(p.lightness() - rgb2lab(want)[..., 0]).max() < .5 # littleCMS rounds to 8 bits
    got = np.asarray(read_colours(data, p), float)[..., :3]/(255 if p.bits == 8 else 65535)
    assert np.abs(got - want).max() < 1.6/255
    assert np.abs(read_whole(data)/255 - want).max() < 2/255 # what training and evaluation see: 8 bits

def test_profile_of_ycbcr():
    "YCbCr of a TIFF: its profile is that of the RGB it stands for"
    flat = np.full((16, 16, 3), (64, 120, 200), np.uint8)
    data = saved(Image.fromarray(flat).convert('YCbCr'), 'TIFF', icc_profile=RGB_ICC)
    with Image.open(BytesIO(data)) as im: assert im.mode == 'YCbCr'
    p = open_picture(data)
    assert np.abs(p.lightness() - rgb2lab(encoded(flat/255))[..., 0]).max() < 1 # YCbCr is rounded
    assert np.abs(np.asarray(read_colours(data, p)) - encoded(flat/255)*255).max() < 3

def gray_files():
    im = Image.fromarray(GRAYS)
    deep, la, tags = Image.fromarray(GRAYS.astype(np.uint16)*257), im.convert('LA'), {34675: (7, GRAY_ICC)}
    opaque, v12 = GRAYS*0 + 255, stored(GRAYS/255, 12, 'u')[0]
    return {'L': saved(im, 'PNG', icc_profile=GRAY_ICC), 'LA': saved(la, 'PNG', icc_profile=GRAY_ICC),
        'LA gamma': with_gamma(saved(la, 'PNG'), 1), '16 bits': saved(deep, 'PNG', icc_profile=GRAY_ICC),
        '16 bits gamma': with_gamma(saved(deep, 'PNG'), 1), 'float': make([GRAYS/255], 32, 'f', 1, tags=tags),
        'tiff 16 and infrared': make([GRAYS.astype(int)*257, GRAYS], 16, 'u', 1, extra=(0,), tags=tags),
        'tiff LA': make([GRAYS, opaque], 8, 'u', 1, extra=(2,), tags=tags),
        'tiff 12': make([v12], 12, 'u', 1, tags=tags),
        'white is zero': make([255 - GRAYS], 8, 'u', 0, tags=tags),
        'bmp': with_bmp_header(saved(im, 'BMP'), 124, b'DEBM', profile=GRAY_ICC),
        **({'jp2': with_jp2_profile(saved(im, 'JPEG2000'), GRAY_ICC), 'jp2 of 16 bits': with_jp2_profile(
            saved(deep, 'JPEG2000'), GRAY_ICC)} if features.check('jpg_2000') else {}),
        'float of PIL': saved(Image.fromarray(GRAYS/np.float32(255)), 'TIFF', icc_profile=GRAY_ICC)}

GRAY_FILES = gray_files()

@pytest.mark.parametrize('name', GRAY_FILES)
def test_profile_of_gray(name):
    p = open_picture(GRAY_FILES[name])
    assert np.abs(p.lightness() - rgb2lab(np.dstack([encoded(GRAYS/255)]*3))[..., 0]).max() < .1

def test_a_profile_without_white():
    "Two of its primaries are black, as in a JPEG 2000 of Exiv2: values are taken as they are, and that is said"
    icc = linear_profile(b'RGB ')
    for tag in b'rXYZ', b'gXYZ':
        entry = icc.index(tag)
        at = int.from_bytes(icc[entry + 4:entry + 8], 'big')
        icc = icc[:at + 8] + bytes(12) + icc[at + 20:]
    for im in Image.fromarray(HUES), Image.fromarray(GRAYS), Image.fromarray(GRAYS.astype(np.uint16)*257):
        p, plain = (open_picture(saved(im, 'PNG', **kw), 'x') for kw in (dict(icc_profile=icc), {}))
        assert np.array_equal(p.gray, plain.gray)
        assert any('profile that cannot be used (its primaries together are not white)' in o for o in p.notes)

@pytest.mark.parametrize('gamma', [.4545, 2.2])
def test_gamma_of_a_bitmap(gamma):
    "ImageMagick and bmpsuite write .4545, others 2.2: the values are sRGB's, or nearly, either way"
    ends = [round(v*2**30) for xy in ((.64, .33), (.3, .6), (.15, .06)) for v in (*xy, 1 - sum(xy))]
    head = struct.pack('<IiiHHI20x4I', 108, 8, 1, 1, 24, 0, 0, 0, 0, 0) + bytes(4)
    head += struct.pack('<9i3I', *ends, *[round(gamma*65536)]*3)
    pixels = np.repeat(np.arange(20, 180, 20, dtype=np.uint8), 3)
    data = b'BM' + struct.pack('<I4xI', 14 + 108 + 24, 14 + 108) + head + pixels.tobytes()
    assert np.array_equal(open_picture(data, 'x').plane(), pixels[None, ::3])

@pytest.mark.parametrize('bpp', [8, 16])
@pytest.mark.parametrize('planes', [1, 3])
def test_sgi(bpp, planes):
    "Raw SGI (the SGI Image File Format, 1.00): rows from the bottom, planes one after another, high bytes first"
    a = np.stack([GRAYS]*planes, -1)
    head = struct.pack('>HBBHHHHII', 474, 0, bpp//8, 2 if planes == 1 else 3, *GRAYS.shape[::-1], planes, 0, 255)
    rows = np.moveaxis(a, -1, 0)[:, ::-1].astype('>u2')*257 if bpp == 16 else np.moveaxis(a, -1, 0)[:, ::-1]
    p = open_picture(head.ljust(512, b'\0') + rows.tobytes(), 'x')
    assert np.array_equal(p.gray, GRAYS)
    assert p.notes == (('x has more than 8 bits a channel, of which 8 were read',) if bpp == 16 else ())

def test_lab_and_ink_are_copied_as_they_are_coloured():
    "CIE Lab and ink without Adobe's mark: the colours that are passed on have the lightness of the plane"
    planes = [HUES[..., 0], 120 + HUES[..., 1]//16, 120 + HUES[..., 0]//16]
    lab = Image.merge('LAB', [Image.fromarray(np.ascontiguousarray(o)).resize((64, 64)) for o in planes])
    ink = saved(Image.fromarray(255 - HUES).resize((64, 64)).convert('CMYK'), 'JPEG', quality=100)
    at = ink.index(b'\xff\xee')
    ink = ink[:at] + ink[at + 2 + int.from_bytes(ink[at + 2:at + 4], 'big'):]
    for data in (saved(lab, 'TIFF'), ink):
        p = open_picture(data)
        seen = rgb2lab(np.asarray(read_colours(data, p)))[..., 0]
        assert np.median(np.abs(seen - p.lightness())) < .4 # littleCMS rounds to 8 bits

def described(**kw):
    "A TIFF with a description, an odd resolution, a date and a profile"
    tags = {270: (2, b'Grandmother, 1931\0'), 282: (5, [600, 1]), 283: (5, [1200, 2]), 296: (3, [2]),
        306: (2, b'1931:05:15 17:12:05\0'), 700: (7, XMP), 34675: (7, RGB_ICC)}
    return make(tags=tags, **kw)

XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="album 7"/>'
    b'</rdf:RDF></x:xmpmeta>')
def kept(bits, kind, photometric, **kw):
    "What `make` wants for a picture of such samples"
    shares = SHARES if photometric == 2 else [UP]*(1 + len(kw.get('extra', ())))
    return dict(planes=[stored(s, bits, kind)[0] for s in shares], bits=bits, kind=kind, photometric=photometric, **kw)

KINDS = {'float RGB': kept(32, 'f', 2), '32 bits': kept(32, 'u', 2), 'big MM': kept(8, 'u', 2, order='>', big=True),
    'gray and more': kept(16, 'u', 1, extra=(0,)), '12 bits': kept(12, 'u', 1, order='>'),
    'planes': kept(16, 'u', 2, planar=True), 'usual': kept(8, 'u', 1)}

@pytest.mark.parametrize('name', KINDS)
def test_nothing_is_lost(name, tmp_path):
    "Description, date, resolution and XMP stay, whoever decodes the pixels; read again by tifffile"
    from colorize_nb.io.write import save_picture
    p = open_picture(described(**KINDS[name]))
    assert p.metadata.dpi == (600, 600)
    assert b'Grandmother, 1931' in p.metadata.exif and b'album 7' in p.metadata.xmp
    rgb = np.stack([p.gray.astype(np.uint16)]*3, -1)
    out = save_picture(rgb, tmp_path/'out.tif', metadata=p.metadata, model='a model')
    with tifffile.TiffFile(out) as t:
        tags = t.pages[0].tags
        assert tags['ImageDescription'].value == 'Grandmother, 1931' and tags['DateTime'].value == '1931:05:15 17:12:05'
        x, y = (tags[k].value for k in ('XResolution', 'YResolution'))
        assert x[0]/x[1] == y[0]/y[1] == 600 and int(tags['ResolutionUnit'].value) == 2
        assert b'album 7' in bytes(tags[700].value)

def test_orientation():
    "A page that lies on its side is turned, by whoever it is decoded"
    for kind in ('float RGB', '12 bits', 'usual'):
        kw = KINDS[kind]
        upright, turned = (open_picture(make(**kw, tags={274: (3, [o])})) for o in (1, 6))
        assert np.array_equal(np.rot90(upright.gray, -1), turned.gray) and turned.metadata.orientation == 6

# ---------- pages

def album(n, size=(6, 5)):
    "A TIFF of n small pages, each of its own gray, half of them of 16 bits"
    with tifffile.TiffWriter(f := BytesIO()) as t:
        for i in range(n):
            a = np.full(size, i%200, np.uint16 if i%2 else np.uint8)
            t.write(a, photometric='minisblack', metadata=None, subfiletype=2) # 2: one page of many
    return f.getvalue()

def test_pages_are_found_in_one_pass():
    "Twice as many pages: twice as many tables read, not four times"
    def count(n):
        tables = []
        table = TiffImagePlugin.ImageFileDirectory_v2
        def counted(f): return lambda *a, **k: (tables.append(1), f(*a, **k))[1]
        ours, pillows = counted(tiff.read_slots), counted(table.load)
        with patch.object(tiff, 'read_slots', ours), patch.object(table, 'load', pillows):
            pages = list(open_pages(album(n)))
        assert [p.gray[0, 0] for p in pages] == [i%200 for i in range(n)] and {p.pages for p in pages} == {n}
        return len(tables)
    few, many = count(40), count(80)
    assert few >= 40 and many <= 2*few

def test_colours_of_a_late_page():
    "The page is found again by its place, not by its number"
    rng = np.random.default_rng(0)
    pages = rng.integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)
    with tifffile.TiffWriter(f := BytesIO()) as t:
        for i, a in enumerate(pages): t.write(a, photometric='rgb', metadata=None, subfiletype=i == 2)
    found = list(open_pages(f.getvalue()))
    assert len(found) == 4
    for p, i in zip(found, (0, 1, 3, 4)): assert np.array_equal(np.asarray(read_colours(f.getvalue(), p)), pages[i])

def test_masks_are_said():
    "NewSubfileType 4, as film scanners mark an infrared plane"
    data = bytearray(album(3))
    with tifffile.TiffFile(BytesIO(bytes(data))) as t: places = [p.tags['NewSubfileType'].offset for p in t.pages]
    struct.pack_into('<I', data, places[1] + 8, 4)
    pages = list(open_pages(bytes(data), 'scan'))
    assert [p.gray[0, 0] for p in pages] == [0, 2]
    assert all('scan holds a mask or infrared plane of its own, not kept' in p.notes for p in pages)

@pytest.mark.skipif(bool(importlib.util.find_spec('imagecodecs')), reason='imagecodecs reads more')
def test_a_broken_fax_is_not_blamed_on_a_package():
    "Pillow reads CCITT's codes, so that what is wrong is probably this file"
    Image.new('1', (64, 64)).save(f := BytesIO(), 'TIFF', compression='group4')
    with patch.object(TiffImagePlugin.TiffImageFile, 'load', side_effect=OSError('decoder error -2')):
        with pytest.raises(PictureError, match='with 1 bit, compression CCITT that is broken, or of a kind'):
            open_picture(f.getvalue(), 'x')

def test_a_compression_that_nobody_knows():
    data = make([np.zeros((2, 3), int)], 8, 'u', 1, tags={259: (3, [28163])})
    with pytest.raises(PictureError, match='compression 28163, which is not read: convert it') as e:
        open_picture(data, 'x')
    assert 'imagecodecs' not in str(e.value)

def test_a_small_copy_in_front():
    "NewSubfileType 1 comes first: as a page of its own, or with the picture in a table within (SubIFDs)"
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for inside in False, True:
        with tifffile.TiffWriter(f := BytesIO()) as t:
            t.write(whole[::4, ::5], photometric='rgb', metadata=None, subfiletype=1, subifds=1 if inside else None)
            t.write(whole, photometric='rgb', metadata=None, subfiletype=0)
        data = f.getvalue()
        p, = open_pages(data)
        for got in read_colours(data, p), read_whole(data): assert np.array_equal(np.asarray(got), whole), inside

def test_a_raw_file_is_said_to_be_one(tmp_path):
    "As a DNG is built (Adobe's specification, 1.4): a preview, and sensor values (photometric 32803) in a table within"
    with tifffile.TiffWriter(tmp_path/'x.tif') as t:
        t.write(np.zeros((4, 6, 3), np.uint8), photometric='rgb', metadata=None, subfiletype=1, subifds=1)
        t.write(np.zeros((8, 12), np.uint16), photometric=32803, metadata=None, subfiletype=0)
    with pytest.raises(PictureError, match="x.tif is a TIFF .*raw file holds it: develop it"):
        open_picture(tmp_path/'x.tif')
    good, ((path, why),) = check_pictures([tmp_path/'x.tif'])
    assert not good and 'raw file' in why and 'broken' not in why

def test_too_many_pages():
    with patch.object(tiff, 'LIMITS', LIMITS._replace(pages=5)):
        with pytest.raises(PictureError, match='more than 5 pages'): open_picture(album(6))
        assert open_picture(album(5)).pages == 5

def test_memory_is_estimated_first():
    "A small file that unpacks to gigabytes of floats is refused before it is read"
    data = make([[[0.]]]*3, 64, 'f', 2, packed=True, tags={256: (4, [13000]), 257: (4, [13000]), 278: (4, [13000])})
    with patch.object(tiff, '_decode', side_effect=AssertionError):
        with pytest.raises(PictureError, match='GB of memory'): open_picture(data)

def test_metadata_of_pages():
    "Each page has its own description"
    with tifffile.TiffWriter(f := BytesIO()) as t:
        for i in range(4): t.write(np.full((4, 5), i, np.float32)/4, description=f'page {i}', metadata=None)
    assert [p.metadata.exif.count(f'page {i}'.encode()) for i, p in enumerate(open_pages(f.getvalue()))] == [1]*4
    assert isinstance(open_picture(f.getvalue()).metadata, Metadata)

def test_what_is_copied_whole_has_lost_nothing(model, tmp_path):
    "Colours with infrared: byte for byte into a TIFF without a word, into a PNG with one"
    from colorize_nb.colorizer.batch import colorize_files
    from colorize_nb.colorizer.core import Colorizer
    hues = np.kron(HUES, np.ones((16, 16, 1), np.uint8))
    data = make([*np.moveaxis(hues, -1, 0), hues[..., 0]], 8, 'u', 2, extra=(0,))
    (tmp_path/'film.tif').write_bytes(data)
    c = Colorizer.load(model, 'cpu')
    for fmt, told in [('keep', False), ('png', True)]:
        r, = colorize_files([tmp_path/'film.tif'], tmp_path/fmt, c, format=fmt)
        assert r.status == 'copied' and ('neither colour nor transparency' in r.message) == told, r.message
    assert (tmp_path/'keep'/'film.tif').read_bytes() == data
    with Image.open(tmp_path/'png'/'film.png') as im: assert np.array_equal(np.asarray(im), hues)
