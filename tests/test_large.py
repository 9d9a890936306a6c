"A hundred megapixels from file to file, in at most 1.5 GB of memory, PyTorch included."
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

SIDE = 10_000
RUN = '''import resource, sys
sys.argv = ["colorize-nb", *sys.argv[1:]]
from colorize_nb.cli.app import main
try: main()
finally:
    try: kb = next(int(o.split()[1]) for o in open("/proc/self/status") if o.startswith("VmHWM")) # Linux counts the parent's peak into ru_maxrss
    except OSError: kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(1024 if sys.platform == "darwin" else 1)
    print("peak", int(kb*1024))'''

@pytest.fixture(scope='module')
def scan(tmp_path_factory):
    "Gray values of a large scan: a wedge with grain"
    rng = np.random.default_rng(0)
    tile = rng.normal(0, 6, (1000, 1000)).astype(np.float32)
    return (np.tile(tile, (10, 10)) + np.linspace(20, 235, SIDE, dtype=np.float32)).clip(0, 255).astype(np.uint8)

@pytest.mark.skipif(os.name != 'posix', reason='reads the peak as POSIX tells it')
@pytest.mark.parametrize('mode,suffix', [('L', '.jpg'), ('RGB', '.tif')])
def test_hundred_megapixels(scan, tmp_path, mode, suffix):
    old, new = tmp_path/'scan.tif', tmp_path/'new'
    Image.fromarray(scan).convert(mode).save(old)
    done = subprocess.run([sys.executable, '-c', RUN, 'colorize', old, '--out', new, '--format', suffix[1:]], env={**os.environ, 'OMP_NUM_THREADS': '1', 'OMP_WAIT_POLICY': 'PASSIVE'}, capture_output=True, text=True)
    assert done.returncode == 0 and '1 done' in done.stdout and not done.stderr, done.stdout + done.stderr
    assert int(done.stdout.split('peak')[1]) <= 1.5e9
    with Image.open(new/f'scan{suffix}') as im:
        assert im.size == (SIDE, SIDE)
        part = np.asarray(im.crop((4000, 5000, 4400, 5300)).convert('RGB'))
    asked = rgb2lab(np.repeat(scan[5000:5300, 4000:4400, None], 3, 2))[..., 0]
    assert np.abs(rgb2lab(part)[..., 0] - asked).mean() < (1 if suffix == '.jpg' else .15) # the right place, the same lightness; grain at JPEG's quality 95 costs the rest
