"Valid files that other programs wrote strangely: nothing lost, nothing refused, and every sentence true."
import errno
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from colorize_nb.cli.app import app, load_commands
from colorize_nb.colorizer.batch import colorize_files
from colorize_nb.io.files import check_pictures, read_whole
from colorize_nb.io.image import PictureError
from colorize_nb.io.read import open_picture
from colorize_nb.io.samples import sample, samples
from colorize_nb.io.write import save_picture

GRAY = np.tile(np.arange(96, dtype=np.uint8)*2 + 30, (64, 1))

def saved(picture, path): # with the metadata of its source, as a colorizer does
    save_picture(np.stack([picture.plane()]*3, -1), path, metadata=picture.metadata, model='m')
    return path

def exif_block(entries, order='<'): # tables as they come: not sorted, nothing checked
    mark = b'II*\0' if order == '<' else b'MM\0*'
    head, data = mark + struct.pack(order + 'IH', 8, len(entries)), b''
    for tag, kind, n, value in entries:
        at = 8 + 2 + 12*len(entries) + 4 + len(data)
        if len(value) > 4:
            head += struct.pack(order + 'HHII', tag, kind, n, at)
            data += value + bytes(len(value) % 2)
        else: head += struct.pack(order + 'HHI', tag, kind, n) + value.ljust(4, b'\0')
    return head + bytes(4) + data

def first_table(block): # (tag, type, count, value) by TIFF 6.0, section 2
    order = {b'II': '<', b'MM': '>'}[block[:2]]
    at, = struct.unpack_from(order + 'I', block, 4)
    n, = struct.unpack_from(order + 'H', block, at)
    return [struct.unpack_from(order + 'HHII', block, at + 2 + 12*i) for i in range(n)]

GOOD = [(270, 2, 18, b'Grandmother, 1931\0'), (271, 2, 7, b'SCANCO\0'), (306, 2, 20, b'2010:05:15 17:12:05\0')]
BROKEN = dict(middle=[*GOOD[:2], (1, 0, 1, b''), GOOD[2]], first=[(0, 0, 0, b''), *GOOD],
    padded=[*GOOD, *[(0, 0, 0, b'')]*3],
    unknown=[GOOD[0], (700, 99, 4, b'abcd'), *GOOD[1:]])

@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('kind', BROKEN)
def test_exif_with_broken_entries(tmp_path, kind, order):
    block = exif_block(BROKEN[kind], order)
    Image.fromarray(GRAY).save(tmp_path/'in.jpg', exif=b'Exif\0\0' + block)
    for name in 'out.jpg', 'out.png', 'out.webp':
        with Image.open(saved(open_picture(tmp_path/'in.jpg'), tmp_path/name)) as im:
            got = im.info['exif'].removeprefix(b'Exif\0\0')
        table = first_table(got)
        assert [e[0] for e in table] == sorted(e[0] for e in table) and all(0 < e[1] < 14 for e in table)
        for tag, kind, n, value in GOOD:
            (_, k, m, at), = [e for e in table if e[0] == tag]
            assert (k, m, got[at:at + n]) == (kind, n, value)
            assert at == block.find(value) # where it lay

@pytest.mark.skipif(not shutil.which('exiftool'), reason='ExifTool is not installed')
@pytest.mark.parametrize('kind', BROKEN)
def test_exiftool_reads_what_was_left(tmp_path, kind):
    Image.fromarray(GRAY).save(tmp_path/'in.jpg', exif=b'Exif\0\0' + exif_block(BROKEN[kind]))
    for name in 'out.jpg', 'out.tif':
        saved(open_picture(tmp_path/'in.jpg'), tmp_path/name)
        said = subprocess.run(['exiftool', '-j', tmp_path/name], capture_output=True, text=True).stdout
        row = json.loads(said)[0]
        assert [row[k] for k in ('ImageDescription', 'Make', 'ModifyDate')] == [
            'Grandmother, 1931', 'SCANCO', '2010:05:15 17:12:05']
        assert 'Warning' not in row and 'Error' not in row

XMP = ('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Görlitz 7"/></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="r"?>').encode()
LEFT = [b'>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="r"?>', b'\xb6rlitz</x:xmpmeta>', XMP[-90:]]

@pytest.mark.parametrize('left', LEFT)
@pytest.mark.parametrize('name', ['in.jpg', 'in.png', 'in.webp', 'in.tif'])
def test_xmp_with_leftovers(tmp_path, name, left):
    import xml.etree.ElementTree as ET
    im, kw = Image.fromarray(GRAY).convert('RGB'), dict(xmp=XMP + left)
    if name == 'in.tif': kw = dict(tiffinfo={700: XMP + left})
    if name == 'in.png':
        kw = dict(pnginfo=PngInfo())
        kw['pnginfo'].add(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + XMP + left)
    im.save(tmp_path/name, **kw)
    p = open_picture(tmp_path/name)
    with Image.open(saved(p, tmp_path/f'out-{name}')) as im:
        got = im.info.get('xmp') or im.tag_v2[700]
    root = ET.fromstring(got) # the whole packet is XML again
    said = [e.get('{http://purl.org/dc/elements/1.1/}source') for e in root.iter()]
    assert 'Görlitz 7' in said and not [n for n in p.metadata.notes if 'XMP' in n]

