"""What hints are worth: a simulated user sets true colours at random points, and every further one is measured.

    python experiments/simulate_user.py --data ../shared/data/photos --models runs/hints/model.safetensors
        [--counts 0 1 2 5 10 20 50] [--limit 100] [--seed 0] [--shown] [--kept nbs/results/hints.json]

writes for every model and number of hints the means over the pictures. A user's points are the same for all models, and
the first of many are those of few. What is measured, on pictures as they come, in units of `ab` unless it says dB:

    psnr     of 8-bit RGB, dB, peak 255
    ab       mean distance of the chroma from the truth
    point    distance, at the points, of the result's chroma from the nearest that sRGB has at that lightness: is a
             hint's colour kept where it was set?
    spread   by how much the error is smaller than without hints, near a point, where the truth has the hint's colour
    bleeding by how much the error is larger than without hints, near a point, where the truth has another colour:
             above 0 the hint has run over an edge

With --shown a network of ours sees the hints too: the mean of its answers with and without them is corrected, as is
done with networks that spread hints well, and no longer the answer without them alone.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from colorize_nb.color.srgb import lab2srgb, lightness, rgb2gray16
from colorize_nb.colorizer.core import Colorizer, predict_chroma
from colorize_nb.colorizer.hints import Hint, Hints, spread_hints, srgb2ab
from colorize_nb.io.read import open_picture
from colorize_nb.models.registry import find_model

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'hints.json'
COUNTS = 0, 1, 2, 5, 10, 20, 50
NEAR = 1/8 # of the longer side: pixels so near to a point are looked at for spread and bleeding
SAME, OTHER = 10, 25 # ab units: the truth has the hint's colour within, another one beyond

def small_rgb(path, most=512):
    "A colour photograph as (h,w,3) uint8, at most `most` pixels a side."
    with Image.open(path) as im: im = im.convert('RGB')
    im.thumbnail((most, most), Image.Resampling.LANCZOS)
    return np.asarray(im)

def random_hints(rgb, n, rng, radius=1):
    "`n` hints at random points of an image (h,w,3), each with the mean colour of 3x3 pixels."
    h, w = rgb.shape[:2]
    places = [(int(rng.integers(w)), int(rng.integers(h))) for _ in range(n)]
    def color(x, y): return rgb[max(0, y - 1):y + 2, max(0, x - 1):x + 2].reshape(-1, 3).mean(0).round().astype(int)
    return [Hint(x, y, tuple(color(x, y)), radius) for x, y in places]

def psnr(a, b):
    "Peak signal-to-noise ratio of two uint8 images, dB."
    mse = np.mean((a.astype(np.float64) - b)**2)
    return float('inf') if mse == 0 else float(10*np.log10(255**2/mse))

def point_errors(ab, gray, hints):
    "Distance of the result's chroma (h,w,2) from the nearest that sRGB has for each hint at its place."
    res = []
    for h in hints:
        l = lightness(gray[h.y:h.y + 1, h.x:h.x + 1]).ravel()
        kept = srgb2ab(lab2srgb(l, h.ab[:, None]).T*255)[0]
        res.append(float(np.hypot(*(ab[h.y, h.x] - kept))))
    return res

def spread_and_bleeding(before, after, truth, hints):
    "Mean fall of the error (h,w) near points where the truth (h,w,2) is like the hint, and mean rise where it is not."
    h, w = before.shape
    rows, cols = np.mgrid[:h, :w]
    away = np.stack([(rows - o.y)**2 + (cols - o.x)**2 for o in hints])
    nearest = away.argmin(0)
    distance = np.linalg.norm(truth - np.stack([o.ab for o in hints])[nearest], axis=-1)
    near = away.min(0) <= (NEAR*max(h, w))**2
    same, other = near & (distance <= SAME), near & (distance >= OTHER)
    fall = before - after
    return (float(fall[same].mean()) if same.any() else None, float(-fall[other].mean()) if other.any() else None)

def shown_ab(colorizer, picture, hints, free):
    "The mean of chroma without hints and of a network's answer that was shown them."
    more = dict(saturation=colorizer.saturation) | ({} if colorizer.vivid is None else dict(vivid=colorizer.vivid))
    with_hints, = predict_chroma(colorizer.engine, [picture], colorizer.size, hints=[hints], **more)
    return (free + with_hints)/2

def measure_picture(colorizer, rgb, counts, seed, shown=False):
    "Measures for each number of hints: name -> value or None."
    gray16 = rgb2gray16(rgb)
    picture, truth = open_picture(gray16), srgb2ab(rgb)
    points = random_hints(rgb, max(counts), np.random.default_rng(seed))
    free, = colorizer.predict_ab([picture]) # once: hints correct it
    res, before = {}, None
    for n in sorted({0, *counts}):
        hints = Hints(picture.size, points[:n]) if n else None
        ab = shown_ab(colorizer, picture, hints, free) if n and (shown or colorizer.shows_hints) else free
        ab = spread_hints(ab, picture, hints, colorizer.saturation)
        out = np.asarray(colorizer.merge_chroma(picture, ab, exact=True))
        got = srgb2ab(out)
        error = np.linalg.norm(got - truth, axis=-1)
        before = error if n == 0 else before
        res[n] = dict(psnr=psnr(out, rgb), ab=float(error.mean()), point=None, spread=None, bleeding=None)
        if n:
            res[n]['point'] = float(np.mean(point_errors(got, gray16, points[:n])))
            res[n]['spread'], res[n]['bleeding'] = spread_and_bleeding(before, error, truth, points[:n])
    return {n: res[n] for n in counts}

def summarize(rows):
    "Mean, and share of pictures that are better than without hints, of what `measure_picture` gives for each."
    res = {}
    for n in rows[0]:
        def mean(name):
            values = [r[n][name] for r in rows if r[n][name] is not None and np.isfinite(r[n][name])]
            return round(float(np.mean(values)), 3) if values else None
        res[str(n)] = {name: mean(name) for name in rows[0][n]}
        if 0 in rows[0]: res[str(n)]['better'] = round(float(np.mean([r[n]['ab'] < r[0]['ab'] for r in rows])), 3)
    return res

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder of a set with valid/')
    p.add_argument('--models', nargs='+', required=True, metavar='[NAME=]MODEL', help='packaged names, or NAME=FILE')
    p.add_argument('--counts', nargs='+', type=int, default=COUNTS, help='numbers of hints')
    p.add_argument('--limit', type=int, help='at most so many pictures')
    p.add_argument('--seed', type=int, default=0, help='of the points')
    p.add_argument('--shown', action='store_true', help='show the hints to the network too')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    from colorize_nb.evaluate.evaluation import find_set # it needs PyTorch, what is above does not
    found = find_set(args.data, limit=args.limit)
    out = dict(data=args.data.name, n=len(found), seed=args.seed, models={})
    if args.kept.exists(): # models are added to a file of the same pictures and points
        kept = json.loads(args.kept.read_text(encoding='utf-8'))
        if {k: kept[k] for k in ('data', 'n', 'seed')} == {k: out[k] for k in ('data', 'n', 'seed')}: out = kept
    for spec in args.models:
        name, _, path = spec.rpartition('=')
        c = Colorizer.load(find_model(path))
        name = (name or path) + (', shown the hints' if args.shown else '')
        rows = [measure_picture(c, small_rgb(f), args.counts, [args.seed, i], args.shown)
                for i, f in enumerate(found.values())]
        out['models'][name] = summarize(rows)
        print(name, json.dumps(out['models'][name]), flush=True)
    args.kept.write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
