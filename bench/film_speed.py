"""A frame of a film, from H.264 to H.264: coloured, beside decoding and encoding alone with the same encoder. Tables
for each size: seconds of a core, which other work disturbs little; of the clock, on all cores, if nothing else runs."""
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from timing import compare, interleaved

SIZES = {'480p': (854, 480), '1080p': (1920, 1080)}

def write(path, grays):
    "A gray film"
    import av
    with av.open(str(path), 'w') as c:
        v = c.add_stream('libx264', rate=25, options=dict(crf='18'))
        v.height, v.width = grays[0].shape
        v.pix_fmt = 'yuv420p'
        for g in grays: c.mux(v.encode(av.VideoFrame.from_ndarray(g, 'gray').reformat(format='yuv420p')))
        c.mux(v.encode(None))
    return path

def contestants(size, colorizer, n, folder):
    "Functions that each make the same film, by name"
    from colorize_nb.colorizer.encode import PartWriter, choose_coding, chroma_shape, colored_frame
    from colorize_nb.colorizer.film import Film
    from colorize_nb.colorizer.video import colorize_film
    from colorize_nb.evaluate.films import MadeFilm
    old = write(folder/'old.mp4', [f.gray for f in MadeFilm('pan', n=n, size=size, grain=2).frames()])
    film = Film(old)
    coding = choose_coding(film.info)
    def alone():
        w = PartWriter(folder/'alone', film.info, coding)
        planes = np.full((2, *chroma_shape(coding, film.info)), 128, np.uint8)
        for f in film.frames(): w.write(colored_frame(f, planes, coding, film.info))
        w.close()
    def colored(steady): return lambda: colorize_film(old, folder/'new.mp4', colorizer, steady=steady)
    return {'colorize_nb': colored(.9), 'colorize_nb, each frame by itself': colored(0),
            'decoded and encoded alone': alone}

def run(quick=False):
    "Tables of median milliseconds for a frame, ratios within rounds"
    from colorize_nb.colorizer.core import Colorizer
    colorizer, n, tables = Colorizer.from_pretrained('default', 'cpu'), 8 if quick else 24, {}
    rounds, warmup = (1, 1) if quick else (3, 1)
    quiet = hasattr(os, 'getloadavg') and os.getloadavg()[0] < .5 # work of others would count as ours by the clock
    for name, size in SIZES.items():
        walls = {}
        def timed(key, f):
            def seconds(): # of all threads, for a frame
                start, own = time.perf_counter(), time.process_time()
                f()
                own = time.process_time() - own
                walls.setdefault(key, []).append((time.perf_counter() - start)/n)
                return own/n
            return seconds
        with tempfile.TemporaryDirectory() as tmp:
            made = contestants(size, colorizer, n, Path(tmp))
            own = interleaved({k: timed(k, f) for k, f in made.items()}, rounds, warmup)
        tables[f'a frame of a film, {name}, H.264, of a core'] = compare(own)
        if not quiet: continue
        clock = compare({k: walls[k][warmup:] for k in made})
        tables[f'a frame of a film, {name}, H.264, by the clock'] = clock
    return tables

if __name__ == '__main__': print(run(True))
