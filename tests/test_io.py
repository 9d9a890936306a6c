"An archive with every kind of picture, stopped and started again; broken files; large scans."
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

import warm
from colorize_nb.io.samples import gray_sample, sample
from fuzz_io import MEGABYTES, SECONDS

ROOT = Path(__file__).resolve().parent.parent
# Lightness that rounding cannot explain: scikit-image's rounded matrix .02, the tolerance of the gamut on dark
# colours .05; the table's corners where wild colours leave the gamut
EXACT, TABLE = 0.08, 0.8

GRAY = np.asarray(gray_sample('camera').resize((131, 97)))
WIDE = np.asarray(gray_sample('brick').resize((3000, 7)))
CAT = np.asarray(sample('chelsea').resize((120, 80)))
ALPHA = np.add.outer(np.arange(97), np.arange(131)).astype(np.uint8)
NAMES = ['gray.png', 'la.png', 'colour.png', 'rgba.png', 'palette.png', 'clear.png', 'bit.png', 'fax.tif',
    'deep.png', 'deep.tif', 'float.tif', 'lab.tif', 'cmyk.tif', 'dot.png', 'strip.png',
         'tower.png', 'side.png', 'plain.bmp', 'moving.gif', 'Größe/木漏れ日/e\u0301té №1.png', 'a b/c.d/LOUD.PNG',
         'old.jpg', 'cmyk.jpg', 'phone.jpg', 'web.webp'] # good ones
# each has one sentence
BAD = ['empty.jpg', 'text.png', 'sub/cut.jpg', 'cut.png', 'cut.tif', 'stub.png', 'noise.jpg', 'bomb.png']

def pillow(path, mode='RGB'): return np.asarray(Image.open(path).convert(mode)) # what Pillow itself decodes

def make_good(d):
    "Write the good pictures below `d`; {name: ((h,w) or (h,w,3) values in [0,1] that are to be seen, alpha or None)}"
    want = {}
    def add(name, im, see, alpha=None, **kw):
        (d/name).parent.mkdir(parents=True, exist_ok=True)
        im.save(d/name, **kw)
        want[name] = (see(d/name)/255 if callable(see) else see), alpha
    gray, cat = Image.fromarray(GRAY), Image.fromarray(CAT)
    la, rgba = gray.convert('LA'), Image.fromarray(np.dstack([CAT, ALPHA[:80, :120]]))
    la.putalpha(Image.fromarray(ALPHA))
    palette = cat.quantize(16)
    exif6, exif8 = Image.Exif(), Image.Exif()
    exif6[0x112], exif8[0x112] = 6, 8
    deep = np.clip(GRAY.astype(np.uint16)*257 + np.arange(131).astype(np.uint16), 0, 65535)
    add('gray.png', gray, GRAY/255)
    add('la.png', la, GRAY/255, ALPHA)
    add('colour.png', cat, CAT/255)
    add('rgba.png', rgba, CAT/255, ALPHA[:80, :120])
    add('palette.png', palette, pillow)
    add('clear.png', palette, pillow, np.where(np.asarray(palette) == 3, 0, 255), transparency=3)
    add('bit.png', Image.fromarray(GRAY > 100), (GRAY > 100)*1.)
    add('fax.tif', Image.fromarray(GRAY > 100), (GRAY > 100)*1., compression='group4')
    add('deep.png', Image.fromarray(deep), deep/65535)
    add('deep.tif', Image.fromarray(deep), deep/65535)
    add('float.tif', Image.fromarray(GRAY.astype(np.float32)/255), GRAY/255)
    add('lab.tif', Image.merge('LAB', [gray, gray, gray]), None) # lightness itself is stored
    add('cmyk.tif', cat.convert('CMYK'), pillow)
    add('cmyk.jpg', cat.convert('CMYK'), pillow)
    add('dot.png', Image.fromarray(GRAY[:1, :1]), GRAY[:1, :1]/255)
    add('strip.png', Image.fromarray(WIDE), WIDE/255)
    add('tower.png', Image.fromarray(WIDE.T.copy()), WIDE.T/255)
    add('side.png', Image.fromarray(np.rot90(CAT, -1).copy()), CAT/255, exif=exif8) # 8: turn it left to see it
    # 6: turn it right
    add('phone.jpg', Image.fromarray(np.rot90(CAT, 1).copy()), lambda f: np.rot90(pillow(f), -1), exif=exif6,
        quality=95)
    add('plain.bmp', gray, GRAY/255)
    add('moving.gif', gray, GRAY/255, save_all=True, append_images=[gray.rotate(90)])
    add('Größe/木漏れ日/e\u0301té №1.png', gray, GRAY/255)
    add('a b/c.d/LOUD.PNG', gray, GRAY/255)
    add('old.jpg', gray, pillow, quality=90)
    add('web.webp', cat, pillow, quality=90)
    return want

