"Broken files for `test_io`: `python fuzz_io.py FIRST COUNT FOLDER` prints as JSON what went wrong."
import faulthandler
import io
import json
import random
import struct
import sys
import time
import zlib
from pathlib import Path

SECONDS, MEGABYTES = 10, 1536 # for one file at most; of address space

def peak():
    "Most memory that this process has held, kilobytes; `ru_maxrss` would count its parent's on Linux"
    try: return next(int(o.split()[1]) for o in open('/proc/self/status') if o.startswith('VmHWM'))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//(1024 if sys.platform == 'darwin' else 1)

def described(im, fmt, **kw):
    "A file's bytes, with EXIF, ICC and XMP where the format has a place for them"
    from PIL import Image
    from colorize_nb.io.exif import ExifTag, pack_exif
    from colorize_nb.color.icc import SRGB
    exif = pack_exif({270: ExifTag(2, 6, b'G\xc3\xb6rl\0'), 274: ExifTag(3, 1, b'\6\0'),
        0x8769: {0x927C: ExifTag(7, 40, bytes(range(40))), 0xA002: ExifTag(3, 1, b'\x18\0')},
        0x8825: {2: ExifTag(5, 3, bytes(range(24)))}})
    xmp = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>')
    profile = SRGB.replace(b'\x6f\xa2', b'\x5f\xa2') # not quite sRGB any more, so that it is used
    if fmt == 'JPEG':
        kw = dict(comment=b'Oma', extra=b'\xff\xed\0\x24Photoshop 3.0\x008BIM\4\4\0\0\0\0\0\7\x1c\2\x78\0\2hi\0',
            exif=b'Exif\0\0' + exif, xmp=xmp, icc_profile=profile, dpi=(300, 300)) | kw
    if fmt in ('WEBP', 'AVIF'): kw = dict(exif=exif, xmp=xmp, icc_profile=profile) | kw
    if fmt == 'TIFF':
        ifd = Image.Exif()
        ifd[270], ifd[700], ifd[33723], ifd[
            34377] = 'scan', xmp, b'\x1c\2\x78\0\2hi', b'8BIM\4\4\0\0\0\0\0\7\x1c\2\x78\0\2hi\0'
        kw = dict(exif=ifd, dpi=(300, 200), **({'icc_profile': profile} if im.mode in ('RGB', 'RGBA') else {})) | kw
    if fmt == 'PNG':
        from PIL.PngImagePlugin import PngInfo
        info = PngInfo()
        info.add_text('Comment', 'Oma')
        info.add_itxt('Title', 'Gör', zip=True)
        info.add_itxt('XML:com.adobe.xmp', xmp.decode())
        kw = dict(pnginfo=info, exif=exif, dpi=(300, 200),
            **({'icc_profile': profile} if im.mode in ('RGB', 'RGBA') else {})) | kw
    if 'append_images' in kw:
        kw['append_images'] = [i.copy() for i in kw['append_images']] # Pillow remembers the last save's settings
    out = io.BytesIO()
    im.copy().save(out, fmt, **kw)
    return out.getvalue()

def psd(im):
    "A Photoshop file of one plane: header, no palette, resources, no layers, raw pixels"
    resources = b'8BIM\4\4\0\0\0\0\0\7\x1c\2\x78\0\2hi\0' + b'8BIM\4\x24\0\0\0\0\0\4<x/>'
    return b'8BPS\0\1' + bytes(6) + struct.pack('>HIIHHI', 1, im.height, im.width, 8, 1, 0) + struct.pack('>I',
        len(resources)) + resources + bytes(4) + b'\0\0' + im.tobytes()

