"""What a stretched contrast is worth on faded photographs: the share of the chroma error that models remove.

    python experiments/measure_fading.py --data ../shared/data/photos [--models default ...]
        [--every 4] [--kept nbs/results/fading.json]

Validation photographs lose contrast, L* -> 60 + c*(L* - 60), and models are asked with what is left and with what
`stretch_contrast` makes of it. Truth and answer are compared at the size of the answer, each model at the value of its
knob. The range of 80 that `default` asks for was chosen after ranges of 40 to 80 had been tried on the same
photographs; it is the first that gives back nearly all.
"""
import argparse
import json
from pathlib import Path

import numpy as np

from colorize_nb.color.srgb import rgb2gray16
from colorize_nb.colorizer.core import Colorizer, stretch_contrast, working_shape
from colorize_nb.colorizer.hints import srgb2ab
from colorize_nb.colorizer.upsample import resize_planes
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.io.files import open_image
from colorize_nb.io.read import open_picture
from colorize_nb.io.write import atomic_path

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'fading.json'
CONTRAST, LEAST = (1, .7, .5, .3, .15), (0, 60, 80, 90)

def errors(c, path):
    "(error of each contrast and range, error of gray) of one photograph, ab units."
    with open_image(path) as im:
        im = im.convert('RGB')
        im.thumbnail((512, 512))
        rgb = np.asarray(im)
    picture = open_picture(rgb2gray16(rgb))
    l, truth, res = picture.small(*working_shape(*picture.size, c.size)), None, []
    for contrast in CONTRAST:
        for least in LEAST:
            faded = (60 + contrast*(l - 60)).astype(np.float32)
            ab = c.engine.predict(stretch_contrast(faded, least)[None])[0]
            if truth is None: truth = resize_planes(np.moveaxis(srgb2ab(rgb), -1, 0), ab.shape[2], ab.shape[1])
            res.append(np.linalg.norm(ab - truth, axis=0).mean())
    return np.reshape(res, (len(CONTRAST), len(LEAST))), np.linalg.norm(truth, axis=0).mean()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder of a set with valid/')
    p.add_argument('--models', nargs='+', default=['default'], help='packaged names')
    p.add_argument('--every', type=int, default=4, help='every so many photographs')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    found = list(find_set(args.data).values())[::args.every]
    out = dict(data=args.data.name, n=len(found), contrast=CONTRAST, least=LEAST, models={})
    for name in args.models:
        c = Colorizer.from_pretrained(name)
        each, gray = zip(*(errors(c, f) for f in found))
        out['models'][name] = dict(removed=np.round(1 - np.mean(each, 0)/np.mean(gray), 4).tolist())
        print(name, out['models'][name], flush=True)
    with atomic_path(args.kept) as tmp: tmp.write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
