"""Short trainings through film: one thing changed at a time against one base, what was expected and what came of it.

    python experiments/try_film.py --data '../shared/data/more/*.tar' --photos ../shared/data/photos --out trials \\
        --cache runs/train160

Each trial shows the recipe `old-settled` 6,400 pictures of 128 pixels, seed 42, starting from `accurate`, but for what
it changes; one core takes some five minutes. `nbs/results/film_trials.csv` gets a row for each: what was asked, what
was expected, and the share of the gray answer's chroma error that is removed at half of the truth's colourfulness,
with the true lightness and through both films that no training draws, by the chroma head and by the sharpened mean of
the distribution (T = .4), on every tenth validation photograph. A trial that is finished is not repeated.
"""
import argparse
import csv
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from measure_vividness import FILMS, at, curves

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.train.recipe import get_recipe, variant
from colorize_nb.train.run import run_recipe
from colorize_nb.train.shards import ShardLoader, shard_dls

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'film_trials.csv'
START = Path(__file__).resolve().parent/'old_photographs'/'accurate'/'model.safetensors'
SIZE, SHOWN = 128, 6400
HEADS = dict(head=(0, 1), bins=(1, .4)) # mixtures of the chroma head and the distribution, see `measure_vividness`
WAYS = dict(zip(FILMS, ('plain', 'ordinary', 'ortho')))

@dataclass
class Trial:
    name:str # of the run
    asks:str # what is changed
    expects:str # written down before it ran
    phase:dict=field(default_factory=dict) # fields of the phase that are changed
    recipe:dict=field(default_factory=dict) # fields of the recipe that are changed
    few:bool=False # the 5,185 photographs alone
    of:str|None=None # measured is another trial's model
    works_at:int=160 # working size where it is measured, pixels
    seed:int=42

TRIALS = [
    Trial('base', 'nothing: half of the pictures through film, 47,000 pictures, weighted sources, hints, bins', ''),
    Trial('base-43', 'nothing but the seed', 'differs by less than .005: what is smaller below is noise', seed=43),
    Trial('no-film', 'film: none, and no damage', 'through film worse by .02, plain better by .01',
          recipe=dict(film=None, damage=None)),
    Trial('all-film', 'film: every picture', 'through film better by .01, plain worse by .01',
          recipe=dict(film=dict(p_plain=0.))),
    Trial('few', 'data: 5,185 pictures', 'plain better, they are like those that judge; film the same', few=True),
    Trial('unweighted', 'data: sources as they come', 'worse by .005: professions and sports are a third',
          recipe=dict(weights={})),
    Trial('no-hints', 'hints: none are simulated', 'no difference without hints', recipe=dict(hints=False)),
    Trial('no-bins', 'bins: not learned', 'the chroma head is the same', phase=dict(loss_args=dict(bins=0.))),
    Trial('at-96', 'size: 96 pixels, .6 of the time', 'worse by .01', recipe=dict(size=96)),
    Trial('at-160', 'size: 160 pixels, 1.6 times the time', 'better by .005', recipe=dict(size=160)),
    Trial('mobilenet', 'encoder: MobileNetV2, from the packaged `small`', 'worse by .02',
          recipe=dict(config=dict(encoder='mobilenet_v2'), model='small', parameters=None)),
    Trial('works-128', 'working size: 128 pixels', 'worse by .005 plain, no worse through film', of='base',
          works_at=128),
    Trial('works-192', 'working size: 192 pixels', 'no difference', of='base', works_at=192),
]

def recipe_of(trial, n):
    "The recipe `old-settled` from `accurate`, shown 6,400 of `n` pictures, with what the trial changes."
    base, epochs = get_recipe('old-settled'), -(-SHOWN//n)
    phase = replace(base.phases[0], epochs=epochs, fraction=SHOWN/epochs/n, size=None)
    plain = {k: v for k, v in trial.recipe.items() if not isinstance(v, dict) or not v} # not joined to what was there
    base = replace(base, size=SIZE, phases=[phase], model=str(START))
    rec = variant(base, f'try-{trial.name}', trial.asks, phase=trial.phase,
                  **{k: v for k, v in trial.recipe.items() if k not in plain})
    return replace(rec, **plain)

def pictures(trial, learn, cache):
    "How many an epoch of a trial shows, by the weights of its sources."
    weights = trial.recipe.get('weights', get_recipe('old-settled').weights)
    store = shard_dls(learn, .01, 160, **cache).train.dataset
    return ShardLoader(store, weights={k: w for k, w in weights.items() if k in store.counts()}).n

def figures(c, found):
    "Share removed at half of the truth's colourfulness, by way of asking and head."
    by_film = {f: curves(c, found, f, list(HEADS.values())) for f in FILMS}
    return {f'{w}_{h}': round(at(by_film[f][m], .5, 'removed'), 4) for f, w in WAYS.items() for h, m in HEADS.items()}

def train(trial, args):
    "The model's file of a trial, trained if there is none."
    out = args.out/(trial.of or trial.name)
    if (out/'metrics.json').exists(): return out/'model.safetensors'
    learn = [str(args.photos/'train')]
    if not trial.few: learn = [*args.data, *learn]
    cache = dict(cache=args.cache) if args.cache and not trial.few else {}
    run_recipe(recipe_of(trial, pictures(trial, learn, cache)), learn, out, valid=args.photos/'valid',
               seed=trial.seed, resume=(out/'checkpoint.pt').exists(), log=partial(print, trial.name, flush=True),
               **cache)
    return out/'model.safetensors'

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', action='append', required=True, help='folder, tar file or pattern; again for more')
    p.add_argument('--photos', type=Path, required=True, help='folder with train/, learned from too, and valid/')
    p.add_argument('--out', type=Path, required=True, help='folder for the runs')
    p.add_argument('--cache', help='file that keeps the small images')
    p.add_argument('--only', nargs='+', metavar='NAME', help='some trials')
    p.add_argument('--every', type=int, default=10, help='measure on each nth photograph')
    p.add_argument('--kept', type=Path, default=KEPT, help='table to write')
    args = p.parse_args()
    if unknown := set(args.only or ()) - {t.name for t in TRIALS}:
        raise SystemExit(f"no trial named {', '.join(unknown)}: there are {', '.join(t.name for t in TRIALS)}")
    rows = {}
    if args.kept.exists(): rows = {r['name']: r for r in csv.DictReader(args.kept.open(newline='', encoding='utf-8'))}
    found = dict(list(find_set(args.photos).items())[::args.every])
    for t in TRIALS:
        if t.name in rows or (args.only and t.name not in args.only): continue
        c = Colorizer.load(train(t, args))
        c.size = t.works_at
        rows[t.name] = dict(name=t.name, asks=t.asks, expects=t.expects) | figures(c, found)
        print(rows[t.name], flush=True)
        with args.kept.open('w', newline='', encoding='utf-8') as f:
            w = csv.DictWriter(f, list(rows[t.name]), lineterminator='\n')
            w.writeheader()
            w.writerows(rows[o.name] for o in TRIALS if o.name in rows)
    print(f'{args.kept}: {len(rows)} trials')

if __name__ == '__main__': main()
