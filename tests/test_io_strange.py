"Valid files that other programs wrote strangely: nothing lost, nothing refused, and every sentence true."
import io
import json
import shutil
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image

from colorize_nb.io.image import PictureError
from colorize_nb.io.read import open_picture
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
BROKEN = dict(middle=[*GOOD[:2], (1, 0, 1, b''), GOOD[2]], first=[(0, 0, 0, b''), *GOOD], padded=[*GOOD, *[(0, 0, 0, b'')]*3],
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
    'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Görlitz 7"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>').encode()

@pytest.mark.parametrize('left', [b'>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="r"?>', b'\xb6rlitz</x:xmpmeta>', XMP[-90:]])
@pytest.mark.parametrize('name', ['in.jpg', 'in.png', 'in.webp', 'in.tif'])
def test_xmp_with_leftovers(tmp_path, name, left):
    import xml.etree.ElementTree as ET
    im, kw = Image.fromarray(GRAY).convert('RGB'), dict(xmp=XMP + left)
    if name == 'in.tif': kw = dict(tiffinfo={700: XMP + left})
    if name == 'in.png':
        kw = dict(pnginfo=__import__('PIL.PngImagePlugin').PngImagePlugin.PngInfo())
        kw['pnginfo'].add(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + XMP + left)
    im.save(tmp_path/name, **kw)
    p = open_picture(tmp_path/name)
    with Image.open(saved(p, tmp_path/f'out-{name}')) as im:
        got = im.info.get('xmp') or im.tag_v2[700]
    root = ET.fromstring(got) # the whole packet is XML again
    said = [e.get('{http://purl.org/dc/elements/1.1/}source') for e in root.iter()]
    assert 'Görlitz 7' in said and not [n for n in p.metadata.notes if 'XMP' in n]