DEEP = ['deep.png', 'deep.tif', 'float.tif'] # more than 8 bits in, so more than 8 bits out

def sixteen(path):
    "A picture's 16-bit values, as another program reads them"
    if path.suffix == '.tif':
        import tifffile
        return tifffile.imread(path)
    import png
    width, height, rows, info = png.Reader(filename=str(path)).asDirect()
    assert info['bitdepth'] == 16
    return np.array([np.asarray(r, np.uint16) for r in rows]).reshape(height, width, info['planes'])

def make_bad(d):
    rng = np.random.default_rng(0)
    (d/'sub').mkdir()
    (d/'empty.jpg').touch()
    (d/'text.png').write_text('Dear diary, no picture today.\n')
    (d/'noise.jpg').write_bytes(rng.bytes(3000))
    Image.fromarray(CAT).save(d/'whole.tif')
    for name, whole in [('sub/cut.jpg', 'old.jpg'), ('cut.png', 'gray.png'), ('cut.tif', 'whole.tif')]:
        (d/name).write_bytes((d/whole).read_bytes()[:-1500])
    (d/'whole.tif').unlink()
    (d/'stub.png').write_bytes((d/'gray.png').read_bytes()[:20])
    Image.new('1', (20000, 10000)).save(d/'bomb.png')
    (d/'notes.txt').write_text('no picture by its name')

def result(out, name): # where the result of `name` lies
    return out/name if Path(name).suffix.lower() != '.gif' else (out/name).with_suffix('.png')

def files(d):
    return {f.relative_to(d).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in d.rglob('*')
        if f.is_file()}

def l_of(see, shift=0): # scikit-image's L of values in [0,1] moved by `shift`
    see = np.dstack([see]*3) if see.ndim == 2 else see
    return rgb2lab((see + shift).clip(0, 1))[..., 0]

@pytest.fixture(scope='module')
def model(tmp_path_factory):
    "A light network with random weights and strong colours"
    import torch
    from colorize_nb.models.registry import save_generator
    from colorize_nb.models.lite import lite_generator
    torch.manual_seed(0)
    net = lite_generator()
    torch.nn.init.normal_(net.head.weight, std=10)
    return save_generator(net, tmp_path_factory.mktemp('model')/'random.safetensors', dict(size=96))

@pytest.fixture(scope='module')
def archive(tmp_path_factory, model):
    "(folder, what is to be seen, folder of results, records) of one run over everything"
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.colorizer.batch import colorize_files
    old = tmp_path_factory.mktemp('archive')/'old'
    old.mkdir()
    want = make_good(old)
    make_bad(old)
    assert list(sorted(want)) == sorted(NAMES)
    before, out = files(old), old.parent/'new'
    records = list(colorize_files(old, out, Colorizer.load(model, 'cpu'), force=True)) # the coloured ones too
    assert files(old) == before # inputs are as they were
    return old, want, out, {Path(r.source).relative_to(old).as_posix(): r for r in records}

