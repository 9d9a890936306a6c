"""Which model should be taken if nobody asks for one: the rule, applied to what `equal_colour.py` and `count_faults.py`
have measured.

    python experiments/equal_colour.py --data ../shared/data/photos --plates ../shared/data/plates \\
        --kept equal.json default=DEFAULT mean=runs/mean/model.safetensors ...
    python experiments/count_faults.py --data ../shared/data/historical --true ../shared/data/photos \\
        --kept faults.json default=DEFAULT mean=runs/mean/model.safetensors ...
    python experiments/choose_default.py equal.json faults.json [equal2.json faults2.json ...]

writes `nbs/results/choice.json`. Further files are of the same first model and of more candidates.

The rule, written down before any of the candidates was measured. The first model is the one that is taken now; it and
the candidates ask for the same `contrast`. A candidate takes its place if at half of the truth's colourfulness

- it removes surely more of the chroma error (95 % interval) through ordinary and through orthochromatic film,
- it does not remove surely less where it is asked with the true lightness,

and if, as it comes, it gives one tint to at most four of the 68 old photographs and patches to as many: of true
photographs one in twenty has either, by the choice of the limits. Among several, the one that removes most in the mean
of the three ways of asking. Plates have no say; what they say is printed beside it.

`old-photographs` stays a model of its own beside it only if it is surely ahead of the one that is taken, in the mean of
the three ways (`equal_colour.py` with the one that is taken first); if not, one model is enough for photographs, and
its name stands for that. This was written down before the candidates that an own training made were measured.
"""
import argparse
import json
from pathlib import Path

from colorize_nb.io.write import atomic_path

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'choice.json'
PHOTOS = 'photos, true lightness', 'photos, ordinary', 'photos, orthochromatic'
MEAN = 'photos, mean of the three'
MOST = 1/17 # of the old photographs may have one tint, or patches: 4 of 68

def gains(equal, name):
    "Way of asking -> by how much more a model removes than the first, with its interval."
    def turned(o): return [round(-o[0], 4), round(-o[2], 4), round(-o[1], 4)] # kept is the first less the other
    return {way: turned(rows[name]['ahead']) for way, rows in equal['ways'].items()}

def reasons(gain, fault):
    "Why a candidate does not take the place; none if it does."
    plain, *films = PHOTOS
    res = [f'not surely ahead: {f}' for f in films if not gain[f][1] > 0]
    if gain[plain][2] < 0: res.append(f'surely behind: {plain}')
    return res + [f"{fault[k]} of {fault['n']} with {k}" for k in ('tint', 'patches') if fault[k] > MOST*fault['n']]

def choose(equal, faults):
    "name -> gains and reasons of each candidate, and the name that is taken."
    first, *names = next(iter(equal['ways'].values()))
    res = {n: (g := gains(equal, n), reasons(g, faults['models'][n])) for n in names}
    able = [n for n, (_, why) in res.items() if not why]
    return res, max(able, key=lambda n: res[n][0][MEAN][0], default=first)

def merged(files):
    "What `equal_colour.py` and `count_faults.py` have kept, of all files together."
    equal, faults = dict(ways={}), dict(models={})
    for o in (json.loads(f.read_text(encoding='utf-8')) for f in files):
        for way, rows in o.get('ways', {}).items(): equal['ways'].setdefault(way, {}).update(rows)
        faults['models'] |= o.get('models', {})
    return equal, faults

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('files', nargs='+', type=Path, help='what equal_colour.py and count_faults.py wrote')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args(args)
    equal, faults = merged(args.files)
    res, taken = choose(equal, faults)
    counted = {n: {k: faults['models'][n][k] for k in ('n', 'tint', 'patches')} for n in res}
    for n, (gain, why) in res.items():
        print(n, '; '.join(why) or 'able', counted[n], sep=': ')
        for way, (mean, low, high) in gain.items(): print(f'  {way}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]')
    kept = dict(taken=taken, models={n: dict(ahead=gain, why=why, **counted[n]) for n, (gain, why) in res.items()})
    with atomic_path(args.kept) as tmp: tmp.write_text(json.dumps(kept, indent=1) + '\n', encoding='utf-8')
    print('taken:', taken)

if __name__ == '__main__': main()