def jpeg(*segments, behind=b''):
    Image.fromarray(GRAY).save(f := BytesIO(), 'JPEG')
    data = f.getvalue()
    assert data[2:4] == b'\xff\xe0' # JFIF's own comes first
    at = 4 + int.from_bytes(data[4:6], 'big')
    parts = [struct.pack('>BBH', 0xff, 0xe0 + n, len(d) + 2) + d for n, d in segments]
    return data[:at] + b''.join(parts) + data[at:] + behind

def test_a_segment_0_of_another_program_stays(tmp_path):
    "Canon's first digital cameras wrote all that they knew into a CIFF block in an APP0 of its own"
    ciff = b'II\x1a\0\0\0HEAPJPGM\0\0\1\0' + bytes(range(200))
    p = open_picture(jpeg((0, ciff), (14, b'Other\0x')))
    got = saved(p, tmp_path/'out.jpg').read_bytes()
    assert ciff in got and b'Other\0x' in got and got.count(b'JFIF\0') == 1
    assert not p.notes

def test_sound_in_a_jpeg_is_said(tmp_path):
    "Kodak's cameras kept it in FlashPix segments, which name places in one another; said once, however many there are"
    p = open_picture(jpeg((2, b'FPXR\0\0\1\0\1' + bytes(40)), (2, b'FPXR\0\0\2\0\0' + bytes(90))), 'x')
    assert p.notes == ('x: its FlashPix data (sound, other sizes) are not kept',)
    assert b'FPXR' not in saved(p, tmp_path/'out.jpg').read_bytes()

@pytest.mark.parametrize('marker,data,said', [(0xe0, b'JFIF', 'JFIF segment'), (0xe0, b'JFIF\0', 'JFIF segment'),
    (0xee, b'Adobe', 'Adobe segment'), (0xe2, b'ICC_PROFILE\0', 'colour profile')])
def test_a_jpeg_with_an_empty_segment(tmp_path, marker, data, said): # T.871, 10.1; T.872, 6.5.3; ICC.1, B.4
    Image.fromarray(GRAY).save(f := BytesIO(), 'JPEG', quality=95, comment=b'Anna')
    whole, part = f.getvalue(), bytes([255, marker]) + struct.pack('>H', len(data) + 2) + data
    n, = struct.unpack_from('>H', whole, 4)
    broken = whole[:2] + part + whole[4 + n:]
    (tmp_path/'in.jpg').write_bytes(broken)
    with Image.open(f) as im: pixels = np.asarray(im)
    for source in tmp_path/'in.jpg', broken:
        p = open_picture(source)
        assert np.array_equal(p.gray, pixels) and np.array_equal(read_whole(source)[..., 0], pixels)
        assert [said in o and 'left out' in o for o in p.notes] == [True] and p.metadata.comments == [b'Anna']

@pytest.mark.parametrize('behind,said', [(b'', 0), (bytes(500), 0), (b'\r\n', 0),
    (b'\0\0\0\x18ftypmp42' + bytes(range(99)), 1), (bytes([1, 2, 3])*50_000, 1)])
def test_what_stands_behind_a_jpeg_is_said(behind, said):
    p = open_picture(jpeg(behind=behind), 'x')
    n = sum('stand behind its pixels, and are not kept' in o for o in p.notes)
    assert n == said and len(p.notes) == said and np.abs(p.gray.astype(int) - GRAY).max() < 8
    if said: assert f'{len(behind):,} bytes' in p.notes[0]

@pytest.mark.skipif(not features.check('jpg_2000'), reason='Pillow was built without JPEG 2000')
def test_boxes_of_jpeg_2000(tmp_path):
    "The UUIDs are those of Adobe's XMP specification, part 3 (1.1.5), and of the JpgTiffExif->JP2 convention"
    Image.fromarray(GRAY).save(f := BytesIO(), 'JPEG2000')
    exif = Image.Exif()
    exif[0x010e], exif[0x0112] = 'Harbour, 1931', 6
    def box(uuid, data): return struct.pack('>I', 24 + len(data)) + b'uuid' + uuid + data
    xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="G\xc3\xb6rlitz 7"/>'
        b'</rdf:RDF></x:xmpmeta>')
    data = f.getvalue() + box(bytes.fromhex('BE7ACFCB97A942E89C71999491E3AFAC'), xmp) + box(b'JpgTiffExif->JP2',
        exif.tobytes().removeprefix(b'Exif\0\0'))
    p = open_picture(data, 'x')
    assert p.size == (64, 96) and np.array_equal(p.gray, np.rot90(GRAY, -1)) # it lies on its side, and is stood up once
    with Image.open(saved(p, tmp_path/'out.png')) as im:
        im.load()
        assert im.getexif()[0x010e] == 'Harbour, 1931' and im.getexif().get(0x0112, 1) == 1
        assert 'Görlitz 7' in im.text['XML:com.adobe.xmp']

PNG = b'\x89PNG\r\n\x1a\n'

def chunk(kind, data, checksum=None): # PNG 1.2, section 3.2
    crc = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', crc)

def png_with(*chunks, behind=()):
    rows = b''.join(b'\0' + r.tobytes() for r in GRAY)
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', 96, 64, 8, 0, 0, 0, 0))
    pixels = chunk(b'IDAT', zlib.compress(rows))
    return PNG + head + b''.join(chunks) + pixels + b''.join(behind) + chunk(b'IEND', b'')

