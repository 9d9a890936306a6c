"Three-colour plates: the eight whose alignment is known, moved by known amounts."
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from colorize_nb.io.plates import COLORS, find_shift, make_plate

PLATES = Path(__file__).resolve().parent.parent.parent/'shared'/'data'/'plates'
TRUTHS = sorted((PLATES/'truth').glob('*.png'))
plates = pytest.mark.skipif(not TRUTHS, reason='needs the eight plates')

def read(path): return np.asarray(Image.open(path), np.float32)
def moved(x, shift): return scipy.ndimage.shift(x, shift, order=3, mode='nearest')

@plates
@pytest.mark.parametrize('path', TRUTHS, ids=lambda p: p.stem)
def test_known_shift_is_found(path):
    "Other hands aligned these channels; what SciPy then moves them by is found again to a tenth of a pixel"
    rgb, shift = read(path), (3.4, -5.3)
    for i in 0, 2:
        (y0, x0), _ = find_shift(rgb[..., i], rgb[..., 1])
        (y, x), score = find_shift(moved(rgb[..., i], shift), rgb[..., 1])
        assert np.hypot(y0, x0) < .5 # as they were aligned
        assert abs(y - y0 - shift[0]) < .1 and abs(x - x0 - shift[1]) < .1 and score > 30

@plates
@pytest.mark.slow
@pytest.mark.parametrize('path', TRUTHS, ids=lambda p: p.stem)
def test_plate_is_put_together_again(path):
    "A scan made of the aligned channels, moved, with borders: the colours come back"
    rgb = read(path)
    shifts = dict(blue=(4.3, -2.5), green=(0, 0), red=(-3.6, 5.2))
    parts = [moved(rgb[..., 2 - i], shifts[c]).clip(0, 255)*.8 + 30 for i, c in enumerate(COLORS)]
    scan = np.concatenate([np.pad(p, 10, constant_values=5) for p in parts]).round().astype(np.uint8)
    plate = make_plate(scan)
    top, bottom, left, right = (v - 10 for v in plate.box)
    assert (bottom - top)*(right - left) > .7*rgb[..., 0].size
    box = np.s_[top:bottom, left:right]
    asis = np.stack(parts[::-1], -1)[box]/.8 - 30/.8
    error, before = (np.abs(x - rgb[box]).mean((0, 1)) for x in (plate.truth, asis))
    assert (error[[0, 2]] < .6*before[[0, 2]]).all() and error[1] < 8, (error, before)
