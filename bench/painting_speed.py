"A 12-megapixel JPEG from file to coloured file, beside what Pillow alone needs to open and save such a file."
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from timing import compare, interleaved

def scans(folder):
    """Two JPEGs of 4000x3000 with grain, one gray and one that is a gray picture stored as colour, as scanners write
    them"""
    from colorize_nb.io.samples import sample
    big = np.asarray(sample('china').convert('L').resize((4000, 3000), Image.Resampling.LANCZOS)).astype(np.int16)
    big = Image.fromarray((big + np.random.default_rng(0).normal(0, 4,
                                                                 big.shape).round().astype(np.int16)).clip(0,
                                                                     255).astype(np.uint8))
    big.save(folder/'gray.jpg', quality=90); big.convert('RGB').save(folder/'colour.jpg', quality=90)
    return folder/'gray.jpg', folder/'colour.jpg'

def run(quick=False):
    "Tables of median milliseconds, ratios within rounds"
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.io.read import open_picture
    from colorize_nb.io.write import save_picture
    colorizer, tables = Colorizer.from_pretrained('default', 'cpu'), {}
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        for path in scans(tmp):
            def colored(exact=False):
                p = open_picture(path)
                save_picture(colorizer.merge_chroma(p, colorizer.predict_ab([p])[0], 'jpeg', exact=exact),
                             tmp/'new.jpg', metadata=p.metadata, model=colorizer.name)
            colored()
            with Image.open(tmp/'new.jpg') as im: layers, settings = im.layer, dict(qtables=im.quantization)
            sampling = {0x11: 0, 0x21: 1, 0x22: 2}[layers[0][1]*16 + layers[0][2]]
            def pillow(mode='RGB'): # the same file opened, and saved as the coloured one is
                with Image.open(path) as im: im.convert(mode).save(tmp/'same.jpg', subsampling=sampling, **settings)
            def plain(): # opened, and saved as it is
                with Image.open(path) as im: im.save(tmp/'same.jpg', quality=90)
            contestants = {'colorize_nb': colored, 'Pillow alone: open as RGB, save with the same settings': pillow,
                           'Pillow alone: open and save, mode as it is, quality 90': plain,
                           'colorize_nb, exact': lambda: colored(True)}
            times = interleaved(contestants, 3 if quick else 9, warmup=1)
            tables[f'12 megapixels, {path.name}'] = compare(times)
            def in_python(): colorizer(path).save(tmp/'python.jpg', quality=90)
            def as_rgb():
                with Image.open(path) as im: im.convert('RGB').save(tmp/'same.jpg', quality=90)
            times = interleaved({'colorizer(path).save(...)': in_python, 'Pillow alone: open as RGB, save': as_rgb},
                                3 if quick else 9, warmup=1)
            tables[f'12 megapixels in Python, {path.name}, quality 90'] = compare(times)
    return tables

if __name__ == '__main__': print(run(True))