HEX = zlib.compress(b'20'*700_000)
LEFT_OUT = dict(
    long_text=(chunk(b'zTXt', b'Raw profile type xmp\0\0' + HEX), "text 'Raw profile type xmp'"),
    long_international=(chunk(b'iTXt', b'Story\0\1\0\0\0' + zlib.compress(bytes(3*10**6))), "text 'Story'"),
    long_profile=(chunk(b'iCCP', b'p\0\0' + zlib.compress(bytes(3*10**6))), 'colour profile'),
    unknown_compression=(chunk(b'zTXt', b'Title\0\x07abc'), "text 'Title'"),
    profile_compression=(chunk(b'iCCP', b'p\0\x07abc'), 'colour profile'),
    short_gamma=(chunk(b'gAMA', b'\0\0'), 'gAMA'), short_chromaticity=(chunk(b'cHRM', bytes(9)), 'cHRM'),
    short_density=(chunk(b'pHYs', bytes(4)), 'resolution'), short_key=(chunk(b'tRNS', b'\0'), 'transparency'),
    empty_profile=(chunk(b'iCCP', b''), 'colour profile'), checksum=(chunk(b'tEXt', b'Title\0x', 7), "text 'Title'"))

@pytest.mark.parametrize('behind', [False, True])
@pytest.mark.parametrize('name', LEFT_OUT)
def test_png_with_a_bad_chunk(tmp_path, name, behind):
    bad, said = LEFT_OUT[name]
    good = chunk(b'tEXt', b'Author\0Anna')
    data = png_with(good, behind=[bad]) if behind else png_with(bad, good)
    (tmp_path/'in.png').write_bytes(data)
    for source in tmp_path/'in.png', data:
        p = open_picture(source)
        assert np.array_equal(p.gray, GRAY)
        if not (behind and name == 'checksum'): # nobody looks at it there, and the text is good
            assert any(said in n and 'left out' in n for n in p.notes), p.notes
        assert np.array_equal(read_whole(source)[..., 0], GRAY)
    with Image.open(saved(p, tmp_path/'out.png')) as im:
        im.load() # what was written is no trap for the next program
        assert im.text['Author'] == 'Anna'

ROWS = zlib.compress(b''.join(b'\0' + r.tobytes() for r in GRAY))

@pytest.mark.parametrize('between', [chunk(b'tEXt', b'Place\0Gorl'), chunk(b'prVt', b'x'),
    chunk(b'tEXt', b'Place\0x', 7), chunk(b'zTXt', b'Place\0\x07abc'), b''])
def test_chunks_between_the_pixels_cost_nothing(tmp_path, between):
    parts = [chunk(b'IDAT', o) for o in (ROWS[:40], ROWS[40:])]
    head, author = chunk(b'IHDR', struct.pack('>IIBBBBB', 96, 64, 8, 0, 0, 0, 0)), chunk(b'tEXt', b'Author\0Anna')
    data = PNG + head + parts[0] + author + between + parts[1] + chunk(b'IEND', b'')
    (tmp_path/'in.png').write_bytes(data)
    for source in tmp_path/'in.png', data:
        p = open_picture(source)
        assert np.array_equal(p.gray, GRAY) and p.metadata.text['Author'] == 'Anna'
        assert np.array_equal(read_whole(source)[..., 0], GRAY)
    with Image.open(saved(p, tmp_path/'out.png')) as im:
        im.load()
        assert im.text['Author'] == 'Anna'
        if b'Gorl' in between: assert im.text['Place'] == 'Gorl'

def frame(n, w=96, checksum=None): # PNG 3, 11.3.6.2
    return chunk(b'fcTL', struct.pack('>IIIIIHHBB', n, w, 64, 0, 0, 1, 10, 0, 0), checksum)

def moving(n=2): return chunk(b'acTL', struct.pack('>II', n, 0))

FRAME = chunk(b'fdAT', struct.pack('>I', 2) + ROWS)
STILL = 'its animation was left out (it is broken)'
MOVING = dict( # before and behind the pixels, and what is said
    good=([moving(), frame(0)], [frame(1), FRAME], 'an animation of 2 pictures'),
    cut=([moving(), frame(0)], [frame(1), chunk(b'fdAT', b'\0')], 'an animation of 2 pictures'),
    late=([moving(), frame(0)], [frame(1, 9999), FRAME], 'an animation of 2 pictures'),
    missing=([moving(3), frame(0)], [frame(1), FRAME], 'an animation of 3 pictures'),
    wide=([moving(), frame(0, 9999)], [frame(1), FRAME], STILL),
    narrow=([moving(), frame(0, 9)], [frame(1), FRAME], STILL),
    order=([moving(), frame(5)], [frame(6), FRAME], STILL), checksum=([moving(), frame(0, checksum=1)], [FRAME], STILL),
    short=([chunk(b'acTL', b'\0'), frame(0)], [frame(1), FRAME], STILL),
    none=([moving(0), frame(0)], [frame(1), FRAME], STILL),
    two=([moving(), moving(), frame(0)], [frame(1), FRAME], STILL))

@pytest.mark.filterwarnings('ignore:Invalid APNG')
@pytest.mark.parametrize('name', MOVING)
def test_a_broken_animation_is_a_picture(tmp_path, name):
    before, behind, said = MOVING[name]
    data = png_with(chunk(b'tEXt', b'Author\0Anna'), *before, behind=[*behind, chunk(b'tEXt', b'Place\0Gorl')])
    p = open_picture(data)
    assert np.array_equal(p.gray, GRAY) and np.array_equal(read_whole(data)[..., 0], GRAY)
    assert p.metadata.text == dict(Author='Anna', Place='Gorl')
    assert len(p.notes) == 1 and said in p.notes[0], p.notes

