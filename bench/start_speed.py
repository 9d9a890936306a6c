"Start: seconds from a cold process to help and to one coloured picture, and the light generator alone."
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from timing import interleaved

def command(*args):
    "Run `colorize-nb` in a process of its own"
    done = subprocess.run([sys.executable, '-m', 'colorize_nb', *map(str, args)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONUTF8': '1'})
    if done.returncode: sys.exit(f"colorize-nb {' '.join(map(str, args))} failed:\n{done.stdout}{done.stderr}")

def run(quick=False):
    "One table of median seconds"
    from color_speed import pictures
    from PIL import Image

    from colorize_nb.models.lite import lite_generator
    model, l = lite_generator().eval(), torch.zeros(1, 1, 256, 256)
    with tempfile.TemporaryDirectory() as tmp:
        small = Path(tmp)/'small.png'
        Image.fromarray(pictures(1)[0].permute(1, 2, 0).numpy()).convert('L').save(small)
        tasks = {'colorize-nb --help': lambda: command('--help'),
                 'colorize-nb colorize, one picture of 256x256': lambda: command('colorize', small, '--out',
                     Path(tmp)/'out', '--overwrite'),
                 'lite_generator, one picture of 256x256': lambda: model(l)}
        with torch.inference_mode(): times = interleaved(tasks, 2 if quick else 7, warmup=1)
    return {'start, seconds': {n: dict(ms=round(1e3*median(t), 1)) for n, t in times.items()}}
