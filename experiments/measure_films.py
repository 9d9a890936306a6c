"""Colorize films whose colours and motion are known: how steady, how true? (How fast: `python bench/run.py film`.)

    python experiments/measure_films.py

makes twelve films of photographs (pan, zoom, a disc that crosses) and colorizes each with several values of `steady`.
Some minutes of a core; it writes nbs/results/films.json.
"""
import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from skimage.color import rgb2lab

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.colorizer.luma import Signal, chroma_samples
from colorize_nb.colorizer.upsample import resize_planes
from colorize_nb.colorizer.video import colorize_film
from colorize_nb.evaluate.films import KINDS, MadeFilm, flicker
from colorize_nb.io.image import Picture
from colorize_nb.io.write import versions

OUT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'films.json'
PHOTOS, STEADY = ('china', 'flower', 'chelsea', 'coffee'), (0, .9)

def write(path, grays, codec='ffv1', chromas=None):
    "A film of uint8 arrays of full range, gray without `chromas` (2,h/2,w/2)"
    with av.open(str(path), 'w') as c:
        v = None
        for i, g in enumerate(grays):
            if v is None:
                v = c.add_stream(codec, rate=25)
                v.width, v.height, v.pix_fmt = g.shape[1], g.shape[0], 'yuv420p'
                v.codec_context.color_range, v.codec_context.colorspace = 2, 1
            f = av.VideoFrame(g.shape[1], g.shape[0], 'yuv420p')
            for k, p in enumerate(f.planes):
                rows = np.frombuffer(p, np.uint8).reshape(-1, p.line_size)
                rows[:] = 128
                if not k: rows[:, :g.shape[1]] = g
                elif chromas is not None: rows[:, :g.shape[1]//2] = chromas[i][k - 1]
            f.pts = i
            c.mux(v.encode(f))
        c.mux(v.encode(None))
    return path

def rgbs(path):
    """Frames as FFmpeg converts them, (h,w,3) in [0,1]: with 16 bits, so that rounding is the film's own and not the
    measure's, and chroma between samples interpolated, as players show it and its shortest way to RGB does not"""
    with av.open(str(path)) as c:
        return [f.reformat(format='yuv444p16le').to_ndarray(format='rgb48le')/65535 for f in c.decode(video=0)]

def bytes_of(frames): return [np.round(255*f).astype(np.uint8) for f in frames]

def psnr(some, others):
    "Of a whole film, 8 bits"
    error = np.mean([np.mean((a.astype(float) - b)**2) for a, b in zip(some, others, strict=True)])
    return float(10*np.log10(255**2/error))

def chroma(frames): return [np.moveaxis(rgb2lab(f)[..., 1:], -1, 0).astype(np.float32) for f in frames]

class Counted:
    "A colorizer that counts its predictions"
    def __init__(self, c): self.c, self.name, self.size, self.saturation, self.n = c, c.name, c.size, c.saturation, 0
    def predict_ab(self, pictures, **kw):
        self.n += len(pictures)
        return self.c.predict_ab(pictures, **kw)

def measure(film, colorizer, folder):
    "Figures of one film"
    frames = list(film.frames())
    grays, true = [f.gray for f in frames], [f.rgb for f in frames]
    old, (w, h) = write(folder/'old.mkv', grays), film.size
    planes = [chroma_samples(np.asarray(Picture(g).reduced(h//2, w//2)), resize_planes(ab, w//2, h//2),
                             Signal(full=True, matrix=1)) for g, ab in zip(grays, chroma(true))]
    coded = chroma(rgbs(write(folder/'true.mkv', grays, chromas=planes)))
    row = dict(kind=film.kind, photo=film.photo, flicker_true=flicker(chroma(true), frames),
               flicker_coded=flicker(coded, frames), # the true colours, in a file like ours
               psnr_gray=psnr([np.stack([f.gray]*3, -1) for f in frames], true))
    for steady in STEADY:
        counted = Counted(colorizer)
        colorize_film(old, folder/'new.mkv', counted, steady=steady)
        new = rgbs(folder/'new.mkv')
        row[f'{steady:g}'] = dict(flicker=flicker(chroma(new), frames), psnr=psnr(bytes_of(new), true),
                                  predictions=counted.n)
    return row

def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--out', type=Path, default=OUT)
    p.add_argument('--frames', type=int, default=24)
    args = p.parse_args()
    colorizer, films = Colorizer.from_pretrained('default'), []
    with TemporaryDirectory() as tmp:
        for i, kind in enumerate(KINDS):
            for j, photo in enumerate(PHOTOS):
                other = 'coffee' if photo != 'coffee' else 'china'
                film = MadeFilm(kind, photo, args.frames, (240, 180), seed=10*i + j, other=other)
                films.append(measure(film, colorizer, Path(tmp)))
                print(kind, photo, json.dumps(films[-1]), flush=True)
    plan = dict(frames=args.frames, size=[240, 180], grain=4, pumping=.02, model='default')
    text = json.dumps(dict(plan=plan, films=films, versions=versions()), indent=1)
    args.out.write_text(text + '\n', encoding='utf-8')

if __name__ == '__main__': main()