def test_a_name_out_of_a_file_stays_in_its_line():
    p = open_picture(png_with(chunk(b'tEXt', b'Title\nof\x1b[2J\0x', 7)), 'x')
    assert p.notes == ("x: its text 'Title of?[2J' was left out (its checksum is wrong)",)

@pytest.mark.parametrize('chunks,said', [ # PNG 3, 11.3.2.6; numbers by ITU-T H.273
    ([chunk(b'cICP', bytes([9, 16, 0, 1]))], 'PQ'), ([chunk(b'cICP', bytes([9, 18, 0, 1]))], 'HLG'),
    ([chunk(b'cICP', bytes([1, 8, 0, 1]))], 'linear light'), ([chunk(b'cICP', bytes([1, 13, 0, 1]))], ''),
    ([chunk(b'cICP', bytes([9, 16, 0, 1])), chunk(b'gAMA', struct.pack('>I', 45455))], ''), ([], '')])
def test_light_that_is_coded_for_hdr_is_said(chunks, said):
    notes = open_picture(png_with(*chunks), 'x').notes
    assert len(notes) == bool(said) and all(f'({said}' in n and 'taken as sRGB' in n for n in notes)

@pytest.mark.skipif(not features.check('avif'), reason='Pillow was built without AVIF')
@pytest.mark.parametrize('transfer,said', [(13, 0), (16, 1)])
def test_an_avif_that_is_coded_for_hdr_is_said(transfer, said):
    Image.fromarray(GRAY).convert('RGB').save(f := BytesIO(), 'AVIF')
    at = f.getvalue().index(b'colrnclx') + 10
    data = f.getvalue()[:at] + struct.pack('>H', transfer) + f.getvalue()[at + 2:]
    assert sum('PQ' in n for n in open_picture(data, 'x').notes) == said

def test_many_texts_and_a_text_named_like_a_setting(tmp_path):
    texts = [chunk(b'zTXt', b'T%d\0\0' % i + zlib.compress(bytes(1_000_000))) for i in range(70)] # Pillow takes 64 MB
    assert np.array_equal(open_picture(png_with(*texts)).gray, GRAY)
    for key in b'transparency', b'dpi', b'icc_profile', b'gamma', b'srgb':
        p = open_picture(png_with(chunk(b'tEXt', key + b'\0none')))
        assert np.array_equal(p.gray, GRAY) and p.alpha is None and not p.notes

def test_pixels_cut_short_are_still_told():
    with pytest.raises(PictureError, match='cut short'): open_picture(png_with(chunk(b'gAMA', b'\0'))[:90])

def ftyp(*brands): return struct.pack('>I', 12 + 4*len(brands)) + b'ftyp' + brands[0] + bytes(4) + b''.join(brands[1:])

def bitmap(bits, compression, header=40):
    fields = struct.pack('<IiiHHIIiiII', header, 8, 8, 1, bits, compression, *[0]*5)
    return b'BM' + struct.pack('<IHHI', 0, 0, 0, 14 + header) + fields[:header].ljust(header, b'\0') + bytes(512)

def tiff(bits, compression, photometric=1):
    size = [(256, 16), (257, 16), (273, 8), (277, 1), (278, 16), (279, 999)]
    entries = sorted([*size, (258, bits), (259, compression), (262, photometric)])
    table = b''.join(struct.pack('<HHII', t, 4, 1, v) for t, v in entries)
    return b'II*\0' + struct.pack('<I', 1007) + bytes(999) + struct.pack('<H', len(entries)) + table + bytes(4)

KINDS = { # from the formats' own specifications
    'HEIF picture in the short form': ftyp(b'mif3', b'avif') + bytes(300),
    'HEIC': ftyp(b'heic', b'mif1', b'heic') + bytes(300), "camera's raw": ftyp(b'crx ', b'isom') + bytes(300),
    'film': ftyp(b'isom', b'mp41') + bytes(300), 'PDF': b'%PDF-1.7\n' + bytes(300),
    'JPEG XL picture': b'\xff\x0a' + bytes(300),
    'PostScript': b'%!PS-Adobe-3.0 EPSF-3.0\n' + b' '*300, 'web page': b'<!DOCTYPE html><html>' + b' '*300,
    'zeros': bytes(5000), 'OpenEXR': b'v/1\1' + bytes(300), 'FITS': b'SIMPLE  =' + b' '*300,
    'SVG': b'<svg xmlns="x">' + b' '*300,
    'DICOM': bytes(128) + b'DICM' + bytes(300), 'pixel depth (64)': bitmap(64, 0), 'compression (4)': bitmap(24, 4),
    'header type (41)': bitmap(24, 0, 41), 'JPEG XL': tiff(8, 50002), 'LERC': tiff(8, 34887),
    'PSB': b'8BPS\0\2' + bytes(300), 'archive': b'PK\3\4' + bytes(300), 'JNG': b'\x8bJNG\r\n\x1a\n' + bytes(300),
    'MNG': b'\x8aMNG\r\n\x1a\n' + bytes(300), 'Amiga': b'FORM\0\0\1\x2cILBMBMHD' + bytes(300),
    'cursor': b'\0\0\2\0\1\0' + bytes(300), 'OS/2': b'BA(\0\0\0' + bytes(300), 'XBM': b'#define x_width 8\n' + b' '*300,
    'PICT': bytes(522) + b'\0\x11\2\xff\x0c\0' + bytes(300), 'XMP': b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b' '*300}