@pytest.mark.parametrize('name', NAMES)
def test_good_picture(archive, name):
    old, want, out, records = archive
    assert records[name].status == 'done', records[name].message
    see, alpha = want[name]
    with Image.open(result(out, name)) as im:
        assert im.mode == ('RGB' if alpha is None else 'RGBA')
        assert im.getexif().get(0x112, 1) == 1 # upright now
        got = np.asarray(im)
    true = GRAY/2.55 if see is None else l_of(see)
    assert got.shape[:2] == true.shape
    if alpha is not None: assert np.array_equal(got[..., 3], alpha)
    if name in DEEP: got = sixteen(result(out, name)) # Pillow shows the upper half of the bits only
    top = np.iinfo(got.dtype).max
    rgb = got[..., :3]/top
    if name.endswith(('.jpg', '.webp')): # stored with loss: close everywhere, and the right way up
        assert np.abs(l_of(rgb) - true).mean() < 1
    # each value is at most half a step off, so half a step down is darker than the input and half a step up lighter
    else:
        slack = EXACT if name in DEEP else TABLE
        assert (l_of(rgb, -0.5/top) - true).max() < slack and (true - l_of(rgb, 0.5/top)).max() < slack
        assert np.abs(l_of(rgb) - true).mean() < .15
    if name not in ('bit.png', 'fax.tif', 'dot.png'):
        # black and white hold no colour, the rest has some
        assert np.ptp(got[..., :3].astype(int), axis=2).max() > 4

def test_exact_is_exact(archive, model):
    "By formula nothing but rounding is left"
    from colorize_nb.colorizer.core import Colorizer
    old, want, *_ = archive
    c = Colorizer.load(model, 'cpu')
    for name in ['gray.png', 'colour.png', 'cmyk.tif', 'strip.png']:
        rgb, true = np.asarray(c(old/name, exact=True))/255, l_of(want[name][0])
        assert (l_of(rgb, -0.5/255) - true).max() < EXACT and (true - l_of(rgb, 0.5/255)).max() < EXACT

def test_what_has_colours_is_copied(archive, model, tmp_path):
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.colorizer.batch import colorize_files
    old, *_ = archive
    names = ['colour.png', 'phone.jpg', 'web.webp', 'gray.png', 'old.jpg', 'deep.tif']
    got = {Path(r.source).name: r for r in colorize_files([old/n for n in names], tmp_path/'new',
        Colorizer.load(model, 'cpu'))}
    assert {n: r.status for n, r in got.items()} == {n: 'copied' if n in ('colour.png', 'phone.jpg', 'web.webp')
        else 'done' for n in names}
    for n in ['colour.png', 'phone.jpg', 'web.webp']:
        assert (tmp_path/'new'/n).read_bytes() == (old/n).read_bytes() and n in got[n].message

@pytest.mark.parametrize('name', BAD)
def test_bad_picture_is_named_in_one_sentence(archive, name):
    old, _, out, records = archive
    r = records[name]
    assert r.status == 'failed' and name in r.message.replace(os.sep, '/') and '\n' not in r.message
    assert not result(out, name).exists()

def test_nothing_else_happened(archive):
    old, want, out, records = archive
    assert set(records) == {*NAMES, *BAD, 'notes.txt'}
    assert records['notes.txt'].status == 'skipped' and 'notes.txt' in records['notes.txt'].message
    # no temporary file among them
    assert sorted(files(out)) == sorted(result(out, n).relative_to(out).as_posix() for n in NAMES)

def test_second_run_does_only_what_is_left(archive, model):
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.colorizer.batch import colorize_files
    old, want, out, _ = archive
    c, before = Colorizer.load(model, 'cpu'), files(out)
    for name in ['gray.png', 'moving.gif']: result(out, name).unlink()
    times = {f: (out/f).stat().st_mtime_ns for f in files(out)}
    done = [Path(r.source).name for r in colorize_files(old, out, c, force=True) if r.status == 'done']
    assert sorted(done) == ['gray.png', 'moving.gif']
    assert files(out) == before and {f: (out/f).stat().st_mtime_ns for f in times} == times

