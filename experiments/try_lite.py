"""Short trials before a long training: one thing changed at a time, all on the same five thousand pictures, and what
came of it.

    python experiments/try_lite.py --data ../shared/data/photos --out trials
    python experiments/try_lite.py --data ../shared/data/photos --out trials --only mobilenet_v2 l2

Each trial trains the recipe `accurate` for one epoch on 5,120 pictures of 64 pixels, seed 42, but for what it changes;
one core of a CPU takes some two minutes. `nbs/results/trials.csv` gets a row for
each: what was asked, what was expected, PSNR beside gray, share of the truth's colourfulness. A trial that is finished
is not repeated.
"""
import argparse
import csv
import json
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from gather_sets import gather

from colorize_nb.train.recipe import variant
from colorize_nb.train.recipe import get_recipe
from colorize_nb.train.run import run_recipe

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'trials.csv'
SIZE, LIMIT = 64, 5120
# CC BY and CC BY-SA, CC0, public domain, Pexels and Unsplash: nothing against commercial use is stated
FREE = 'nips17', 'food', 'metaext', 'elementary', 'clothing', 'intel'

@dataclass
class Trial:
    name:str # of the run
    asks:str # what is changed
    expects:str # written down before it ran
    phase:dict=field(default_factory=dict) # fields of the phase that are changed
    recipe:dict=field(default_factory=dict) # fields of the recipe that are changed
    limit:int=LIMIT # pictures
    epochs:int=1
    keys:tuple=() # only pictures from these sources, by the first word of their names

def encoder(name, parameters=None, **config):
    return dict(config=dict(encoder=name) | config, encoder=name, parameters=parameters)

TRIALS = [
    Trial('base', 'nothing: EfficientNet-Lite2, Huber at 20', ''),
    Trial('base-43', 'nothing but the seed', 'differs by less than 0.05 dB: what is smaller below is noise'),
    Trial('mobilenet_v2', 'encoder: MobileNetV2, 72 % on ImageNet instead of 78', 'worse by 0.1 dB',
          recipe=encoder('mobilenet_v2')),
    Trial('resnet18', 'encoder: ResNet-18 to its third stage, 70 %', 'worse by 0.1 dB, in three times the time',
          recipe=encoder('resnet18', depth=4, nf=[256, 128, 96]) | dict(encoder='resnet18_to_layer3')),
    Trial('scratch', 'encoder: the same from random weights', 'hardly above gray', recipe=dict(encoder=None)),
    Trial('frozen', 'encoder: does not learn', 'worse, and faster', phase=dict(freeze=True)),
    Trial('fast', 'encoder: learns at 3e-4, not at 6e-5', 'forgets ImageNet: worse by 0.05 dB',
          phase=dict(enc_lr=3e-4)),
    Trial('l2', 'loss: L2', 'more PSNR for the strong colours, less for the mean over pictures', phase=dict(loss='l2')),
    Trial('l1', 'loss: L1', 'duller than Huber at 20', phase=dict(loss='l1')),
    Trial('psnr', 'loss: minus PSNR', 'the best PSNR, and timid', phase=dict(loss='psnr', lr=1e-3)),
    Trial('perceptual', "loss: Huber and 0.05 of VGG19's maps to relu3_1", 'livelier, no better in PSNR',
          phase=dict(extra=dict(perceptual=.05))),
    Trial('bins', 'loss: 313 bins, rebalanced, annealed mean at .38',
          'livelier than the truth in places, PSNR below gray', phase=dict(loss='bins'),
          recipe=dict(arch='lite_bins', config=dict(encoder='efficientnet_lite2', head='bins', T=.38),
                      parameters=None)),
    Trial('boost', 'target: saturation 1.2', 'livelier, and a tenth of a dB worse', recipe=dict(boost=1.2)),
    Trial('no-film', 'augmentation: no blur and no grain', 'better by 0.05 dB on clean pictures',
          recipe=dict(tfms=dict(blur=0., grain=0.))),
    Trial('wide', 'decoder: half as wide again', 'no difference within one epoch',
          recipe=encoder('efficientnet_lite2', nf=[384, 192, 144, 96])),
    Trial('finer', 'decoder: stops at half the size, not at a quarter', 'no gain: the eye and JPEG need no more',
          recipe=encoder('efficientnet_lite2', nf=[256, 128, 96, 64, 32])),
    Trial('no-ema', 'averaging: none', 'a little worse', recipe=dict(ema=None)),
    Trial('few', 'data: 1,280 pictures four times', 'worse by 0.1 dB', limit=1280, epochs=4),
    Trial('half', 'data: 2,560 pictures twice', 'worse by 0.05 dB', limit=2560, epochs=2),
    Trial('free', 'data: 2,560 pictures twice, none with terms against commercial use',
          'worse by 0.1 dB: fewer kinds of pictures', limit=2560, epochs=2, keys=FREE),
]

def recipe_of(trial):
    "The recipe `accurate`, one phase of it, with what the trial changes."
    base = get_recipe('accurate')
    base = replace(base, size=SIZE, phases=[replace(base.phases[0], epochs=trial.epochs, size=None)])
    return variant(base, f'try-{trial.name}', trial.asks, phase=trial.phase, **trial.recipe)

def row(trial, out):
    "What came of a finished trial; None if it is not finished."
    try: m = json.loads((out/trial.name/'metrics.json').read_text())['metrics']
    except FileNotFoundError: return None
    return dict(name=trial.name, asks=trial.asks, expects=trial.expects, psnr=round(m['psnr'], 3),
                psnr_gray=round(m['psnr_gray'], 3), share=round(m['colorfulness_pred']/m['colorfulness_true'], 3),
                ssim=round(m['ssim'], 4))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder with train/ and valid/')
    p.add_argument('--out', type=Path, required=True, help='folder for the runs')
    p.add_argument('--only', nargs='+', metavar='NAME', help='some trials')
    p.add_argument('--kept', type=Path, default=KEPT, help='table to write')
    args = p.parse_args()
    if unknown := set(args.only or ()) - {t.name for t in TRIALS}:
        raise SystemExit(f"no trial named {', '.join(unknown)}: there are {', '.join(t.name for t in TRIALS)}")
    for t in TRIALS:
        if (args.only and t.name not in args.only) or row(t, args.out): continue
        data = args.data if not t.keys else args.out/'data'/t.name
        if not data.exists(): gather(args.data.parent, data, [args.data.name], args.data.name, t.keys)
        run_recipe(recipe_of(t), data, args.out/t.name, limit=t.limit, seed=43 if t.name.endswith('-43') else 42,
                   num_workers=0,
                   resume=(args.out/t.name/'checkpoint.pt').exists(), log=partial(print, t.name, flush=True))
    rows = [r for t in TRIALS if (r := row(t, args.out))]
    args.kept.parent.mkdir(parents=True, exist_ok=True)
    with open(args.kept, 'w', newline='') as f:
        w = csv.DictWriter(f, list(rows[0]), lineterminator='\n'); w.writeheader(); w.writerows(rows)
    print(f'{args.kept}: {len(rows)} trials')

if __name__ == '__main__': main()