@pytest.mark.skipif(bool(importlib.util.find_spec('pillow_heif')), reason='pillow-heif reads HEIC')
@pytest.mark.parametrize('suffix', ['.jpg', '.heic'])
def test_heic_whatever_its_name(tmp_path, suffix):
    (tmp_path/f'phone{suffix}').write_bytes(KINDS['HEIC'])
    with pytest.raises(PictureError, match=r'phone\S+ is a HEIC picture.*heif.*JPEG'):
        open_picture(tmp_path/f'phone{suffix}')

@pytest.mark.parametrize('kind', [k for k in KINDS if k != 'HEIC'])
def test_true_sentences(tmp_path, kind):
    (tmp_path/'x.jpg').write_bytes(KINDS[kind])
    with pytest.raises(PictureError) as e: open_picture(tmp_path/'x.jpg')
    said = str(e.value)
    assert kind in said and 'not a picture' not in said and 'cut short' not in said and '\n' not in said
    assert said.count(str(tmp_path/'x.jpg')) == 1 and ('save' in said or 'fetch' in said or 'look for' in said
        or 'unpack' in said or 'develop' in said or 'convert' in said or 'hand over' in said)
    good, ((path, why),) = check_pictures([tmp_path/'x.jpg']) # training says the same
    assert not good and kind in why and 'not a picture' not in why

def limited(kind):
    "A file that is whole, and that its decoder refuses by a limit of its own"
    if kind == 'AVIF': # 17000x17000 pixels, as in libvips' tests
        Image.fromarray(GRAY).convert('RGB').save(f := BytesIO(), 'AVIF')
        at = f.getvalue().index(b'ispe') + 8
        return f.getvalue()[:at] + struct.pack('>II', 17000, 17000) + f.getvalue()[at + 8:]
    colours, pixels = bytes(range(256))*5, bytes(64) # 300 in the palette, as in bmpsuite
    head = struct.pack('<IiiHHIIiiII', 40, 8, 8, 1, 8, 0, 0, 0, 0, 300, 0)
    return b'BM' + struct.pack('<IHHI', 0, 0, 0, 14 + 40 + 1200) + head + colours[:1200] + pixels

@pytest.mark.parametrize('kind', ['BMP', pytest.param('AVIF', marks=pytest.mark.skipif(
    not features.check('avif'), reason='Pillow was built without AVIF'))])
def test_a_limit_of_a_decoder_is_not_called_broken(kind):
    with pytest.raises(PictureError, match='x is broken, or of a kind that is not read here .*: save it'):
        open_picture(limited(kind), 'x')

def test_an_icon_is_no_targa():
    "The first picture of an icon may have more than 64 kB; then its head is that of a TGA, which has no signature, too"
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    Image.fromarray(noise).save(png := BytesIO(), 'PNG')
    n = len(png.getvalue())
    assert 1 << 16 < n < 1 << 17
    for bits in 8, 32:
        head = struct.pack('<3H4B2H2I', 0, 1, 1, 0, 0, 0, 0, 1, bits, n, 22)
        assert np.array_equal(open_picture(head + png.getvalue()).gray, noise)

def test_a_targa_is_no_cursor():
    Image.fromarray(GRAY).convert('RGB').save(f := BytesIO(), 'TGA')
    with pytest.raises(PictureError, match='broken or cut short') as e: open_picture(f.getvalue()[:900], 'x')
    assert 'cursor' not in str(e.value)

def test_a_segment_without_length_is_no_trap():
    "Each JPEG segment holds its length's two bytes at least (ITU-T T.81, B.1.1.4): with 0 one would read in a circle"
    for size in 0, 1:
        data = b'\xff\xd8\xff\xe1' + struct.pack('>H', size) + bytes(400)
        with pytest.raises(PictureError, match='broken'): open_picture(data, 'x')

@pytest.mark.skipif(os.name != 'posix', reason='no named pipes')
def test_a_pipe_among_pictures(tmp_path):
    "Nobody writes into it, so whoever opens it waits for ever"
    os.mkfifo(tmp_path/'x.jpg')
    good, ((path, why),) = check_pictures([tmp_path/'x.jpg'])
    assert not good and 'a device or a pipe' in why
    with pytest.raises(PictureError, match='a device or a pipe'): open_picture(tmp_path/'x.jpg')

@pytest.mark.parametrize('order', '<>')
def test_a_place_that_no_disk_has(tmp_path, order):
    "BigTIFF's places have 64 bits: a system refuses them with an error that sounds like the disk's"
    head = (b'II' if order == '<' else b'MM') + struct.pack(f'{order}HHH', 43, 8, 0)
    (tmp_path/'x.tif').write_bytes(head + struct.pack(f'{order}Q', 2**64 - 2**20) + bytes(99))
    with pytest.raises(PictureError) as e: open_picture(tmp_path/'x.tif', 'x')
    assert 'disk' not in str(e.value) and 'permissions' not in str(e.value)

