"A frame of a film, from H.264 to H.264: coloured, beside decoding and encoding alone. Seconds of a core count."
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

def run(quick=False):
    "Tables of median milliseconds of a core for a frame, ratios within rounds"
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.colorizer.encode import PartWriter, choose_coding, chroma_shape, colored_frame
    from colorize_nb.colorizer.film import Film
    from colorize_nb.colorizer.video import colorize_film
    from colorize_nb.evaluate.films import MadeFilm
    colorizer, n, tables = Colorizer.from_pretrained('default', 'cpu'), 8 if quick else 24, {}
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as tmp:
            tmp = Path(tmp)
            old = write(tmp/'old.mp4', [f.gray for f in MadeFilm('pan', n=n, size=size, grain=2).frames()])
            film = Film(old)
            coding = choose_coding(film.info)
            def alone():
                w = PartWriter(tmp/'alone', film.info, coding)
                planes = np.full((2, *chroma_shape(coding, film.info)), 128, np.uint8)
                for f in film.frames(): w.write(colored_frame(f, planes, coding, film.info))
                w.close()
            def timed(f):
                def seconds(): # of all threads, for a frame
                    start = time.process_time()
                    f()
                    return (time.process_time() - start)/n
                return seconds
            contestants = {'colorize_nb': timed(lambda: colorize_film(old, tmp/'new.mp4', colorizer)),
                           'colorize_nb, each frame by itself':
                               timed(lambda: colorize_film(old, tmp/'new.mp4', colorizer, steady=0)),
                           'decoded and encoded alone': timed(alone)}
            tables[f'a frame of a film, {name}, H.264'] = compare(interleaved(contestants, 1 if quick else 3, 1))
    return tables

if __name__ == '__main__': print(run(True))