def with_profile(data, profile):
    "A bitmap whose header is of version 5, or a JPEG 2000, with a colour profile; a GIF with one before its image"
    if data[:2] == b'BM':
        head = data[14:54] + bytes(16) + b'DEBM' + bytes(52) + struct.pack('<3I', 124 + len(data) - 54, len(profile), 0)
        at = int.from_bytes(data[10:14], 'little') + 84
        return data[:10] + struct.pack('<II', at, 124) + head[4:] + data[54:] + profile
    if data[:3] == b'GIF':
        at = 13 + (3 << (data[10] & 7) + 1)
        parts = [profile[i:i + 255] for i in range(0, len(profile), 255)]
        block = b'!\xff\x0bICCRGBG1012' + b''.join(bytes([len(o)]) + o for o in parts) + b'\0'
        return data[:at] + block + data[at:]
    at, colr = data.index(b'jp2h') - 4, data.index(b'colr') - 4
    new = struct.pack('>I4s3B', 11 + len(profile), b'colr', 2, 0, 0) + profile
    size = int.from_bytes(data[at:at + 4], 'big') - 15 + len(new) # 15: a box that states a number
    return data[:at] + struct.pack('>I', size) + data[at + 4:colr] + new + data[colr + 15:]

def ycbcr(im):
    "A TIFF of luma and colour differences in units of 2x2 pixels, not compressed"
    import numpy as np
    y, cb, cr = np.asarray(im.convert('YCbCr')).transpose(2, 0, 1)
    parts = [y[::2, ::2], y[::2, 1::2], y[1::2, ::2], y[1::2, 1::2], cb[::2, ::2], cr[::2, ::2]]
    data = np.stack(parts, -1).tobytes()
    tags, blob = {256: (4, im.width), 257: (4, im.height), 259: (3, 1), 262: (3, 6), 273: (4, 8), 277: (3, 3),
        278: (4, im.height), 279: (4, len(data)), 530: (3, 2 | 2 << 16)}, b''
    table = {t: (k, 2 if t == 530 else 1, v) for t, (k, v) in tags.items()}
    for t, k, values in (258, 3, struct.pack('<3H', 8, 8, 8)), (529, 5, struct.pack('<6I', 299, 1000, 587, 1000, 114,
            1000)), (532, 5, struct.pack('<12I', 16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)):
        table[t] = k, len(values)//(2 if k == 3 else 8), 8 + len(data) + len(blob)
        blob += values
    ifd = struct.pack('<H', len(table)) + b''.join(struct.pack('<HHII', t, *v) for t, v in sorted(table.items()))
    return b'II*\0' + struct.pack('<I', 8 + len(data) + len(blob)) + data + blob + ifd + bytes(4)

