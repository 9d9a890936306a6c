"""Measure what the questions of Peisch, Pistor and Pandher (2021) need beyond `colorize-nb evaluate`: differences
between two models on the
same paintings, with intervals.

    python experiments/measure_paintings.py --data ../shared/data --runs runs

reads what `experiments/run_systems.py --judge` measured on paintings of all kinds, puts the genre's own pictures that
nobody learned from (valid and test together) before the same runs, and writes
`paintings.json` to nbs/recipes/results. Runs that are not there are left out.
"""
import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from colorize_nb.evaluate.evaluation import evaluate, find_set, load_evaluation
from colorize_nb.evaluate.methods import Protocol, average_ab, baselines, model_method
from colorize_nb.evaluate.report import harder_gray
from run_systems import GENRE, KEPT

BASE = 'paintings-cgan'
NAMES = [BASE, *[f'{BASE}-{v}' for v in ('l2', 'lr2e-4', 'lr4e-4', 'lambda50', 'lambda200')], 'paintings-zhang',
         'lite-paintings', *[f'paintings-{w}'
                             for w in ('genre', 'genre-20-20', 'genre-10-30', 'genre-fixed', 'artist')]]
BASELINES = 'gray', 'gray, luma', 'mean colour'
TINT = 'mean colour of the genre'
METRICS = 'psnr', 'ssim', 'rmse_lab', 'ciede2000', 'colorfulness', 'colorfulness_distance'

def rounded(interval): return [None if o != o else float(f'{o:.5g}') for o in interval]

def summary(ev, names):
    "Figures, gains over gray, and differences to the base."
    gray = harder_gray(ev)
    return dict(n=len(ev.pictures), gray=gray,
                figures={m: {f: rounded(i) for f in METRICS if (i := ev.metric(m, f)) is not None}
                         for m in (*BASELINES, *names)}
                | {'truth': dict(colorfulness=rounded(ev.metric('truth', 'colorfulness')))},
                gain={m: rounded(ev.difference(m, gray, 'psnr')) for m in names},
                against={m: {f: rounded(ev.difference(m, BASE, f)) for f in METRICS} for m in names if m != BASE})

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder of the sets')
    p.add_argument('--runs', required=True, help='folder of the runs')
    args = p.parse_args()
    runs, data, artists = Path(args.runs), Path(args.data)/'paintings', GENRE.split(',')
    every = load_evaluation(runs/'judged'/'paintings'/'metrics.json')
    # a model may still be learning
    ready = [n for n in NAMES if all((runs/n/f).exists() for f in ('model.safetensors', 'metrics.json'))]
    found = {f'{s}/{n}': p for s in ('valid', 'test')
             for n, p in find_set(data, s).items() if n.split('/')[0] in artists}
    tint = replace(baselines(average_ab([p for n, p in find_set(data, 'train').items()
                                         if n.split('/')[0] in artists]))[2], name=TINT)
    genre = evaluate([tint] + [model_method(runs/n/'model.safetensors', n) for n in ready], data,
                     protocol=Protocol('squish', 64), found=found, truth=True)
    res = dict(genre=artists, all=summary(every, [n for n in ready if n in every.methods]),
               of_genre=summary(genre, [TINT, *ready]))
    # an interval on a line
    text = re.sub(r'\[[^\[\]{}]*\]', lambda m: ' '.join(m[0].split()).replace('[ ', '[').replace(' ]', ']'),
                  json.dumps(res, indent=1))
    (KEPT/'paintings.json').write_text(text + '\n')

if __name__ == '__main__': main()
