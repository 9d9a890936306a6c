"""Models at one colourfulness, picture by picture, with intervals: what each removes of the gray answer's chroma error,
and by how much less than the first of them.

    python experiments/equal_colour.py --data ../shared/data/photos --plates ../shared/data/plates default
        accurate=runs/accurate/model.safetensors

writes `nbs/results/equal_colour.json`. Each model's chroma is multiplied, for every way of asking anew, until the
pictures are on average half as colourful as the truth (`--at`); then errors are compared picture by picture, and for
the photographs in the mean of the three ways of asking too. A model with a distribution is measured by the calm end of
its knob. Photographs are asked with their true lightness and through both films that no training draws; plates by their
own exposures, where they choose nothing.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from colorize_nb.color.film import EVALUATION_FILMS
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.methods import EXPOSURES, Protocol, read_question, rgb8
from colorize_nb.evaluate.statistics import Bootstrap
from colorize_nb.io.read import open_picture
from colorize_nb.io.write import atomic_path
from colorize_nb.metrics.image import colorfulness
from measure_vividness import answers, measure
from plate_curves import calm

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'equal_colour.json'
CLOSE, MOST = .003, 8. # how near to the colourfulness that is asked for, share of the truth's; factor at most

def asked(found, film):
    "(picture, truth) of each question."
    for name, path in found.items():
        q = read_question(name, path, Protocol(), film=film)
        yield open_picture(Image.fromarray(q.gray)), q.truth

def factor(shown, x):
    "What chroma is multiplied by for a colourfulness of `x`; `shown` gives that of a factor."
    low, high = 0., MOST
    for _ in range(20):
        t = (low + high)/2 if high < MOST or low else 1.
        got = shown(t)
        if abs(got - x) < CLOSE: return t
        low, high = (t, high) if got < x else (low, t)
    raise SystemExit(f'no factor up to {MOST:g} gives {x:g} of the truth\'s colourfulness')

def errors(c, questions, x):
    "The factor, and the chroma error of each picture there; of gray too."
    share, T = calm(c)
    abs_ = [answers(c, p, [(share, T)])[share, T] for p, _ in questions]
    full = np.mean([colorfulness(rgb8(truth)).item() for _, truth in questions])
    def rows(t): return [measure(c, p, truth, ab, t) for (p, truth), ab in zip(questions, abs_)]
    t = factor(lambda t: np.mean([r['colour'] for r in rows(t)])/full, x)
    return t, *(np.array([r['error'] for r in rows(k)]) for k in (t, 0))

def measured(models, found, film, x):
    "name -> factor, chroma errors of the model and of gray"
    questions = list(asked(found, film))
    return {name: errors(c, questions, x) for name, c in models.items()}

def compared(*ways):
    "name -> share removed, and share that the first model removes more, with intervals; the mean of several ways"
    first = [next(iter(o.values()))[1] for o in ways]
    boot, res = Bootstrap(len(first[0])), {}
    for name in ways[0]:
        rows = [(e, gray, f) for (_, e, gray), f in zip((o[name] for o in ways), first)]
        def removed(w): return np.mean([(w@(gray - e))/(w@gray) for e, gray, _ in rows], 0)
        def ahead(w): return np.mean([(w@(e - f))/(w@gray) for e, gray, f in rows], 0)
        res[name] = {k: [round(v, 4) for v in boot(f)] for k, f in (('removed', removed), ('ahead', ahead))}
    return res

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('models', nargs='+', help='a name, or NAME=FILE; the first is compared with all others')
    p.add_argument('--data', type=Path, required=True, help='folder of a set with valid/')
    p.add_argument('--plates', type=Path, help='folder with truth/ and the exposures beside it')
    p.add_argument('--every', type=int, default=5, help='take each nth photograph')
    p.add_argument('--at', type=float, default=.5, help="colourfulness, share of the truth's")
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    models = {n: Colorizer.load(f or n) for n, _, f in (m.partition('=') for m in args.models)}
    photos = dict(list(find_set(args.data).items())[::args.every])
    ways = [('photos', photos, f) for f in (None, *EVALUATION_FILMS)]
    if args.plates: ways += [('plates', find_set(args.plates, film=f), f) for f in EXPOSURES]
    got, res = [], {}
    for data, found, film in ways:
        got.append((data, measured(models, found, film, args.at)))
        res[f'{data}, {film or "true lightness"}'] = rows = compared(got[-1][1])
        for name, r in rows.items():
            r['times'] = round(got[-1][1][name][0], 3)
            print(data, film, name, r, flush=True)
    res['photos, mean of the three'] = compared(*(o for data, o in got if data == 'photos'))
    print(res['photos, mean of the three'])
    kept = dict(at=args.at, n=len(photos), ways=res)
    with atomic_path(args.kept) as tmp: tmp.write_text(json.dumps(kept, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
