"A folder of 6-megapixel JPEGs: decoding, network and encoding overlapped, beside one picture after the other."
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from timing import compare, interleaved

def scans(folder, n):
    "JPEGs of 3000x2000 with grain, gray"
    from colorize_nb.io.samples import sample, samples
    rng = np.random.default_rng(0)
    for i in range(n):
        big = np.asarray(sample(samples()[i % len(samples())]).convert('L').resize((3000, 2000),
            Image.Resampling.LANCZOS)).astype(np.int16)
        Image.fromarray((big + rng.normal(0, 4, big.shape).round().astype(np.int16)).clip(0,
            255).astype(np.uint8)).save(folder/f'{i:02}.jpg', quality=90)

def run(quick=False):
    "One table of median milliseconds a picture, ratios within rounds"
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.colorizer.batch import colorize_files
    from colorize_nb.io.read import open_picture
    from colorize_nb.io.write import save_picture
    colorizer, n = Colorizer.from_pretrained('default', 'cpu'), 6 if quick else 12
    with tempfile.TemporaryDirectory() as tmp:
        old, new = Path(tmp)/'old', Path(tmp)/'new'
        old.mkdir(); scans(old, n)
        def folder():
            assert {r.status for r in colorize_files(old, new, colorizer, overwrite=True)} == {'done'}
        def single():
            for f in sorted(old.iterdir()):
                p = open_picture(f)
                colour = colorizer.merge_chroma(p, colorizer.predict_ab([p])[0], 'jpeg')
                save_picture(colour, new/f.name, metadata=p.metadata, model=colorizer.name)
        times = interleaved({'colorize_files': folder, 'one picture after the other': single}, 2 if quick else 9,
                            warmup=1)
        shutil.rmtree(new)
    waiting = os.environ.get('OMP_WAIT_POLICY', 'not set')
    return {f'{n} JPEGs of 6 megapixels, a picture, OMP_WAIT_POLICY {waiting}': compare({k: [t/n for t in v]
        for k, v in times.items()})}

if __name__ == '__main__': print(run(True))
