"""Old plates at equal colourfulness: the share of the gray answer's chroma error that is removed against
colourfulness, for models whose chroma is multiplied from calm to loud.

    python experiments/plate_curves.py --data ../shared/data/plates default

writes `nbs/results/plates/curves.json`. A model with a distribution is measured by the calm end of its knob. The plates
judge and choose nothing: no setting of ours comes from these figures.
"""
import argparse
import json
from pathlib import Path

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.methods import EXPOSURES
from colorize_nb.io.write import atomic_path
from measure_vividness import at, curves

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'plates'/'curves.json'
TIMES = .7, 1., 1.4, 1.9, 2.6, 3.4

def calm(colorizer):
    "Share of the distribution's mean and its temperature where the knob is at 0; the chroma head where there is none."
    return tuple(colorizer.meta['vivid']['calm'][:2]) if 'vivid' in colorizer.meta else (0, 1)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('models', nargs='+', help='a name, or NAME=FILE')
    p.add_argument('--data', type=Path, required=True, help='folder with truth/ and the exposures beside it')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    found = find_set(args.data, film=EXPOSURES[0])
    films = {f: {} for f in EXPOSURES}
    for model in args.models:
        name, _, file = model.partition('=')
        c = Colorizer.load(file or name)
        for f in films:
            points, = curves(c, found, f, [calm(c)], TIMES).values()
            films[f][name] = [{k: round(v, 4) for k, v in p.items()} for p in points]
            print(name, f, [round(at(points, x, 'removed'), 3) for x in (.35, .5, .65)], flush=True)
    with atomic_path(args.kept) as tmp:
        kept = dict(data=args.data.name, n=len(found), films=films)
        tmp.write_text(json.dumps(kept, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