def seeds():
    "Whole files of every kind that we read: name -> bytes"
    from colorize_nb.color.icc import stated_profile
    profile = stated_profile(1.8)
    import numpy as np
    from PIL import Image, features
    rgb = Image.merge('RGB', [Image.linear_gradient('L').resize((24, 20)),
        Image.radial_gradient('L').resize((24, 20)), Image.linear_gradient('L').rotate(90).resize((24, 20))])
    gray, deep = rgb.convert('L'), Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24)*130)
    rgba = rgb.copy()
    rgba.putalpha(gray)
    res = dict(jpeg=described(gray, 'JPEG'), progressive=described(rgb, 'JPEG', progressive=True),
    cmyk=described(rgb.convert('CMYK'), 'JPEG', icc_profile=None),
    fine=described(rgb, 'JPEG', subsampling=0, restart_marker_rows=1),
        bits=described(rgb.convert('1'), 'PNG'), png=described(gray, 'PNG'),
        palette=described(rgb.quantize(9), 'PNG', transparency=3), rgba=described(rgba, 'PNG'),
        la=described(rgba.convert('LA'), 'PNG'), deep=described(deep, 'PNG'),
        apng=described(gray, 'PNG', save_all=True, append_images=[gray.rotate(90)]), tiff=described(gray, 'TIFF'),
        g4=described(rgb.convert('1'), 'TIFF', compression='group4'),
        float=described(Image.fromarray(np.asarray(gray)/np.float32(255)), 'TIFF'),
        pages=described(rgb, 'TIFF', compression='tiff_lzw', save_all=True, append_images=[gray, rgba]),
        ink=described(rgb.convert('CMYK'), 'TIFF', compression='packbits'),
        lab=described(Image.merge('LAB', rgb.split()), 'TIFF'),
        **{f'tiff {c}': described(rgb, 'TIFF', compression=c) for c in ('tiff_lzw', 'tiff_adobe_deflate', 'jpeg')},
        deflate16=described(deep, 'TIFF', compression='tiff_adobe_deflate'),
        bigtiff=described(gray, 'TIFF', big_tiff=True),
        gif=described(gray, 'GIF', comment=b'Oma'), animated=described(rgb.quantize(9), 'GIF', save_all=True,
        append_images=[rgb.rotate(90).quantize(9)], duration=9), bmp=described(rgb, 'BMP', dpi=(72, 72)),
        bmp5=with_profile(described(rgb, 'BMP'), profile), gif_icc=with_profile(described(gray, 'GIF'), profile),
        bmp8=described(gray, 'BMP'), dib=described(rgb, 'DIB'),
        ppm=described(rgb, 'PPM'), pgm=described(deep, 'PPM'), pbm=described(rgb.convert('1'), 'PPM'),
        plain=b'P2 3 2 255 0 9 80 200 255 3', tga=described(rgb, 'TGA', compression='tga_rle'),
        pcx=described(gray, 'PCX'), ico=described(rgba, 'ICO', sizes=[(16, 16)]),
        sgi=described(rgb, 'SGI'), mpo=described(rgb, 'MPO', save_all=True, append_images=[gray.convert('RGB')]),
        psd=psd(gray))
    if features.check('webp'):
        res |= dict(webp=described(rgb, 'WEBP', lossless=True), lossy=described(rgba, 'WEBP', quality=50),
            moving=described(rgb, 'WEBP', save_all=True, append_images=[rgb.rotate(90)]))
    if features.check('jpg_2000'):
        res |= dict(jp2=described(gray, 'JPEG2000'), j2k=described(rgb, 'JPEG2000', no_jp2=True),
            jp2_icc=with_profile(described(rgb, 'JPEG2000'), profile))
    if features.check('avif'): res['avif'] = described(rgb, 'AVIF', speed=10)
    try:
        import png, tifffile
    except ImportError: return res
    out = io.BytesIO()
    png.Writer(24, 20, greyscale=True, interlace=True).write(out, np.asarray(gray))
    res['interlaced'] = out.getvalue()
    out = io.BytesIO()
    png.Writer(24, 20, greyscale=False, bitdepth=16).write(out,
        (np.asarray(rgb).astype(np.uint16)*257).reshape(20, 72))
    res['rgb16'] = out.getvalue()
    for name, kw in dict(tiled=dict(tile=(16, 16), compression='zlib', predictor=True),
        planes=dict(planarconfig='separate', photometric='rgb', data=np.asarray(rgb).transpose(2, 0, 1)),
        big16=dict(bigtiff=True, data=np.asarray(rgb).astype(np.uint16)*257, photometric='rgb'),
        motorola=dict(byteorder='>'), ranged=dict(data=np.asarray(gray, np.float32)*16, # floats that state their range
            extratags=[(t, 11, 1, v, True) for t, v in ((340, 0.), (341, 4080.))])).items():
        out = io.BytesIO()
        tifffile.imwrite(out, **({'data': np.asarray(gray)} | kw))
        res[name] = out.getvalue()
    return res | dict(ycbcr=ycbcr(rgb))

def summed(b):
    "A PNG with right checksums, so that what is wrong is not found too early"
    i = 8
    while i + 12 <= len(b) and i + 12 + (n := int.from_bytes(b[i:i + 4], 'big')) <= len(b):
        b[i + 8 + n:i + 12 + n] = struct.pack('>I', zlib.crc32(b[i + 4:i + 8 + n]))
        i += 12 + n

