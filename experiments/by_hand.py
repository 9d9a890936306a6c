"""One plate of 1910 with five colours set by a person, beside the gray plate, the automatic answer and the truth.

    python experiments/by_hand.py

colours `nbs/results/plates/00106-green.jpg` without and with the hints file beside it, prints the chroma error of each
picture (mean distance from the truth in the ab plane), and draws `nbs/images/by_hand.jpg`. `--set` writes the hints
file anew: the places that a person chose, with the truth's colours there (median of 7x7 pixels), as somebody would know
them who had the coat before them.
"""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.colorizer.hints import Hint, Hints, hints_path, srgb2ab

ROOT = Path(__file__).resolve().parent.parent
PLATE, TRUTH = (ROOT/'nbs'/'results'/'plates'/f'00106-{k}.jpg' for k in ('green', 'truth'))
# sash, hat, coat, bushes, meadow: where somebody would click, pixels
PLACES = (146, 135), (165, 45), (112, 118), (230, 240), (40, 195)
RADIUS = 3 # what the page takes for a picture of this size

def true_hints(truth):
    "Hints at `PLACES` with the true colours."
    def rgb(x, y): return np.median(truth[y - 3:y + 4, x - 3:x + 4].reshape(-1, 3), axis=0).round().astype(int).tolist()
    return Hints(truth.shape[1::-1], [Hint(x, y, rgb(x, y), RADIUS) for x, y in PLACES])

def chroma_error(im, truth):
    "Mean distance from the truth in the ab plane."
    return float(np.linalg.norm(srgb2ab(np.asarray(im.convert('RGB'))) - srgb2ab(truth), axis=-1).mean())

def marked(im, hints):
    "The picture with a ring around each hint."
    im = im.convert('RGB')
    d = ImageDraw.Draw(im)
    for h in hints.hints:
        for r, colour, width in ((7, 'black', 3), (6, 'white', 1)):
            d.ellipse((h.x - r, h.y - r, h.x + r, h.y + r), outline=colour, width=width)
    return im

def side_by_side(pictures, gap=8, below=26):
    "Pictures in a row, each with its name below."
    font, (w, h) = ImageFont.load_default(18), next(iter(pictures.values())).size
    sheet = Image.new('RGB', (len(pictures)*(w + gap) - gap, h + below), 'white')
    d = ImageDraw.Draw(sheet)
    for i, (name, im) in enumerate(pictures.items()):
        sheet.paste(im.convert('RGB'), (i*(w + gap), 0))
        d.text((i*(w + gap) + w/2, h + below/2), name, 'black', font, anchor='mm')
    return sheet

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--set', action='store_true', help='write the hints file anew')
    parser.add_argument('--model', default='default', help='packaged name or file')
    parser.add_argument('--out', type=Path, default=ROOT/'nbs'/'images'/'by_hand.jpg')
    args = parser.parse_args()
    truth = np.asarray(Image.open(TRUTH).convert('RGB'))
    if args.set: true_hints(truth).write(hints_path(PLATE))
    hints, colorize = Hints.read(hints_path(PLATE)), Colorizer.from_pretrained(args.model)
    auto, hand = colorize(PLATE), colorize(PLATE, hints=hints)
    pictures = {'gray': Image.open(PLATE), 'automatic': auto, 'after five clicks': hand, 'true': Image.open(TRUTH)}
    for name, im in pictures.items(): print(f'{name:18} chroma error {chroma_error(im, truth):.2f}')
    side_by_side(pictures | {'after five clicks': marked(hand, hints)}).save(args.out, quality=85)
    print(f'{args.out.name}: {args.out.stat().st_size/1000:.0f} kB')
