"""Make the picture of old plates that the README shows: the green exposure, the answer of `default` calm and vivid, and
the colours of 1910.

    python experiments/picture_plates.py ../shared/data/plates

writes nbs/images/old_plates.jpg.
"""
import argparse
from pathlib import Path

from PIL import Image, ImageOps

from colorize_nb.colorizer.core import Colorizer

IMAGES = Path(__file__).resolve().parent.parent/'nbs'/'images'
PLATES = '00106', '00398', '10131' # six at most may stand in the repository
TILE, GAP = (238, 206), 4 # pixels

def row(folder, name, colorize):
    "One plate: as film saw it, calm, vivid, true."
    def tile(im): return ImageOps.fit(im.convert('RGB'), TILE, Image.Resampling.LANCZOS)
    gray = Image.open(next((folder/'green').glob(f'{name}*'))).convert('L')
    true = Image.open(next((folder/'truth').glob(f'{name}*')))
    return [tile(o) for o in (gray, colorize(gray, vivid=0), colorize(gray, vivid=1), true)]

def sheet(rows):
    "Rows of tiles as one image."
    (w, h), n = TILE, len(rows[0])
    out = Image.new('RGB', (n*w + (n - 1)*GAP, len(rows)*h + (len(rows) - 1)*GAP), 'white')
    for j, tiles in enumerate(rows):
        for i, im in enumerate(tiles): out.paste(im, (i*(w + GAP), j*(h + GAP)))
    return out

def main(folder):
    colorize = Colorizer.from_pretrained()
    sheet([row(folder, n, colorize) for n in PLATES]).save(IMAGES/'old_plates.jpg', quality=84, optimize=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('plates', type=Path, help='folder with truth/ and green/')
    main(p.parse_args().plates)
