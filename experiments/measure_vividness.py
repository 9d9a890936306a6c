"""What the knob from calm to vivid should do: chroma error against colourfulness for answers that mix the chroma head
with the mean of the distribution, as they are and through both films that no training draws.

    python experiments/measure_vividness.py run/model.safetensors --data ../shared/data/photos --against default small
        [--old ../shared/data/historical] [--write]

writes `nbs/results/vividness.json` (`--kept`: another). The rule:

- With --old, a folder of old photographs, only mixtures count that give at most one in eight of them one tint, as
  `count_faults.py` counts (of true photographs one in twenty has one); where none does, the one with the fewest.
- Mixtures are compared at equal colourfulness, by the share of the gray answer's chroma error that is removed, in the
  mean over the three ways of asking: plain, ordinary film, orthochromatic film.
- The calm end is the mixture that removes most at 50 % of the truth's colourfulness, multiplied by what gives the best
  PSNR where it is asked plainly, or by the most that is within .05 dB of it: two seeds differ by as much. The vivid end
  is the mixture that removes most at 90 %, multiplied by what gives 90 % where it is asked plainly.
- The value that is taken where nobody asks is the largest of 0, .05, .1 ... 1 that keeps three quarters of the most
  that any value removes, in the mean of both films.

All but --old and the .05 dB was written down before anything was measured. --old came when a sharpened distribution was
seen to leave half of the old photographs in one tint; the .05 dB when the best PSNR of a chroma head was found at seven
tenths of its chroma, for .01 dB. With --colours the calm end and the value are the model's colours as they were
trained, and only the vivid end follows the rule. `--write` puts the knob into the model's description, and what is
packaged wants `python tools/graphs.py` after that; `--again` takes the curves that are kept. Plates are not looked at
here.
"""
import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from count_faults import KEPT as FAULTS
from count_faults import measured as faults_of

from colorize_nb.color.film import EVALUATION_FILMS
from colorize_nb.color.grid import mean_color
from colorize_nb.colorizer.core import Colorizer, working_lightness, working_shape
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.measures import measure_chroma
from colorize_nb.evaluate.methods import Protocol, read_question, rgb8
from colorize_nb.io.read import open_picture
from colorize_nb.io.write import atomic_path
from colorize_nb.metrics.image import colorfulness, psnr

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'vividness.json'
MIXES = (0, 1), (.5, 1), (1, 1), (.5, .6), (1, .6), (1, .4) # share of the distribution's mean, its temperature
TIMES = .7, 1., 1.4, 1.9, 2.6
FILMS = None, *EVALUATION_FILMS
NOISE = .05 # dB
MOST = 1/8 # of the old photographs may have one tint
GRID = [round(i*.05, 2) for i in range(21)]

def mix(share, T): return f'{share:g} at T={T:g}'

def answers(c, picture, mixes):
    "Chroma of one picture by each mixture."
    ab, logits = c.engine.answer(working_lightness(c.engine, picture, *working_shape(*picture.size, c.size))[None])
    return {m: ((1 - m[0])*ab + m[0]*mean_color(logits, m[1]) if m[0] else ab)[0] for m in mixes}

def measure(c, picture, truth, ab, times):
    "Figures of one answer."
    im = np.asarray(c.merge_chroma(picture, ab, saturation=times))
    return dict(psnr=psnr(rgb8(im), rgb8(truth)).item(), colour=colorfulness(rgb8(im)).item(),
                error=measure_chroma(im, truth)['chroma_error'])

def means(rows):
    "Means over pictures whose PSNR is a number."
    return {k: float(np.mean([r[k] for r in rows if np.isfinite(r['psnr'])])) for k in rows[0]}

def curves(c, found, film, mixes, times=TIMES):
    "Means for gray, and for each mixture and factor; the truth's colourfulness."
    rows, gray, truth = {(m, t): [] for m in mixes for t in times}, [], []
    for name, path in found.items():
        q = read_question(name, path, Protocol(), film=film)
        picture = open_picture(Image.fromarray(q.gray))
        truth.append(colorfulness(rgb8(q.truth)).item())
        for m, ab in answers(c, picture, mixes).items():
            for t in times: rows[m, t].append(measure(c, picture, q.truth, ab, t))
        gray.append(measure(c, picture, q.truth, ab, 0))
    zero, full = means(gray), float(np.mean(truth))
    def row(v): return dict(psnr=v['psnr'], gain=v['psnr'] - zero['psnr'], colour=v['colour']/full,
                            removed=1 - v['error']/zero['error'])
    return {m: [dict(times=t, **row(means(rows[m, t]))) for t in times] for m in mixes}

def at(points, x, key, by='colour'):
    "`key` where `by` is `x`, straight between the measured points."
    points = sorted([dict(times=0, psnr=points[0]['psnr'] - points[0]['gain'], gain=0, colour=0, removed=0), *points],
                    key=lambda p: p[by])
    return float(np.interp(x, [p[by] for p in points], [p[key] for p in points]))

def film_curves(model, data, every, film):
    "The curves of one film, for a process of its own."
    return curves(Colorizer.load(model), pictures(data, every), film, MIXES)

def pictures(data, every):
    "Each nth picture that judges."
    return dict(list(find_set(data).items())[::every])

def tints(c, found, mixes=MIXES):
    "How many old photographs each mixture gives one tint, and the mean length of its chroma there."
    limit, rows = json.loads(FAULTS.read_text(encoding='utf-8'))['limits']['tint'], {m: [] for m in mixes}
    for path in found.values():
        picture = open_picture(Image.fromarray(Protocol().read(path)).convert('L'))
        for m, ab in answers(c, picture, mixes).items(): rows[m].append(faults_of(c.merge_chroma(picture, ab)))
    return {m: dict(n=len(o), tint=sum(r['tint'] > limit for r in o), chroma=float(np.mean([r['chroma'] for r in o])))
            for m, o in rows.items()}