def test_broken_or_of_another_kind():
    "CMYK in LZW is read, but this one's data is none; nobody can know which of the two it is"
    Image.new('CMYK', (64, 64), (9, 9, 9, 9)).save(f := BytesIO(), 'TIFF', compression='tiff_lzw')
    with Image.open(f) as im: at, n = im.tag_v2[273][0], im.tag_v2[279][0]
    data = f.getvalue()[:at] + b'\xff'*n + f.getvalue()[at + n:]
    with pytest.raises(PictureError, match='is a TIFF of .* CMYK .*broken, or of a kind that is not read') as e:
        open_picture(data, 'x')
    assert ': convert it' in str(e.value)

def test_sixteen_bits_a_pixel_are_not_a_channels():
    masks = struct.pack('<III', 0xf800, 0x7e0, 0x1f)
    head = struct.pack('<IiiHHIIiiII', 40, 8, 8, 1, 16, 3, 128, 0, 0, 0, 0)
    data = b'BM' + struct.pack('<IHHI', 54 + 12 + 128, 0, 0, 66) + head + masks + b'\xff\xff'*64
    p = open_picture(data, 'x')
    assert p.notes == () and p.lightness().min() > 99.9

def test_what_the_disk_says_is_not_the_files_fault(tmp_path, monkeypatch):
    (tmp_path/'x.png').write_bytes(png_with())
    def refuse(*a, **k): raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path/'x.png'))
    monkeypatch.setattr(Image, 'open', refuse)
    with pytest.raises(PictureError, match='Permission denied.*permissions') as e: open_picture(tmp_path/'x.png')
    assert 'broken' not in str(e.value)

# Where results go

class Tint:
    "Stands in for a network; `broken` names pictures at which it raises what an engine might"
    name, size, saturation = 'tint', 64, 1.
    def __init__(self, broken=()): self.broken = broken
    def predict_ab(self, pictures, size=None, tta=False):
        for p in pictures:
            if any(b in p.name for b in self.broken): raise KeyError('logits')
        return [np.zeros((2, 2, 2), np.float32) for _ in pictures]
    def merge_chroma(self, picture, ab, target='rgb', saturation=None, exact=False):
        if any(b + '-late' in picture.name for b in self.broken): raise IndexError('no such bin')
        chroma = [Image.new('L', picture.size, v) for v in (100, 150)]
        im = Image.merge('YCbCr', [picture.plane(), *chroma])
        return im if target == 'jpeg' else im.convert('RGB')

def folder_of(path, *names):
    path.mkdir()
    for n in names: Image.fromarray(GRAY).save(path/n)
    return path

@pytest.mark.parametrize('batch', [1, 4])
def test_an_engine_that_fails_costs_one_picture(tmp_path, batch):
    old = folder_of(tmp_path/'old', 'a.png', 'bad.png', 'c.png', 'd.jpg')
    rows = {Path(r.source).name: r for r in colorize_files(old, tmp_path/'new', Tint(['bad']), batch_size=batch)}
    assert [rows[n].status for n in ('a.png', 'bad.png', 'c.png', 'd.jpg')] == ['done', 'failed', 'done', 'done']
    assert 'bad.png' in rows['bad.png'].message and "KeyError: 'logits'" in rows['bad.png'].message
    with pytest.raises(KeyError): list(colorize_files(old, tmp_path/'more', Tint(['bad']), debug=True))

XMP_FILE = XMP.replace(b'rdf:about=""', b'rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"')

TIFF_NS = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'

@pytest.mark.parametrize('attributes,inside', [ # Pillow looks for the letters, whatever they belong to
    (f'{TIFF_NS} tiff:Orientation="6"', ''), (f'{TIFF_NS.replace("f/1", "?/1")} tiff:Orientation="6"', ''),
    (TIFF_NS, '<tiff:Orientation>6</tiff:Orientation>'), (TIFF_NS, '<rdf:li tiff:Orientation="6"/>'),
    ('', '<!--tiff:Orientation="6"-->'), ('', 'tiff:Orientation="6"')])
