"""Skin by its tone: how near a colorizer comes on light and on dark skin, with the true lightness and through two films
that no training draws.

    python experiments/measure_faces.py --data ../shared/data/faces default accurate=runs/accurate/model.safetensors

writes `nbs/results/faces_by_tone.json`. The tone is the individual typology angle of the true colours, in the groups of
Del Bino and Bernerd (2013); skin is what has a skin's hue and chroma in the middle of the picture, the median of it
counts. That is a rough mask and photographs have white balances of their own, so groups are blurred, not people judged.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch

from colorize_nb.color.film import EVALUATION_FILMS
from colorize_nb.color.lab import rgb2lab
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.methods import Protocol, model_method, read_question, rgb8
from colorize_nb.io.write import atomic_path

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'faces_by_tone.json'
GROUPS = {'light': (41, 91), 'intermediate': (28, 41), 'tan': (10, 28), 'brown and dark': (-91, 10)} # degrees
MIDDLE = (.3, .75), (.3, .7) # rows and columns, shares of the height and the width
LEAST = 150 # pixels of skin

def lab(im): return rgb2lab(rgb8(im).float()/255)[0].numpy()

def typology_angle(l, b):
    "The individual typology angle of L* and b*, degrees (Chardon, Cretois and Hourseau 1991)"
    return float(np.degrees(np.arctan2(l - 50, b)))

def tone(l, b):
    "The group of a skin of L* and b*"
    return next(n for n, (low, high) in GROUPS.items() if low < typology_angle(l, b) <= high)

def skin(true):
    "Where an image in Lab (3,h,w) shows skin"
    (l, a, b), (h, w) = true, true.shape[1:]
    inside = np.zeros((h, w), bool)
    inside[tuple(slice(int(low*n), int(high*n)) for (low, high), n in zip(MIDDLE, (h, w)))] = True
    hue, chroma = np.degrees(np.arctan2(b, a)), np.hypot(a, b)
    return inside & (15 < hue) & (hue < 85) & (8 < chroma) & (chroma < 50) & (20 < l) & (l < 93)

def faces(found, film):
    "Question, true Lab and mask of each picture that shows enough skin"
    for name, path in found.items():
        q = read_question(name, path, Protocol(), film=film)
        true = lab(q.truth)
        mask = skin(true)
        if mask.sum() >= LEAST: yield q, true, mask

def measure(method, found, film):
    "Chroma error on skin, that of gray, and what chroma is missing, a row for each face"
    for q, true, mask in faces(found, film):
        ab, want = lab(method(q))[1:, mask], true[1:, mask]
        yield dict(tone=tone(*np.median(true[::2, mask], 1)), error=float(np.hypot(*(ab - want)).mean()),
                   gray=float(np.hypot(*want).mean()), chroma=float(np.hypot(*ab).mean()),
                   shift=(ab - want).mean(1).round(2).tolist())

def summary(rows):
    "Figures of one group, with 95 % intervals over faces"
    error, gray, chroma = (np.array([r[k] for r in rows]) for k in ('error', 'gray', 'chroma'))
    draws = np.random.default_rng(0).integers(0, len(rows), (2000, len(rows)))
    def shown(f): return [round(float(o), 3) for o in (f(np.arange(len(rows))),
                                                       *np.percentile([f(d) for d in draws], (2.5, 97.5)))]
    return dict(n=len(rows), removed=shown(lambda d: 1 - error[d].mean()/gray[d].mean()),
                error=shown(lambda d: error[d].mean()), chroma=shown(lambda d: chroma[d].mean()/gray[d].mean()),
                shift=np.mean([r['shift'] for r in rows], 0).round(2).tolist())

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('models', nargs='+', help='a name, or NAME=FILE')
    p.add_argument('--data', type=Path, required=True, help='folder of faces in colour')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    found, table = find_set(args.data, 'all'), {}
    torch.set_grad_enabled(False)
    for model in args.models:
        name, _, file = model.partition('=')
        method = model_method(file or name, name)
        for film in (None, *EVALUATION_FILMS):
            rows = list(measure(method, found, film))
            got = {g: [r for r in rows if r['tone'] == g] for g in GROUPS}
            table.setdefault(str(film), {})[name] = {g: summary(o) for g, o in got.items() if len(o) > 4}
            print(name, film, {g: (o['n'], o['removed']) for g, o in table[str(film)][name].items()}, flush=True)
    with atomic_path(args.kept) as tmp:
        kept = dict(data=args.data.name, groups=GROUPS, films=table)
        tmp.write_text(json.dumps(kept, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
