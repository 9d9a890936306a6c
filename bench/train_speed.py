"""A training step of the light generator as it is, compiled, in bfloat16, and both; and whether the loaders keep up:
a step on data that is there, a step with each loader in front of it, and the loader alone. Memory is that of three
steps in a process of their own, on a GPU what PyTorch reserves."""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from timing import compare, interleaved, peak_megabytes

BS, SIZE, DELTA = 32, 128, 20/110 # Huber's delta in scaled units

def batch():
    "Real photographs: (l, ab), scaled"
    from color_speed import pictures
    from colorize_nb.color.lab import rgb2lab, scale_lab
    rgb = pictures(BS, SIZE) # there are fewer, so some come twice
    lab = scale_lab(rgb2lab(torch.cat([rgb]*(-(-BS//len(rgb))))[:BS]))
    return lab[:, :1], lab[:, 1:]

def trainer(encoder, bf16=False, compiled=False):
    "A function that makes one step from (l, ab)"
    from colorize_nb.models.lite import lite_generator
    torch.manual_seed(0)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    net = lite_generator(encoder).to(device, memory_format=torch.channels_last).train()
    opt, forward = torch.optim.AdamW(net.parameters(), 1e-4), torch.compile(net.forward) if compiled else net.forward
    def step(l, ab):
        l, ab = l.to(device), ab.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=bf16): out = forward(l)
        torch.nn.functional.smooth_l1_loss(out[:, 1:].float(), ab, beta=DELTA).backward()
        opt.step(); opt.zero_grad()
        if device == 'cuda': torch.cuda.synchronize()
    return step

def stepper(encoder, **kw):
    "A function that makes one step; `torch.compile` does its work in the rounds that do not count"
    step, (l, ab) = trainer(encoder, **kw), batch()
    return lambda: step(l, ab)

def peak(encoder, **kw):
    "Megabytes that three steps take at most, measured in another process"
    done = subprocess.run([sys.executable, __file__, json.dumps(dict(encoder=encoder) | kw)], cwd=Path(__file__).parent,
                          capture_output=True, text=True)
    if done.returncode: sys.exit(done.stderr)
    return int(done.stdout)

def measure_peak(how):
    "Megabytes of three steps in this process"
    step = stepper(**how)
    for _ in range(3): step()
    if torch.cuda.is_available(): return round(torch.cuda.max_memory_reserved()/2**20)
    return round(peak_megabytes())

def loaders(folder, n=4*BS):
    "Two loaders of `n` JPEG files of 256 pixels: from the files, and from a store of 160 pixels in memory"
    from color_speed import pictures
    from PIL import Image
    from colorize_nb.train.data import ColorizeDataLoaders
    from colorize_nb.train.shards import shard_dls
    images = [Image.fromarray(im.permute(1, 2, 0).numpy()) for im in pictures(n, 256)]
    for i in range(n): images[i % len(images)].save(Path(folder)/f'{i:04d}.jpg', quality=90)
    files = sorted(Path(folder).iterdir())
    dls = ColorizeDataLoaders.from_files(files, size=SIZE, bs=BS, min_chroma=None)
    return {'files': dls.train, 'store': shard_dls(folder, side=160, size=SIZE, bs=BS, min_chroma=None).train}

def endless(dl):
    "Batches without an end: (l, ab) as plain tensors"
    while True:
        for l, *_, lab in dl: yield l.as_subclass(torch.Tensor), lab.as_subclass(torch.Tensor)[:, 1:]

def keeping_up(rounds):
    "A step with data at hand, with each loader, and each loader alone; pictures a second beside them"
    step, (l, ab) = trainer('mobilenet_v2'), batch()
    with tempfile.TemporaryDirectory() as folder:
        ways = {'step, data at hand': lambda: step(l, ab)}
        for name, dl in loaders(folder).items():
            fed, alone = endless(dl), endless(dl.new())
            ways[f'step, {name}'] = lambda fed=fed: step(*next(fed))
            ways[f'{name} alone'] = lambda alone=alone: next(alone) and None
        res = compare(interleaved(ways, rounds=rounds, warmup=2))
    for r in res.values(): r['pictures_per_second'] = round(1e3*BS/r['ms'])
    return res

def run(quick=False):
    "One table for each encoder, and one for the loaders"
    ways = {'as it is': {}, 'compiled': dict(compiled=True), 'bfloat16': dict(bf16=True),
            'compiled, bfloat16': dict(bf16=True, compiled=True)}
    title = f'{BS} pictures of {SIZE}x{SIZE}'
    def table(enc):
        times = interleaved({k: stepper(enc, **kw) for k, kw in ways.items()}, rounds=3 if quick else 9, warmup=2)
        res = compare(times)
        for k, r in res.items():
            r['pictures_per_second'] = round(1e3*BS/r['ms'])
            if not quick: r['peak_megabytes'] = peak(enc, **ways[k])
        return res
    encoders = 'mobilenet_v2', 'efficientnet_lite2'
    steps = {f'a step of lite_generator({enc!r}): {title}': table(enc) for enc in encoders}
    return steps | {f'the loader beside a step: {title}': keeping_up(4 if quick else 16)}

if __name__ == '__main__': print(measure_peak(json.loads(sys.argv[1])))