def allowed(old):
    "The mixtures that leave few enough old photographs in one tint."
    fewest = min(o['tint'] for o in old.values())
    return [m for m, o in old.items() if o['tint'] <= max(MOST*o['n'], fewest)]

def best(by_film, colour, mixes):
    "The mixture that removes most at one colourfulness, in the mean over the films."
    return max(mixes, key=lambda m: np.mean([at(o[m], colour, 'removed') for o in by_film.values()]))

def setting(knob, x):
    "Share, temperature and factor at the value `x` of a knob."
    return tuple(a + (b - a)*x for a, b in zip(knob['calm'], knob['full']))

def measured(c, found, film, knob, x):
    "Means of one film at the value `x` of a knob."
    share, T, times = setting(knob, x)
    return curves(c, found, film, [(share, T)], [times])[share, T][0]

def calm_end(by_film, mixes):
    "Mixture and factor of the calm end by the rule above."
    calm, fine = best(by_film, .5, mixes), np.linspace(.5, 2.6, 211)
    gains = np.array([at(by_film[None][calm], t, 'gain', 'times') for t in fine])
    return [*calm, round(float(fine[np.flatnonzero(gains >= gains.max() - NOISE)[-1]]), 2)]

def choose(c, found, by_film, mixes=MIXES, calm=None, value=None):
    "The knob by the rule above, of the mixtures that are allowed, but for what is given."
    full = best(by_film, .9, mixes)
    times = round(at(by_film[None][full], .9, 'times'), 2)
    ends = dict(calm=list(calm or calm_end(by_film, mixes)), full=[*full, times])
    if value is not None: return dict(value=value, **ends)
    films = [f for f in by_film if f] or [None]
    def removed(x): return np.mean([measured(c, found, f, ends, x)['removed'] for f in films])
    some = {x: removed(x) for x in GRID[::4]}
    line = [float(np.interp(x, list(some), list(some.values()))) for x in GRID]
    return dict(value=max(x for x, r in zip(GRID, line) if r >= .75*max(line)), **ends)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('model', help='.safetensors file of a model with a distribution')
    p.add_argument('--data', type=Path, required=True, help='folder of a set with valid/')
    p.add_argument('--against', nargs='*', default=[],
                   help='models without a distribution, for the same table: a name, or NAME=FILE')
    p.add_argument('--old', type=Path, help='folder of old photographs, which are not to be in one tint')
    p.add_argument('--plain', action='store_true', help='no films: for pictures that are no photographs')
    p.add_argument('--colours', action='store_true',
                   help='calm end and value are the colours as trained, for a model that had no distribution before')
    p.add_argument('--every', type=int, default=5, help='take each nth picture')
    p.add_argument('--again', action='store_true', help='choose anew from the curves in the kept file')
    p.add_argument('--workers', type=int, default=1, help='films measured at once')
    p.add_argument('--write', action='store_true', help="write the knob into the model's description")
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    found = pictures(args.data, args.every)
    c = Colorizer.load(args.model)
    films = FILMS[:1] if args.plain else FILMS
    if args.again:
        was = json.loads(args.kept.read_text(encoding='utf-8'))
        table, old = was['films'], {m: o for m in MIXES if (o := was['old'].get(mix(*m)))}
        by_film = {f: {m: table[str(f)][mix(*m)] for m in MIXES} for f in films}
    else:
        with ProcessPoolExecutor(args.workers, get_context('spawn')) as pool:
            by_film = dict(zip(films, pool.map(partial(film_curves, args.model, args.data, args.every), films)))
        table = {str(f): {mix(*m): v for m, v in o.items()} for f, o in by_film.items()}
        old = tints(c, find_set(args.old)) if args.old else {}
    for name in () if args.again else args.against:
        label, _, file = name.partition('=')
        other = Colorizer.load(file or label)
        for f in films: table[str(f)][label] = curves(other, found, f, [(0, 1)])[0, 1]
    for f, o in table.items():
        for name, v in o.items():
            print(f, name, [[round(p[k], 3) for k in ('times', 'gain', 'colour', 'removed')] for p in v],
                  [round(at(v, x, 'removed'), 3) for x in (.5, .65, .9)], flush=True)
    given = dict(calm=[0, 1, 1.], value=0.) if args.colours else {}
    knob = choose(c, found, by_film, allowed(old) if old else MIXES, **given)
    values = sorted({0, knob['value'], 1})
    at_values = {str(f): [dict(value=x, **measured(c, found, f, knob, x)) for x in values] for f in films}
    print({mix(*m): o for m, o in old.items()}, knob, json.dumps(at_values))
    ends = dict(calm=mix(*knob['calm'][:2]), full=mix(*knob['full'][:2]))
    kept = dict(data=args.data.name, n=len(found), knob=knob, ends=ends, settings=at_values, films=table,
                old={mix(*m): o for m, o in old.items()})
    text = json.dumps(kept, indent=1)
    args.kept.write_text(json.dumps(json.loads(text, parse_float=lambda o: round(float(o), 4)), indent=1) + '\n')
    if args.write:
        path = Path(args.model).with_suffix('.json')
        card = json.loads(path.read_text()) | dict(vivid=knob)
        with atomic_path(path) as tmp: tmp.write_text(json.dumps(card, indent=1) + '\n')

if __name__ == '__main__': main()
