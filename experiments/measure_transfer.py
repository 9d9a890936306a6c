"""Measure what the questions of Buttau and Gatto need beyond `colorize-nb evaluate`: differences between two models on
the
same pictures, with intervals.

    python experiments/measure_transfer.py --data ../shared/data --runs runs

reads the runs of experiments/run_systems.py, takes the pictures that `colorize-nb evaluate --resize squish --pixels 64
--limit 128` takes of each set, and writes
`transfer.json` to nbs/recipes/results. Runs that are not there are left out.
"""
import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.models.registry import find_model
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.evaluation import psnr_conventions
from colorize_nb.io.files import find_pictures
from colorize_nb.evaluate.statistics import Bootstrap, mean_of
from colorize_nb.evaluate.methods import Protocol, average_ab, baselines, take_question
from colorize_nb.metrics.image import ciede2000, colorfulness, ssim
from run_systems import KEPT

SETS = 'flowers', 'faces', 'photos', 'paintings'
TUNED = [f'finetune-{d}' for d in ('flowers', 'faces', 'paintings')]
PAIRED = 'psnr', 'ssim', 'ciede2000', 'colorfulness'

def names_on(data):
    "The runs that answer to set `data`: those that learned from it or from photographs, and all that were tuned."
    return [f'unet-gan-{k}-{d}' for d in dict.fromkeys((data, 'photos'))
            for k in ('scratch', 'pretrained') if data != 'paintings'] + TUNED

def pairs(data):
    "Which two are compared on set `data`: first minus second."
    # one's own set, or photographs
    own = [(f'unet-gan-{k}-{data}', f'unet-gan-{k}-photos') for k in ('scratch', 'pretrained') if data != 'photos']
    return [(f'unet-gan-pretrained-{data}', f'unet-gan-scratch-{data}'), *own,
            *[(n, b) for n in TUNED for b in ('small', 'small, 64 px')]]

def as_batch(ims): return torch.from_numpy(np.stack([np.asarray(im) for im in ims])).permute(0, 3, 1, 2)

def figures(pred, truth):
    "Each figure of each picture; an infinite PSNR has no place in a mean."
    res = psnr_conventions(pred, truth) | dict(ssim=ssim(pred, truth), ciede2000=ciede2000(pred, truth),
                                               colorfulness=colorfulness(pred))
    return {k: np.where(np.isfinite(v := o.double().numpy()), v, np.nan) for k, o in res.items()}

def judge(data, runs):
    "All models on one set, picture by picture."
    protocol, found = Protocol('squish', 64), find_set(data, limit=128)
    shots = [take_question(n, protocol.read(p)) for n, p in found.items()]
    truth, gray = as_batch([s.truth for s in shots]), [Image.fromarray(s.gray) for s in shots]
    answers = {m.name: as_batch([m(s) for s in shots]) for m in baselines(average_ab(find_pictures(data/'train')))}
    models = {n: f for n in names_on(data.name) if (f := runs/n/'model.safetensors').exists()
              and (f.parent/'metrics.json').exists()} | dict(small='small')
    for n, f in models.items():
        c = Colorizer.load(find_model(f))
        for name, size in {n: None, **({f'{n}, 64 px': 64} if n == 'small' else {})}.items():
            answers[name] = as_batch([im.convert('RGB') for im in c.batch(gray, batch_size=16, size=size)])
    got, boot = {n: figures(a, truth) for n, a in answers.items()}, Bootstrap(len(shots))
    def interval(v): return [None if o != o else float(f'{o:.5g}') for o in boot(mean_of(v))]
    def minus(x, y, f='psnr'): return interval(got[x][f] - got[y][f])
    hard = max(('gray', 'gray, luma'), key=lambda n: np.nanmean(got[n]['psnr']))
    return dict(n=len(shots), gray=hard, figures={n: {f: interval(v) for f, v in g.items()} for n, g in got.items()}
                | {'truth': dict(colorfulness=interval(colorfulness(truth).double().numpy()))},
                gain={n: minus(n, hard) for n in got if not n.startswith('gray')},
                over_tint={n: minus(n, 'mean colour') for n in list(got)[3:]},
                differences={f'{x} - {y}': {f: minus(x, y, f) for f in PAIRED}
                             for x, y in pairs(data.name) if x in got and y in got})

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder of the sets')
    p.add_argument('--runs', required=True, help='folder of the runs')
    args, res = p.parse_args(), {}
    for d in SETS:
        res[d] = judge(Path(args.data)/d, Path(args.runs))
        print(d, res[d]['n'], res[d]['gain'], flush=True)
    # an interval on a line
    text = re.sub(r'\[[^\[\]{}]*\]', lambda m: ' '.join(m[0].split()).replace('[ ', '[').replace(' ]', ']'),
                  json.dumps(res, indent=1))
    (KEPT/'transfer.json').write_text(text + '\n')

if __name__ == '__main__': main()
