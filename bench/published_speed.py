"""Published colorizers with random weights, beside the packaged model: the network at 256x256 and at its own working
size, a 12-megapixel JPEG from file to file with the peak of memory, and how long a stored file takes to load.

Each colorizer is measured in a process of its own, so that the peak is its own."""
import json
import re
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
NAMES = ('default', 'eccv16', 'siggraph17', 'ddcolor-tiny', 'ddcolor-modelscope', 'deoldify-artistic',
         'deoldify-stable')
SIDE = 256

def store(name, folder):
    "A stored colorizer as the catalog keeps it, with random weights"
    import torch
    from safetensors.torch import save_file
    from colorize_nb.models import catalog, registry
    p = catalog.PUBLISHED[name]
    torch.manual_seed(0)
    state = registry.published_network(p.network).state_dict()
    card = dict(name=name, size=p.size, saturation=1., format=1, arch=registry.PUBLISHED_ARCH,
                config=dict(network=p.network))
    save_file({k: v.contiguous() for k, v in state.items()}, folder/'model.safetensors')
    (folder/'model.json').write_text(json.dumps(card))

LONG = 5 # seconds of a call that is not repeated so often

def timed(f, rounds):
    "Median seconds of a call, after one that does not count; one more is enough for what takes long"
    times = []
    while len(times) <= (rounds if not times or times[0] < LONG else 1):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return median(times[1:])

def peak():
    "Megabytes that this process held at most; `ru_maxrss` would count what its parent held too (Linux)"
    status = Path('/proc/self/status').read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1])*1024/1e6

def measure(model, photo, new, rounds):
    "What one colorizer takes, in this process; seconds and megabytes"
    import numpy as np
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.io.read import open_picture
    from colorize_nb.io.write import save_picture
    if model != 'default': import_module('torch') # which is not loading a model
    start = time.perf_counter()
    c = Colorizer.from_pretrained(model, 'cpu')
    loaded = time.perf_counter() - start
    def lightness(side): return np.random.default_rng(0).uniform(0, 100, (1, side, side)).astype(np.float32)
    def whole():
        p = open_picture(photo)
        save_picture(c.merge_chroma(p, c.predict_ab([p])[0], 'jpeg'), new, metadata=p.metadata, model=c.name)
    whole()
    most = peak()
    small, own = lightness(SIDE), lightness(c.size)
    return dict(loaded=loaded, peak=most, size=c.size, at_256=timed(lambda: c.engine.predict(small), rounds),
                at_own=timed(lambda: c.engine.predict(own), rounds), whole=timed(whole, rounds))

def run(quick=False):
    "Four tables; `by_ours` is relative to the packaged model"
    from painting_speed import scans
    found = {}
    with tempfile.TemporaryDirectory() as tmp:
        photo, _ = scans(Path(tmp))
        for name in NAMES[:2] if quick else NAMES:
            model = 'default'
            if name != 'default':
                model = Path(tmp)/name
                model.mkdir()
                store(name, model)
            args = sys.executable, __file__, model, photo, Path(tmp)/'new.jpg', 1 if quick else 3
            done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=True, cwd=HERE)
            found[name] = json.loads(done.stdout)
            if name != 'default': (model/'model.safetensors').unlink()
    def table(key, more=lambda r: {}):
        ours = found['default'][key]
        return {n if n == 'default' else f'{n}, random weights': dict(ms=round(1e3*r[key], 1),
                by_ours=round(r[key]/ours, 2)) | more(r) for n, r in found.items()}
    return {f'published networks, {SIDE}x{SIDE}': table('at_256'),
            "published networks, each at its own working size": table('at_own', lambda r: dict(size=r['size'])),
            'published colorizers, 12 megapixels from JPEG to JPEG':
                table('whole', lambda r: dict(peak_megabytes=round(r['peak']))),
            'published colorizers, loading from a stored file': table('loaded')}

if __name__ == '__main__': print(json.dumps(measure(*sys.argv[1:4], int(sys.argv[4]))))