def test_one_by_one_is_the_same_and_formats_are_kept(archive, model):
    from colorize_nb.colorizer.core import Colorizer
    old, _, out, _ = archive
    c = Colorizer.load(model, 'cpu')
    for name in ['side.png', 'rgba.png', 'la.png', 'strip.png']: # a batch may round one step differently
        assert np.abs(np.asarray(c(old/name)).astype(int) - np.asarray(Image.open(out/name))).max() <= 2
    for name, fmt in [('old.jpg', 'JPEG'), ('deep.tif', 'TIFF'), ('web.webp', 'WEBP'), ('plain.bmp', 'BMP'),
        ('a b/c.d/LOUD.PNG', 'PNG')]:
        with Image.open(out/name) as im: assert im.format == fmt

# one thread does not fight with tests beside it
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE', 'PYTHONUTF8': '1'}
def cli(*args):
    return warm.run('colorize', *args, cwd=ROOT, env=ENV, timeout=500)

def alike(new, out):
    "Same files, same pictures; threads and batches may round one step differently, and JPEG and WebP make more of it"
    assert set(files(new)) == set(files(out))
    for f in files(new):
        a, b = (np.asarray(Image.open(d/f)).astype(int) for d in (new, out))
        assert a.shape == b.shape and np.abs(a - b).max() <= (12
            if Path(f).suffix.lower() in ('.jpg', '.jpeg', '.webp') else 2), f

def test_command_line(archive, model, tmp_path):
    old, want, out, _ = archive
    new = tmp_path/'new'
    done = cli(old, '--out', new, '--model', model, '--device', 'cpu', '--batch-size', 4, '--force')
    text = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in text, text
    alike(new, out)
    first = files(new)
    lines = done.stderr.replace('\\', '/').splitlines()
    for name in [*BAD, 'notes.txt']:
        assert sum(f'/{name} ' in line or f'/{name}:' in line for line in lines) == 1, (name, text)
    assert f'{len(NAMES)} done' in text and f'{len(BAD)} failed' in text
    result(new, 'gray.png').unlink()
    again = cli(old, '--out', new, '--model', model, '--device', 'cpu', '--force')
    assert again.returncode == 1 and '1 done' in again.stdout + again.stderr
    left = {f: h for f, h in first.items() if f != 'gray.png'}
    assert {f: h for f, h in files(new).items() if f in left} == left # not touched
    alike(new, out)
    good = cli(old/'gray.png', old/'Größe', '--out', tmp_path/'good', '--model', model, '--device', 'cpu')
    assert good.returncode == 0 and len(files(tmp_path/'good')) == 2, good.stderr

@pytest.mark.skipif(os.name != 'posix', reason='needs POSIX signals')
@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_started_again(model, tmp_path, sig):
    old, new, n = tmp_path/'old', tmp_path/'new', 40
    old.mkdir()
    picture = sample('rocket').convert('L').resize((480, 320))
    for i in range(n): picture.rotate(9*i).save(old/f'{i:02}.jpg')
    args = [old, '--out', new, '--model', model, '--device', 'cpu', '--format', 'png', '--batch-size', 1]
    run = warm.start('colorize', *args, cwd=ROOT, env=ENV)
    end = time.monotonic() + 400
    while len(list(new.glob('*.png'))) < 3 and run.poll() is None and time.monotonic() < end: time.sleep(0.01)
    run.send_signal(sig)
    _, err = run.communicate(timeout=200)
    first = files(new)
    whole = {f: h for f, h in first.items() if f.endswith('.png')}
    assert 3 <= len(whole) < n, err
    assert run.returncode == (130 if sig == signal.SIGINT else -signal.SIGKILL) and 'Traceback' not in err
    if sig == signal.SIGINT: assert whole == first # it cleaned up
    for f in whole:
        with Image.open(new/f) as im:
            im.load()
            assert im.size == picture.size
    times = {f: (new/f).stat().st_mtime_ns for f in whole}
    again = cli(*args)
    assert again.returncode == 0 and f'{n - len(whole)} done' in again.stdout + again.stderr
    assert sorted(files(new)) == [f'{i:02}.png' for i in range(n)] # nor is a temporary file left
    assert {f: (new/f).stat().st_mtime_ns for f in times} == times # what was done was left alone