def broken(rng, files):
    "Bytes of a file with one to three things wrong"
    name = rng.choice(sorted(files))
    b = bytearray(files[name])
    def at(): return rng.randrange(min(len(b), rng.choice([32, 200, 1000, len(b)]))) if b else 0
    for _ in range(rng.choice([1, 1, 2, 3])):
        i, n, kind = at(), rng.choice([1, 2, 4, 4, 8, 64]), rng.choice(['byte', 'bit', 'cut', 'insert', 'delete',
            'repeat', 'splice', 'huge', 'huge', 'zero'])
        if not b: break
        if kind == 'byte': b[i] = rng.randrange(256)
        elif kind == 'bit': b[i] ^= 1 << rng.randrange(8)
        elif kind == 'cut': del b[i if rng.random() < .5 else rng.randrange(len(b)):]
        elif kind == 'insert': b[i:i] = rng.randbytes(n)
        elif kind == 'delete': del b[i:i + n]
        elif kind == 'repeat': b[i:i] = b[i:i + n]*rng.choice([1, 3, 50])
        elif kind == 'splice': b[:i] = files[rng.choice(sorted(files))][:i]
        elif kind == 'huge':
            b[i:i + n] = rng.choice([b'\xff'*n, (b'\x7f' + b'\xff'*99)[:n], b'\xff'*(n - 1) + b'\x7f',
                (b'\x80' + bytes(99))[:n]])
        else: b[i:i + n] = bytes(min(n, len(b) - i))
    if b[:4] == b'\x89PNG' and rng.random() < .7: summed(b)
    return name, bytes(b)

def coloured(picture):
    "What a network would have made of it: a tint"
    import numpy as np
    from PIL import Image
    gray = picture.gray
    if picture.bits == 16: return np.stack([gray.astype(np.uint16)*(257 if gray.dtype == np.uint8 else 1)]*3, -1)
    rgb = Image.merge('RGB', [picture.plane()]*3)
    if picture.alpha is not None and picture.alpha.dtype == np.uint8: rgb.putalpha(Image.fromarray(picture.alpha))
    return rgb

def run(first, count, folder):
    "In a process of its own: colour broken files and say what went wrong, as JSON on standard output"
    import resource
    from colorize_nb.io.read import PictureError, open_pages
    from colorize_nb.io.write import save_picture
    files, made, refused, wrong, slow = seeds(), 0, 0, [], 0
    for name, data in files.items():
        list(open_pages(data)) # the whole ones are fine
    resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES*2**20,)*2)
    for i in range(first, first + count):
        rng = random.Random(i)
        name, data = broken(rng, files)
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__) # ends a decoder that hangs, too
        (Path(folder)/'last').write_text(f'{i} {name}')
        began, suffix = time.monotonic(), rng.choice(['.png', '.tif', '.jpg',
            '.webp' if 'webp' in files else '.png', '.bmp'])
        try:
            if rng.random() < .5: src = data
            else:
                src = Path(folder)/'in.bin'
                src.write_bytes(data)
            for k, p in enumerate(open_pages(src)):
                x = coloured(p)
                deep = p.bits == 16 and suffix in ('.png', '.tif')
                if p.bits == 16 and not deep: suffix = '.png'
                save_picture(x, Path(folder)/f'out{suffix}', metadata=p.metadata, model='fuzz')
                assert all('\n' not in n and n for n in [*p.notes, *p.metadata.notes]), p.notes
            made += 1
        except PictureError as e:
            refused += 1
            if not str(e) or '\n' in str(e) or len(str(e)) > 400: wrong.append((i, name, f'no sentence: {e}'))
        except Exception as e: # anything else is what this test is for
            import traceback
            wrong.append((i, name, f'{type(e).__name__}: {e}', traceback.format_exc().splitlines()[-9:]))
        finally: faulthandler.cancel_dump_traceback_later()
        slow = max(slow, time.monotonic() - began)
    left = [f.name for f in Path(folder).iterdir() if f.name.startswith('.')]
    print(json.dumps(dict(seeds=len(files), made=made, refused=refused, wrong=wrong, slow=slow, left=left,
        peak=peak())))

if __name__ == '__main__': run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