@pytest.mark.parametrize('suffix', ['.png', '.webp', '.tif', '.jpg'])
def test_no_orientation_is_left_in_xmp(tmp_path, attributes, inside, suffix):
    packet = (f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>')
    Image.fromarray(GRAY).save(f := BytesIO(), 'WEBP', lossless=True, xmp=packet.encode())
    with Image.open(f) as im: assert ImageOps.exif_transpose(im).size == (64, 96)
    p = open_picture(f.getvalue())
    assert p.size == (64, 96)
    with Image.open(saved(p, tmp_path/f'out{suffix}')) as im:
        assert im.size == ImageOps.exif_transpose(im).size == (64, 96)

def test_a_sidecar_travels(tmp_path):
    old, new = folder_of(tmp_path/'old', 'a.png', 'b.jpg', 'c.tif'), tmp_path/'new'
    for n in 'a.xmp', 'b.jpg.xmp', 'lonely.xmp': (old/n).write_bytes(XMP_FILE)
    sample('chelsea').resize((96, 64)).save(old/'colours.png')
    (old/'colours.xmp').write_bytes(XMP_FILE)
    rows = {Path(r.source).name: r for r in colorize_files(old, new, Tint())}
    assert set(rows) == {'a.png', 'b.jpg', 'c.tif', 'colours.png', 'lonely.xmp'} # a sidecar is no input of its own
    assert sorted(f.name for f in new.glob('*.xmp')) == ['a.xmp', 'b.jpg.xmp', 'colours.xmp']
    assert (new/'colours.xmp').read_bytes() == XMP_FILE # its picture was passed on as it is
    for n in 'a.xmp', 'b.jpg.xmp':
        text = (new/n).read_text()
        assert 'Görlitz 7' in text and 'tiff:Orientation="1"' in text
        assert 'compositeWithTrainedAlgorithmicMedia' in text
    (new/'a.xmp').write_text('mine')
    (new/'a.png').unlink()
    row, = [r for r in colorize_files(old, new, Tint()) if r.status == 'done']
    assert (new/'a.xmp').read_text() == 'mine' and 'a.xmp is there already' in row.message
    list(colorize_files(old/'a.png', old, Tint(), format='jpg')) # beside its input: never overwritten
    assert (old/'a.xmp').read_bytes() == XMP_FILE and (old/'a.jpg').exists()

KILLED = """
import os, sys
from colorize_nb.colorizer.batch import colorize_files
from test_io_strange import Tint
move, left = os.replace, int(sys.argv[3])
def die(a, b):
    global left
    if not left: os._exit(9)
    left -= 1
    move(a, b)
os.replace = die
print(*[r.message for r in colorize_files(sys.argv[1], sys.argv[2], Tint())], sep='\\n')
"""

@pytest.mark.parametrize('name', ['a.jpg', 'colours.png', 'pages.tif'])
def test_a_killed_run_loses_no_sidecar(tmp_path, name):
    old, new = tmp_path/'old', tmp_path/'new'
    old.mkdir()
    if name == 'colours.png': sample('chelsea').resize((96, 64)).save(old/name)
    else: Image.fromarray(GRAY).save(old/name, **(dict(save_all=True, append_images=[Image.fromarray(GRAY)])
        if name == 'pages.tif' else {}))
    (old/name).with_suffix('.xmp').write_bytes(XMP_FILE)
    def run(n): # ends when the file after so many would come to its place
        got = subprocess.run([sys.executable, '-c', KILLED, str(old), str(new), str(n)], cwd=Path(__file__).parent,
            capture_output=True, text=True)
        assert got.returncode in (0, 9), got.stderr
        return got
    assert run(1).returncode == 9 # of the two, one is there
    got = run(99) # as if nothing had happened
    assert got.returncode == 0 and 'already and was left' not in got.stdout, got.stdout
    assert (new/name).exists() and (new/name).with_suffix('.xmp').exists()

def unreadable(path, kind, monkeypatch):
    "Put something there that cannot be read; returns what is said of it"
    if kind in ('denied', 'broken disk'): # as root, nothing is denied
        path.write_bytes(XMP_FILE)
        real, number = open, errno.EACCES if kind == 'denied' else errno.EIO
        def refuse(file, *a, **k):
            if file == path: raise OSError(number, os.strerror(number), str(file))
            return real(file, *a, **k)
        monkeypatch.setattr('builtins.open', refuse)
        return f'cannot be read ({os.strerror(number)})'
    if kind == 'ten gigabytes': # of which none is on the disk
        with open(path, 'wb') as f: f.truncate(10**10)
        return 'has more than 64 MB'
    if kind == 'pipe': os.mkfifo(path)
    else: path.symlink_to(path.parent/('gone' if kind == 'dead link' else path.name))
    return 'is no file, or a link to nothing'

@pytest.mark.skipif(os.name != 'posix', reason='pipes and links')
@pytest.mark.parametrize('name', ['a.png', 'colours.png', 'pages.tif'])
@pytest.mark.parametrize('kind', ['denied', 'broken disk', 'ten gigabytes', 'pipe', 'dead link', 'link in a ring'])
def test_an_unreadable_sidecar_costs_no_picture(tmp_path, monkeypatch, name, kind):
    "The picture is coloured, one note says what was left out, nothing of it is written, and the next run is done"
    old, new = tmp_path/'old', tmp_path/'new'
    old.mkdir()
    if name == 'colours.png': sample('chelsea').resize((96, 64)).save(old/name)
    else: Image.fromarray(GRAY).save(old/name, **(dict(save_all=True, append_images=[Image.fromarray(GRAY)])
        if name == 'pages.tif' else {}))
    beside = (old/name).with_suffix('.xmp')
    words = unreadable(beside, kind, monkeypatch)
    row, = colorize_files(old, new, Tint())
    assert row.status == ('copied' if name == 'colours.png' else 'done')
    assert row.message.count(beside.name) == 1
    assert f'{beside.name} beside it {words} and was left out' in row.message
    assert [f.name for f in new.iterdir()] == [name]
    assert [r.status for r in colorize_files(old, new, Tint())] == ['skipped']

def test_a_large_sidecar_is_not_fetched(tmp_path, monkeypatch):
    "From an archive or a store, where its size is known before"
    from colorize_nb.colorizer import batch, remote
    from colorize_nb.io.image import LIMITS
    old = folder_of(tmp_path/'old', 'a.png', 'b.png')
    (old/'a.xmp').write_bytes(XMP_FILE + b' '*2000)
    (old/'b.xmp').write_bytes(XMP_FILE)
    with zipfile.ZipFile(tmp_path/'old.zip', 'w') as z:
        for f in sorted(old.iterdir()): z.write(f, f.name)
    fetched, download = [], remote.download
    monkeypatch.setattr(remote, 'download', lambda folder, name, to: (fetched.append(name), download(folder, name, to)))
    for m in batch, remote: monkeypatch.setattr(m, 'LIMITS', LIMITS._replace(beside=1500))
    results = list(colorize_files(tmp_path/'old.zip', tmp_path/'new', Tint()))
    rows = {re.search(r'[ab]\.png', r.source)[0]: r for r in results}
    assert [rows[n].status for n in ('a.png', 'b.png')] == ['done']*2
    assert 'a.xmp beside it has more than 0.0015 MB and was left out' in rows['a.png'].message
    assert sorted(fetched) == ['a.png', 'b.png', 'b.xmp']
    assert sorted(f.name for f in (tmp_path/'new').iterdir()) == ['a.png', 'b.png', 'b.xmp']

@pytest.mark.parametrize('number,words', [(errno.ENOSPC, 'is full: make room'), (errno.EROFS, 'may not be written to'),
    (errno.EACCES, 'may not be written to')])
@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif'])
def test_a_full_disk_says_so(tmp_path, monkeypatch, number, words, suffix):
    old = folder_of(tmp_path/'old', f'a{suffix}')
    def refuse(*a, **k): raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, 'replace', refuse) # the last step of every file that is written
    for force in False, True:
        row, = colorize_files(old, tmp_path/'new', Tint(), force=force)
        assert row.status == 'failed' and words in row.message and str(tmp_path/'new') in row.message
        assert '.tmp' not in row.message and not list((tmp_path/'new').iterdir())

