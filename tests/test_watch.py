"`colorize --watch`: a folder that files arrive in, half of them at first; Ctrl-C, a kill and a restart."
import os
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import tifffile
from PIL import Image

from colorize_nb.colorizer.batch import colorize_files
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.io.samples import gray_sample

ROOT = Path(__file__).resolve().parent.parent
ENV = {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1', 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}

def file_of(im, format='PNG'):
    "The bytes of an image's file"
    out = BytesIO()
    im.save(out, format)
    return out.getvalue()

MOON = gray_sample('moon').resize((160, 160))

class Watcher:
    "`colorize-nb colorize scans --out colours --watch` as a process"
    def __init__(self, scans, out):
        self.log = open(out.parent/f'said-{time.monotonic_ns()}.txt', 'w+', encoding='utf-8')
        cmd = [sys.executable, '-m', 'colorize_nb', 'colorize', str(scans), '--out', str(out), '--watch']
        self.run = subprocess.Popen(cmd, env=os.environ | ENV, stderr=self.log, stdout=self.log)

    def said(self):
        self.log.flush()
        return Path(self.log.name).read_text(encoding='utf-8')

    def wait(self, test):
        "Wait until something is so; the limit is for a machine that does much else"
        for _ in range(2400):
            if test(): return
            assert self.run.poll() is None, self.said()
            time.sleep(.05)
        raise TimeoutError(self.said())

    def end(self, sig):
        self.run.send_signal(sig)
        return self.run.wait(60)

@pytest.fixture
def scans(tmp_path):
    (tmp_path/'scans').mkdir()
    return tmp_path/'scans'

posix = pytest.mark.skipif(os.name != 'posix', reason='signals')

@posix
def test_half_a_file_waits(scans, tmp_path):
    "The first half has arrived, and the program has looked; then the rest comes: one result, and it is whole"
    out, whole = tmp_path/'colours', file_of(MOON)
    w = Watcher(scans, out)
    (scans/'half.png').write_bytes(whole[:len(whole)//2])
    (scans/'a.png').write_bytes(whole)
    w.wait(lambda: (out/'a.png').exists()) # came later than the half
    assert 'half.png' not in w.said() and not (out/'half.png').exists()
    with open(scans/'half.png', 'ab') as f: f.write(whole[len(whole)//2:])
    w.wait(lambda: (out/'half.png').exists())
    assert w.end(signal.SIGINT) == 0, w.said()
    assert '2 done in' in w.said() and 'Traceback' not in w.said(), w.said()
    result, = colorize_files(scans/'a.png', tmp_path/'command', Colorizer.from_pretrained('default'))
    assert (out/'a.png').read_bytes() == (out/'half.png').read_bytes() == result.target.read_bytes()
    assert sorted(f.name for f in out.iterdir()) == ['a.png', 'half.png']

@posix
def test_a_restart_goes_on(scans, tmp_path):
    "Killed after the first result; a second program does the rest, and leaves nothing half written"
    out = tmp_path/'colours'
    for i in range(6): (scans/f'{i}.png').write_bytes(file_of(MOON.rotate(i)))
    w = Watcher(scans, out)
    w.wait(lambda: out.exists() and list(out.glob('*.png')))
    w.run.kill()
    w.run.wait()
    done = {f: f.stat().st_mtime_ns for f in out.glob('*.png')}
    w = Watcher(scans, out)
    w.wait(lambda: len(list(out.glob('*.png'))) == 6)
    assert w.end(signal.SIGTERM) == 0, w.said()
    assert done.items() <= {f: f.stat().st_mtime_ns for f in out.glob('*.png')}.items() # not made again
    assert sorted(f.name for f in out.iterdir()) == [f'{i}.png' for i in range(6)]

def test_layers_of_sixteen_bits(tmp_path):
    "`--format ora`: the scan's own values are the lower layer, and the command's 16-bit result is the upper one"
    values = np.asarray(MOON).astype(np.uint16)*200 + np.arange(160, dtype=np.uint16)
    tifffile.imwrite(tmp_path/'scan.tif', values, photometric='minisblack', resolution=(1200, 1200))
    for args in ['layers', '--format', 'ora'], ['plain', '--format', 'png']:
        cmd = [sys.executable, '-m', 'colorize_nb', 'colorize', 'scan.tif', '--out', *args]
        done = subprocess.run(cmd, cwd=tmp_path, env=os.environ | ENV, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    import png
    def read(data):
        w, h, rows, info = png.Reader(bytes=data).read()
        assert info['bitdepth'] == 16
        return np.array([list(r) for r in rows]).reshape(h, w, -1)
    with ZipFile(tmp_path/'layers'/'scan.ora') as z:
        files = {name: z.read(name) for name in z.namelist()}
    assert b'xres="1200" yres="1200"' in files['stack.xml'] and files['mimetype'] == b'image/openraster'
    assert np.array_equal(read(files['data/original.png']), np.repeat(values[..., None], 3, -1))
    assert np.array_equal(read(files['data/colours.png']), read((tmp_path/'plain'/'scan.png').read_bytes()))
    assert Image.open(BytesIO(files['Thumbnails/thumbnail.png'])).size == (160, 160)
