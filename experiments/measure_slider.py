"""What the saturation slider does: PSNR and colourfulness of several models from gray to more than they predicted, on
the same pictures at their own size.

    python experiments/measure_slider.py --data ../shared/data/photos --models default small
        vivid=runs/vivid/model.safetensors [--sizes 160 192 224 256] [--tta]

writes `nbs/results/slider.json`: for every model, working size and saturation the mean over the pictures. A colorizer
that is only bolder than another moves along that one's curve; a better
one lies above it.
"""
import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.models.registry import find_model
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.evaluate.methods import Protocol, rgb8, take_question
from colorize_nb.metrics.image import colorfulness, psnr
from colorize_nb.io.read import open_picture

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'slider.json'
TIMES = 0., .4, .6, .7, .8, .9, 1., 1.1, 1.2, 1.3, 1.4, 1.6

def curve(colorizer, shots, size, tta=False, times=TIMES, batch=16):
    "Mean PSNR, its gain over gray for each picture counted, and colourfulness at each saturation."
    got, shots = {t: [] for t in times}, iter(shots)
    while group := list(islice(shots, batch)):
        pictures = [open_picture(Image.fromarray(s.gray)) for s in group]
        for s, p, ab in zip(group, pictures, colorizer.predict_ab(pictures, size, tta)):
            truth = rgb8(s.truth)
            for t in times:
                im = rgb8(np.asarray(colorizer.merge_chroma(p, ab, saturation=t)))
                got[t].append((psnr(im, truth).item(), colorfulness(im).item()))
    res = {}
    for t, v in got.items():
        v, zero = np.array(v), np.array(got[0.])[:, 0]
        ok = np.isfinite(v[:, 0]) & np.isfinite(zero)
        res[t] = dict(psnr=round(float(v[ok, 0].mean()), 3), colorfulness=round(float(v[:, 1].mean()), 2),
                      worse=int((v[ok, 0] < zero[ok]).sum()))
    return res

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder of a set with valid/')
    p.add_argument('--models', nargs='+', required=True, metavar='[NAME=]MODEL', help='packaged names, or NAME=FILE')
    p.add_argument('--sizes', nargs='+', type=int, default=[0], help="working sizes, pixels; 0 for the model's own")
    p.add_argument('--limit', type=int, help='at most so many pictures')
    p.add_argument('--tta', action='store_true', help='also with averaging over mirror images and sizes')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    protocol, found = Protocol(), find_set(args.data, limit=args.limit)
    def shots(): return (take_question(n, protocol.read(f)) for n, f in found.items())
    truth = [colorfulness(rgb8(s.truth)).item() for s in shots()]
    out = dict(data=args.data.name, n=len(found), protocol=str(protocol), truth=round(float(np.mean(truth)), 2),
               models={})
    for spec in args.models:
        name, _, path = spec.rpartition('=')
        c = Colorizer.load(find_model(path))
        for size in args.sizes:
            for tta in [False] + [True]*args.tta:
                key = ', '.join([name or path, f'{size or c.size} px'] + ['averaged']*tta)
                out['models'][key] = {str(t): v for t, v in curve(c, shots(), size or None, tta).items()}
                print(key, {t: (v['psnr'], v['colorfulness']) for t, v in out['models'][key].items()}, flush=True)
    args.kept.write_text(json.dumps(out, indent=1) + '\n')

if __name__ == '__main__': main()
