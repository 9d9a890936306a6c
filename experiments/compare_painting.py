"""What the choices in painting cost and bring, on true pictures: chroma along the edges or not, lightness or luma kept,
averaged answers, working sizes. Writes a JSON file for the tutorial."""
import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
from PIL import Image

from colorize_nb.metrics.artifacts import bleeding
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.io.files import read_whole
from colorize_nb.evaluate.statistics import Bootstrap, mean_of
from colorize_nb.color.srgb import rgb2gray16, lightness
from colorize_nb.metrics.image import colorfulness, psnr
from colorize_nb.evaluate.methods import rgb8
from colorize_nb.colorizer.upsample import guided_upsample, merge_rgb, merge_ycbcr
from colorize_nb.io.read import open_picture
from colorize_nb.color.lab import rgb2lab

SIZES = 96, 128, 192, 256, 384, 512

def resized(planes, width, height):
    "Float planes at another size"
    return np.stack([np.asarray(Image.fromarray(o).resize((width, height), Image.Resampling.BILINEAR)) for o in planes])

def keep_luma(gray, ab):
    "Chroma on a gray picture whose luma is kept: the offsets of Cb and Cr, none of luma"
    p = open_picture(gray)
    return Image.merge('YCbCr', [p.plane(), *merge_ycbcr(p, ab).split()[1:]])

def answers(rgb, colorizer):
    "Name -> (answer as PIL image, L* that was asked); the truth is `rgb`"
    height, width = rgb.shape[:2]
    true = rgb2lab(rgb8(rgb))[0].numpy()
    gray, luma = ((rgb2gray16(rgb).astype(np.uint32)
                   + 128)//257).astype(np.uint8), np.asarray(Image.fromarray(rgb).convert('L'))
    p, q = open_picture(gray), open_picture(luma)
    ab = colorizer.predict_ab([p])[0]*colorizer.saturation
    small = resized(true[1:], ab.shape[2], ab.shape[1]) # the true chroma, as coarse as the model's
    for name, chroma in [('model', ab), ('true chroma', small)]:
        yield f'{name}, enlarged', merge_rgb(p, chroma), gray
        yield f'{name}, along the edges', merge_rgb(p, guided_upsample(p, chroma)), gray
    guided, guided_q, fine = guided_upsample(p, ab), guided_upsample(q, ab), guided_upsample(p, small)
    yield 'gray', Image.fromarray(gray).convert('RGB'), gray
    yield 'gray, luma', Image.fromarray(luma).convert('RGB'), luma
    for kind, g, chroma, best in [('L*', gray, guided, fine), ('luma', luma, guided_q, guided_upsample(q, small))]:
        for who, c in [('model', chroma), ('true chroma', best)]:
            yield f'{who}, asked by {kind}, L* kept', merge_ycbcr(open_picture(g), c).convert('RGB'), g
            yield f'{who}, asked by {kind}, luma kept', keep_luma(g, c).convert('RGB'), g
    yield 'averaged (--tta)', colorizer.merge_chroma(p, colorizer.predict_ab([p], tta=True)[0]), gray
    for size in SIZES: yield f'size {size}', colorizer.merge_chroma(p, colorizer.predict_ab([p], size)[0]), gray

def figures(answer, rgb, gray):
    "PSNR, bleeding, colourfulness and mean change of L* of one answer"
    a, t = rgb8(np.asarray(answer)), rgb8(rgb)
    dl = np.abs(rgb2lab(a)[0, 0].numpy() - lightness(gray)).mean()
    return dict(psnr=psnr(a, t).item(), bleeding=bleeding(a).item(), colorfulness=colorfulness(a).item(), dl=float(dl))

def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--data', required=True, help='folder of colour pictures; its valid/ or test/ is taken')
    args.add_argument('--out', type=Path, default=Path('nbs/results/painting.json'))
    args.add_argument('--model', default='default')
    args.add_argument('--limit', type=int, default=300)
    args = args.parse_args()
    colorizer, rows = Colorizer.from_pretrained(args.model, 'cpu'), {}
    found = find_set(args.data, None, args.limit, 42)
    start = time.time()
    for path in found.values() if isinstance(found, dict) else found:
        rgb = read_whole(path)
        for name, answer, gray in answers(rgb, colorizer): rows.setdefault(name, []).append(figures(answer, rgb, gray))
        rows.setdefault('truth', []).append(dict(bleeding=bleeding(rgb8(rgb)).item(),
                                                 colorfulness=colorfulness(rgb8(rgb)).item()))
    boot = Bootstrap(len(rows['truth']))
    def interval(x):
        i = boot(mean_of(np.array(x, float)))
        return [None if math.isnan(o) or math.isinf(o) else round(float(o), 4) for o in i]
    res = {n: {k: interval([r[k] for r in rs]) for k in rs[0]} for n, rs in rows.items()}
    pairs = {'along the edges': ('model, along the edges', 'model, enlarged'),
             'true chroma along the edges': ('true chroma, along the edges', 'true chroma, enlarged'),
             'averaged': ('averaged (--tta)', 'model, along the edges'),
             'asked by L*: L* instead of luma': ('model, asked by L*, L* kept', 'model, asked by L*, luma kept'),
             'asked by luma: L* instead of luma': ('model, asked by luma, L* kept', 'model, asked by luma, luma kept')}
    differences = {n: {k: interval(np.array([r[k] for r in rows[a]]) - np.array([r[k] for r in rows[b]]))
                       for k in rows[a][0]} for n, (a, b) in pairs.items()}
    args.out.write_text(json.dumps(dict(data='/'.join(Path(args.data).parts[-1:]), n=boot.n, model=colorizer.name,
                                        size=colorizer.size, means=res, differences=differences), indent=1) + '\n')
    print(json.dumps(differences, indent=1), f'{time.time() - start:.0f} s')

if __name__ == '__main__': main()
