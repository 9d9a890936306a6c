"""Compare simulated emulsions with real ones: eight plates of Prokudin-Gorskii, each exposed through a blue, a green
and a red filter.

    python experiments/film_plates.py --data ../shared/data/plates

reads `truth` (the colours), `blue`, `green` (two of the exposures) and `luma` (ITU-R 601's gray of the colours), makes
grays of the colours as `colorize_nb.color.film` does, and writes to nbs/results/film_plates.json how near each comes to
a real exposure: the correlation of L and the distance of their histograms (Wasserstein's, in L units), plate by plate.
Nothing is fitted.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import wasserstein_distance

from colorize_nb.color.film import EVALUATION_FILMS, Film, film_gray
from colorize_nb.color.lab import gray2l

REAL = {'blue': 'ordinary', 'green': 'orthochromatic'} # exposure -> the emulsion that is near it

def lightness_of(path):
    "L (1,1,h,w) of a gray picture."
    return gray2l(torch.from_numpy(np.array(Image.open(path).convert('L')))[None, None])

def grays_of(data, name, emulsion):
    "L of one plate by each way of making it gray."
    rgb = torch.from_numpy(np.array(Image.open(data/'truth'/name).convert('RGB'))).permute(2, 0, 1)[None]
    return {'luma': lightness_of(data/'luma'/name),
            'panchromatic': film_gray(rgb, Film.named('panchromatic')),
            'ordinary': film_gray(rgb, Film.named('ordinary')),
            'orthochromatic': film_gray(rgb, Film.named('orthochromatic')),
            'with yellow filter': film_gray(rgb, Film((.03, .82, .15))), # an orthochromatic plate
            'evaluation film': film_gray(rgb, EVALUATION_FILMS[emulsion], torch.Generator().manual_seed(0))}

def distances(l, real):
    "Correlation of two planes of lightness, and the distance of their histograms."
    a, b = l.flatten().double().numpy(), real.flatten().double().numpy()
    return dict(correlation=float(np.corrcoef(a, b)[0, 1]), histogram=float(wasserstein_distance(a, b)))

def measure(data):
    "All plates, both exposures, every gray."
    names = sorted(p.name for p in (data/'truth').glob('*.png'))
    if not names: raise SystemExit(f'no plates in {data/"truth"}: give their folder with --data')
    res = {}
    for kind, emulsion in REAL.items():
        rows = [{k: distances(l, lightness_of(data/kind/n)) for k, l in grays_of(data, n, emulsion).items()}
                for n in names]
        res[kind] = {k: {m: [round(r[k][m], 4) for r in rows] for m in ('correlation', 'histogram')} for k in rows[0]}
    return dict(plates=[Path(n).stem for n in names], exposures=res)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='folder with truth, blue, green and luma')
    parser.add_argument('--out', type=Path, default=Path(__file__).parent.parent/'nbs'/'results'/'film_plates.json')
    args = parser.parse_args()
    args.out.write_text(json.dumps(measure(args.data), indent=1) + '\n', encoding='utf-8')