def test_packaged_model():
    "The model that comes with the package colours photographs that it was not trained on"
    from colorize_nb.colorizer.core import Colorizer
    c = Colorizer.from_pretrained('default', device='cpu')
    for x in [sample('chelsea'), sample('china')]:
        got = np.asarray(c(x))
        assert got.shape == np.asarray(x).shape
        assert np.ptp(got.astype(int), axis=2).mean() > 8 # steps of 256 between the largest and smallest channel

@pytest.mark.skipif(os.name != 'posix', reason='limits of memory are POSIX')
@pytest.mark.parametrize('count', [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_broken_files(tmp_path, count):
    "Each is coloured or refused in one sentence; no crash, no hang, no flood of memory"
    env = os.environ | dict(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', PYTHONWARNINGS='ignore')
    script = Path(__file__).with_name('fuzz_io.py')
    done = subprocess.run([sys.executable, script, '0', str(count), tmp_path], cwd=ROOT, env=env,
        capture_output=True, text=True, timeout=600)
    last = (tmp_path/'last').read_text() if (tmp_path/'last').exists() else 'none'
    assert done.returncode == 0, f'ended with {done.returncode} at file {last}: {done.stderr[-3000:]}'
    got = json.loads(done.stdout.splitlines()[-1])
    assert not got['wrong'], got['wrong'][:5]
    assert not got['left'] and got['made'] + got['refused'] == count
    assert got['made'] > count/20 and got['refused'] > count/20
    assert got['slow'] < SECONDS and got['peak'] < MEGABYTES*1024 # kilobytes on Linux

PEAK = '''import resource, sys
sys.argv = ["colorize-nb", *sys.argv[1:]]
from colorize_nb.cli.app import main
try: main()
finally:
    try: # Linux counts the parent's peak into ru_maxrss
        kb = next(int(o.split()[1]) for o in open("/proc/self/status") if o.startswith("VmHWM"))
    except OSError: kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(1024 if sys.platform == "darwin" else 1)
    print("peak", int(kb*1024))'''

def make_scan(side):
    "Gray values of a large scan: a wedge with grain"
    rng = np.random.default_rng(0)
    tile = rng.normal(0, 6, (1000, 1000)).astype(np.float32)
    grain = np.tile(tile, (side//1000, side//1000))
    return (grain + np.linspace(20, 235, side, dtype=np.float32)).clip(0, 255).astype(np.uint8)

@pytest.mark.skipif(os.name != 'posix', reason='reads the peak as POSIX tells it')
@pytest.mark.parametrize('side,gigabytes,mode,suffix', [(3000, 1., 'L', '.jpg'), (3000, 1., 'RGB', '.tif'),
    pytest.param(10_000, 1.5, 'L', '.jpg', marks=pytest.mark.slow),
    pytest.param(10_000, 1.5, 'RGB', '.tif', marks=pytest.mark.slow)])
def test_large_scan(tmp_path, side, gigabytes, mode, suffix):
    "From file to file, in at most so much memory, PyTorch included"
    old, new, scan = tmp_path/'scan.tif', tmp_path/'new', make_scan(side)
    Image.fromarray(scan).convert(mode).save(old)
    done = subprocess.run([sys.executable, '-c', PEAK, 'colorize', old, '--out', new, '--format', suffix[1:]],
        env=ENV, capture_output=True, text=True)
    assert done.returncode == 0 and '1 done' in done.stdout and not done.stderr, done.stdout + done.stderr
    assert int(done.stdout.split('peak')[1]) <= gigabytes*1e9
    y, x = side//2, side*2//5
    with Image.open(new/f'scan{suffix}') as im:
        assert im.size == (side, side)
        part = np.asarray(im.crop((x, y, x + 400, y + 300)).convert('RGB'))
    asked = rgb2lab(np.repeat(scan[y:y + 300, x:x + 400, None], 3, 2))[..., 0]
    # the right place, the same lightness; grain at JPEG's quality 95 costs the rest
    assert np.abs(rgb2lab(part)[..., 0] - asked).mean() < (1 if suffix == '.jpg' else .15)
