"""Measure a model end to end on a folder of colour photographs, at their own size, beside the all-gray picture.

    python tools/measure_model.py --data DIR [--model NAME|FILE] [--out FILE.json]

Each picture is made gray (its L* plane), colorized by `Colorizer` at the model's working size, and compared in 8-bit RGB: mean over pictures.
The honest instrument with intervals, more metrics and a report is a notebook of its own (20_evaluation); this is what the model card needs.
"""
import argparse, json, time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from colorize_nb.colorizer import Colorizer, find_model
from colorize_nb.files import find_pictures
from colorize_nb.metrics import evaluate_pairs, gray_rgb

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True); p.add_argument('--model', default='default')
    p.add_argument('--size', type=int); p.add_argument('--saturation', type=float); p.add_argument('--out')
    a = p.parse_args()
    c, files, secs = Colorizer.load(find_model(a.model)), find_pictures(Path(a.data)), []
    def pairs():
        for f in files:
            true = torch.from_numpy(np.array(Image.open(f).convert('RGB'))).permute(2, 0, 1)[None]
            gray = Image.fromarray(gray_rgb(true)[0, 0].numpy())
            t = time.perf_counter(); pred = c(gray, size=a.size, saturation=a.saturation); secs.append(time.perf_counter() - t)
            yield torch.from_numpy(np.array(pred.convert('RGB'))).permute(2, 0, 1)[None], true
    res = evaluate_pairs(pairs())
    res = dict(model=c.meta.get('name', a.model), size=a.size or c.size, saturation=a.saturation, seconds_median=float(np.median(secs)), **res)
    text = json.dumps(res, indent=1)
    print(text)
    if a.out: Path(a.out).write_text(text + '\n')

if __name__ == '__main__': main()
