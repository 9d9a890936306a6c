"""Published colorizers with random weights, beside the packaged model: how long a stored file takes to load, a
12-megapixel JPEG from file to file at the model's own working size with the peak of memory, the network at 256x256.
Random weights are as fast as trained ones; `keep_sane` says what is done to them first.

Each colorizer has a process of its own, so that the peak is its own, and so the large JPEG is its first picture, as for
whoever colours one. What is counted is the processor time of all threads, which hardly depends on what else the machine
does: on free cores the clock shows less, by up to their number."""
import json
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from timing import compare, peak_megabytes

HERE = Path(__file__).resolve().parent
NAMES = ('default', 'eccv16', 'siggraph17', 'ddcolor-tiny', 'ddcolor-modelscope', 'deoldify-artistic',
         'deoldify-stable')
SIDE = 256

def keep_sane(net, planes):
    """Let random weights answer with numbers, as trained ones do: on the residual ResNets of DeOldify maps grow from
    block to block, beyond all numbers at last. One pass in training mode gives batch norms the statistics of what they
    see, and spectral norms a fair estimate of their largest singular values"""
    import torch
    from torch import nn
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms: m.momentum = 1. # of this batch alone
    with torch.no_grad(): net.train()(torch.rand(1, planes, 128, 128)*(100 if planes == 1 else 1))
    net.eval()

def store(name, folder):
    "A stored colorizer as the catalog keeps it, with random weights"
    import torch
    from safetensors.torch import save_file
    from colorize_nb.models import catalog, registry
    p = catalog.PUBLISHED[name]
    torch.manual_seed(0)
    net = registry.published_network(p.network)
    keep_sane(net, 1 if p.network in ('eccv16', 'siggraph17') else 3)
    state = net.state_dict()
    card = dict(name=name, size=p.size, saturation=1., format=1, arch=registry.PUBLISHED_ARCH,
                config=dict(network=p.network))
    save_file({k: v.contiguous() for k, v in state.items()}, folder/'model.safetensors')
    (folder/'model.json').write_text(json.dumps(card))

def timed(f):
    "Seconds of processor time of a call"
    start = time.process_time()
    f()
    return time.process_time() - start

def measure(model, photo, new):
    "What one colorizer takes, in this process; seconds and megabytes"
    import numpy as np
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.io.read import open_picture
    from colorize_nb.io.write import save_picture
    if model != 'default': import_module('torch') # which is not loading a model
    start = time.process_time()
    c = Colorizer.from_pretrained(model, 'cpu')
    loaded = time.process_time() - start
    def whole():
        p = open_picture(photo)
        save_picture(c.merge_chroma(p, c.predict_ab([p])[0], 'jpeg'), new, metadata=p.metadata, model=c.name)
    small = np.random.default_rng(0).uniform(0, 100, (1, SIDE, SIDE)).astype(np.float32)
    whole_time, most = timed(whole), peak_megabytes()
    return dict(loaded=loaded, size=c.size, whole=whole_time, peak=most, at_256=timed(lambda: c.engine.predict(small)))

ROUNDS = 1 # enough for what differs by factors

def tables(
    found, # name -> list of what `measure` returned, one for each round; the packaged model is the first
):
    "Three tables; `by_ours` is relative to the packaged model, within a round"
    def table(key, **more): # more: name of a column -> figure of a process, of which the largest counts
        rows = compare({name: [r[key] for r in rs] for name, rs in found.items()})
        def column(name, k): return round(max(r[k] for r in found[name]))
        return {n: row | {title: column(n, k) for title, k in more.items()} for n, row in rows.items()}
    return {f'published networks, random weights, {SIDE}x{SIDE}': table('at_256'),
            'published colorizers, random weights, 12 megapixels from JPEG to JPEG':
                table('whole', peak_megabytes='peak', size='size'),
            'published colorizers, random weights, loading a stored file': table('loaded')}

def run(quick=False):
    "See `tables`"
    from painting_speed import scans
    names = NAMES[:2] if quick else NAMES
    found = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as tmp:
        photo, _ = scans(Path(tmp))
        for r in range(ROUNDS):
            k = r*3 % len(names)
            for name in names[k:] + names[:k]:
                model = 'default'
                if name != 'default':
                    model = Path(tmp)/name
                    model.mkdir(exist_ok=True)
                    store(name, model)
                args = [str(a) for a in (sys.executable, __file__, model, photo, Path(tmp)/'new.jpg')]
                done = subprocess.run(args, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE)
                found[name].append(json.loads(done.stdout))
                print(name, found[name][-1], flush=True)
                if name != 'default': (model/'model.safetensors').unlink()
    return tables(found)

if __name__ == '__main__': print(json.dumps(measure(*sys.argv[1:4])))
