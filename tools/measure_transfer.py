"""Measure what the questions of paper 001 need beyond `colorize-nb evaluate`: differences between two models on the same pictures, with intervals.

    python tools/measure_transfer.py --data ../shared/data --runs runs

reads the runs of tools/run_systems.py, puts the pictures of each set that nobody learned from (photos: 256 of them) before them and the packaged model, and writes
`transfer.json` to nbs/recipes/results. Runs that are not there are left out.
"""
import argparse
import json
import re
from pathlib import Path

from colorize_nb.evaluation import evaluate
from colorize_nb.methods import Protocol, model_method
from colorize_nb.tables import harder_gray, is_baseline

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'recipes'/'results'
SETS = 'flowers', 'faces', 'photos', 'paintings'
GANS = [f'unet-gan-{k}-{d}' for d in SETS[:3] for k in ('scratch', 'pretrained')]
TUNED = [f'finetune-{d}' for d in ('flowers', 'faces', 'paintings')]
FIGURES = 'psnr', 'ssim', 'rmse_lab', 'ciede2000', 'colorfulness', 'colorfulness_distance', 'psnr_unit', 'psnr_signed', 'psnr_ab', 'psnr_lab'
PAIRED = 'psnr', 'ssim', 'ciede2000', 'colorfulness'

def pairs(models, data):
    "Which two are compared on set `data`: first minus second."
    has = lambda *ns: all(n in models for n in ns)
    a, b = f'unet-gan-scratch-{data}', f'unet-gan-pretrained-{data}'
    res = [(b, a)] + [(f'unet-gan-{k}-{data}', f'unet-gan-{k}-photos') for k in ('scratch', 'pretrained') if data != 'photos'] # pretraining; one's own set or photographs
    return [p for p in res + [(n, 'default') for n in TUNED] if has(*p)]

def rounded(interval): return [None if o != o else float(f'{o:.5g}') for o in interval]

def judge(models, folder):
    "All models on one set."
    methods = [model_method(f, n) for n, f in models.items()] + [model_method('default', 'default'), model_method('default', 'default', size=64)] # the second as 'default, 64 px'
    ev = evaluate(methods, folder, protocol=Protocol('squish', 64), limit=256)
    gray, names = harder_gray(ev), [m for m in ev.methods if not is_baseline(ev, m)]
    return dict(n=len(ev.pictures), split=ev.protocol['split'], gray=gray,
                figures={m: {f: rounded(i) for f in FIGURES if (i := ev.figure(m, f)) is not None} for m in ev.methods} | {'truth': dict(colorfulness=rounded(ev.figure('truth', 'colorfulness')))},
                gain={m: rounded(ev.difference(m, gray, 'psnr')) for m in ['mean colour', *names]},
                over_tint={m: rounded(ev.difference(m, 'mean colour', 'psnr')) for m in names},
                differences={f'{x} - {y}': {f: rounded(ev.difference(x, y, f)) for f in PAIRED} for x, y in pairs([*models, 'default'], Path(folder).name)})

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder of the sets'); p.add_argument('--runs', required=True, help='folder of the runs')
    args = p.parse_args()
    models = {n: f for n in GANS + TUNED if (f := Path(args.runs)/n/'model.safetensors').exists() and (f.parent/'metrics.json').exists()}
    res = {}
    for d in SETS:
        res[d] = judge(models, f'{args.data}/{d}')
        print(d, res[d]['n'], res[d]['differences'], flush=True)
    text = re.sub(r'\[[^\[\]{}]*\]', lambda m: ' '.join(m[0].split()).replace('[ ', '[').replace(' ]', ']'), json.dumps(res, indent=1)) # an interval on a line
    (KEPT/'transfer.json').write_text(text + '\n')

if __name__ == '__main__': main()
