"""Peisch, Pistor and Pandher (2021)'s settings in small, each from several seeds: which differences are larger than
chance?

    python experiments/play_small.py --data ../shared/data/paintings --seeds 1 2 3

The recipe `paintings-cgan` with a quarter of the channels at 32 pixels, on 400 paintings, ten epochs, half a minute
each; colour and
PSNR are means over the last five, on validation paintings. Written to nbs/recipes/results/small.json; what is there is
not repeated.
"""
import argparse
import json
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd

from colorize_nb.train.run import get_recipe, run_recipe
from run_systems import KEPT

SETTINGS = dict(base={}, l2=dict(loss='l2'), lambda50=dict(lambda_content=50.), lambda200=dict(lambda_content=200.),
                **{'lr2e-4': dict(lr=2e-4), 'lr4e-4': dict(lr=4e-4),
                   'l2, lambda370': dict(loss='l2', lambda_content=370.)})

def play(which, seed, data, out):
    "One training under a setting; means over its last five epochs."
    r, phase = get_recipe('paintings-cgan'), get_recipe('paintings-cgan').phases[0]
    r = replace(r, config=r.config | dict(nf=16, depth=5), parameters=None,
                critic=dict(n_layers=2, nf=16, norm='batch'), size=32, bs=4,
                phases=[replace(phase, epochs=10, **SETTINGS[which])])
    run_recipe(r, data, out, limit=400, seed=seed, log=lambda s: None)
    h = pd.read_csv(out/'history.csv')
    late = h.iloc[-5:]
    return dict(colour=late.color_share.mean(), gain=(late.psnr - late.psnr_gray).mean(),
                colours=[round(v, 4) for v in h.color_share], critic=late[['acc_real', 'acc_fake']].mean().mean())

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True); p.add_argument('--seeds', type=int, nargs='*', default=[1, 2, 3])
    p.add_argument('--out', default=str(KEPT/'small.json'))
    args = p.parse_args()
    warnings.simplefilter('ignore')
    for seed in args.seeds:
        for which in SETTINGS:
            found = json.loads(Path(args.out).read_text()) if Path(args.out).exists() else []
            if any((o['which'], o['seed']) == (which, seed) for o in found): continue
            with tempfile.TemporaryDirectory() as tmp:
                row = dict(which=which, seed=seed) | play(which, seed, args.data, Path(tmp)/'run')
            Path(args.out).write_text(json.dumps(found
                                                 + [{k: round(v, 4) if isinstance(v, float) else v
                                                     for k, v in row.items()}], indent=1) + '\n')
            print(which, seed, f"{row['colour']:.2f} of the truth's colourfulness, {row['gain']:+.2f} dB", flush=True)

if __name__ == '__main__': main()
