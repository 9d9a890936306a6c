"""Count what people notice first in coloured photographs without a truth: rainbow patches and one tint over everything.

    python experiments/count_faults.py --data ../shared/data/historical --true ../shared/data/photos default default@1

writes `nbs/results/faults.json`. What is too much is read from true photographs, before any answer is looked at: a
picture has *patches* if its chroma changes more, away from edges of lightness, than in 95 of 100 true photographs
(`off_edge_gradient`); it has *one tint* if its mean chroma is a larger share of the mean length of its chroma than in
95 of 100 of them. So about one true photograph in twenty has either.
"""
import argparse
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from colorize_nb.color.lab import rgb2lab
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.methods import Protocol, rgb8
from colorize_nb.io.write import atomic_path
from colorize_nb.metrics.artifacts import off_edge_gradient

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'faults.json'
FAULTS = 'patches', 'tint'

def measured(im):
    "How much chroma changes away from edges, ab units a pixel; the share of chroma that is one tint; its mean length"
    planes = rgb8(np.asarray(im))
    ab = rgb2lab(planes.float()/255)[0, 1:]
    length = ab.norm(dim=0).mean().item()
    return dict(patches=off_edge_gradient(planes).item(), tint=ab.mean((1, 2)).norm().item()/max(length, 1e-6),
                chroma=length)

def limits(rows):
    "What 95 of 100 true photographs stay below"
    return {k: float(np.nanpercentile([r[k] for r in rows], 95)) for k in FAULTS} # nan: edges everywhere

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('models', nargs='+', help='a name or NAME=FILE; @V behind it asks for the vividness V')
    p.add_argument('--data', type=Path, required=True, help='folder of gray photographs')
    p.add_argument('--true', type=Path, required=True, help='folder of a set of colour photographs with valid/')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    read = Protocol().read
    true = [measured(read(f)) for f in find_set(args.true).values()]
    most, models = limits(true), {}
    for model in args.models:
        asked = re.fullmatch(r'(.+)@([\d.]+)', model) # an @ may be in a path too
        model, vivid = asked.groups() if asked else (model, None)
        name, _, file = model.partition('=')
        c, more = Colorizer.load(file or name), dict(vivid=float(vivid)) if vivid else {}
        rows = [measured(c(Image.fromarray(read(f)).convert('L'), **more)) for f in find_set(args.data).values()]
        name += f', vividness {vivid}' if vivid else ''
        models[name] = dict(n=len(rows), chroma=float(np.mean([r['chroma'] for r in rows])),
                            share=float(np.mean([r['tint'] for r in rows])),
                            **{k: int(sum(r[k] > most[k] for r in rows)) for k in FAULTS})
        print(name, models[name], flush=True)
    kept = dict(data=args.data.name, true=len(true), chroma_of_true=float(np.mean([r['chroma'] for r in true])),
                limits=most, models=models)
    with atomic_path(args.kept) as tmp:
        text = json.dumps(json.loads(json.dumps(kept), parse_float=lambda o: round(float(o), 4)), indent=1)
        tmp.write_text(text + '\n', encoding='utf-8')

if __name__ == '__main__': main()