LIMITED = '''
import resource, sys
from pathlib import Path
import numpy as np
from colorize_nb.io.write import save_picture
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
a = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
from PIL import Image
for suffix in sys.argv[2:]:
    for x in a, Image.fromarray(a):
        try: save_picture(x, Path(sys.argv[1])/f'x{suffix}')
        except ValueError as e: print(e)
print([f.name for f in Path(sys.argv[1]).iterdir()])
'''

@pytest.mark.skipif(os.name != 'posix', reason='limits of files are POSIX')
def test_a_limit_of_files_says_so(tmp_path):
    suffixes = ['.png', '.jpg', '.tif', '.webp', '.bmp']
    done = subprocess.run([sys.executable, '-c', LIMITED, tmp_path, *suffixes], capture_output=True, text=True)
    *said, left = done.stdout.splitlines()
    assert len(said) == 2*len(suffixes) and left == '[]', done.stderr
    for line in said: assert 'may not be so large' in line and str(tmp_path) in line and 'try .png' not in line

@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_may_not_be_written_to(tmp_path):
    (tmp_path/'shut').mkdir(mode=0o500)
    with pytest.raises(PictureError, match=r'shut may not be written to.*name another folder'):
        save_picture(GRAY, tmp_path/'shut'/'new'/'x.png')

# Ghostscript

EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 60\n%%EndComments\n0 0 90 60 rectfill\nshowpage\n'
ROOT = Path(__file__).resolve().parent.parent

def test_nothing_opens_a_picture_but_open_image():
    "Every other door would let Pillow start Ghostscript for a PostScript file"
    doors = re.compile(r'Image\.open\(|PILImage\.create\(|imread\(|\bread_image\(|\bload_image\(')
    found = [f'{f.relative_to(ROOT)}: {line.strip()}' for f in (ROOT/'colorize_nb').rglob('*.py')
        for line in f.read_text(encoding='utf-8').splitlines() if doors.search(line)]
    allowed = 'colorize_nb/io/files.py: return Image.open(file, formats=', 'PILImage.create(grid.permute('
    assert [o for o in found if not any(a in o for a in allowed)] == []
    assert len([o for o in found if allowed[0] in o]) == 1

COMMANDS = dict(colorize=[None], evaluate=['--data', None], study=['make', '--real', None],
    train=['lite', '--data', None, '--epochs', 1, '--size', 32]) # None: the folder of pictures

@pytest.mark.skipif(os.name != 'posix', reason='the false Ghostscript is a shell script')
@pytest.mark.parametrize('name', ['colorize', *(pytest.param(n, marks=pytest.mark.slow) for n in list(COMMANDS)[1:])])
def test_ghostscript_is_never_started(tmp_path, monkeypatch, model, name):
    (tmp_path/'bin').mkdir()
    gs, traces = tmp_path/'bin'/'gs', tmp_path/'traces'
    gs.write_text(f'#!/bin/sh\necho "$@" >> {traces}\n')
    gs.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path/'bin'), prepend=os.pathsep)
    (tmp_path/'true.eps').write_bytes(EPS)
    with pytest.raises(OSError): Image.open(tmp_path/'true.eps').load() # Pillow does start it
    assert traces.read_text()
    traces.unlink()
    for part in 'train', 'valid', 'test':
        (tmp_path/'data'/part).mkdir(parents=True)
        for i, n in enumerate(samples()[:4]): sample(n).resize((64, 48)).save(tmp_path/'data'/part/f'{i}.png')
        (tmp_path/'data'/part/'evil.jpg').write_bytes(EPS)
    load_commands()
    args = [str(a) if a else str(tmp_path/'data') for a in COMMANDS[name]]
    if name != 'train': args += ['--model', str(model)]
    if name == 'study': args[1:1] = [str(tmp_path/'study')]
    else: args += ['--out', str(tmp_path/'out')]
    res = CliRunner().invoke(app, [name, *args])
    said = res.output + res.stderr + (tmp_path/'out'/'split.json').read_text(
        ) if name == 'train' else res.output + res.stderr
    assert 'Traceback' not in res.output and 'evil.jpg' in said, (res.output, res.exception)
    assert not traces.exists()
