"""Is a classifier that learned from colorized pictures as good on true ones as one that learned from true ones?

    COLORIZE_NB_WEIGHTS=../shared/weights python experiments/classify_generated.py --data ../shared/data/paintings

Buttau and Gatto's future work: pictures that a model has coloured as training data. The painters with most pictures are
the classes; the head of a MobileNetV2 learns them from the true paintings, from gray ones, and from gray ones that the
packaged model has coloured, and each of the three names the painters of the same true, held-out paintings. Written to
nbs/recipes/results/generated.json: for each seed and each kind of training picture, 0 or 1 for each held-out painting.
"""
import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.classifier import TrainOptions, classes_of, class_split, recognised, train_classifier
from colorize_nb.io.files import open_image

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'recipes'/'results'
KINDS = 'true', 'gray', 'colorized'

def folders(data, out, split, paint):
    "Three folders of the same pictures to learn from: true, gray and colorized; those to validate on are true."
    for part in ('train', 'valid'):
        for f, c in zip(split[part], classes_of(split[part], data)):
            im = open_image(f).convert('RGB')
            gray = im.convert('L')
            for kind in KINDS:
                to = out/kind/part/c/f'{f.stem}.png'
                to.parent.mkdir(parents=True, exist_ok=True)
                answers = dict(true=lambda: im, gray=lambda: gray.convert('RGB'), colorized=lambda: paint(gray))
                answers['true' if part == 'valid' else kind]().save(to, compress_level=1)

def learn(folder, split, seed, weights, held, labels):
    "0 or 1 for each held-out picture: named rightly by a head that learned from a folder."
    options = TrainOptions(epochs=20, size=128, weights=weights, seed=seed)
    clf, _ = train_classifier(folder, 'mobilenet_v2', split['classes'], 1, options, device='cpu', log=lambda s: None)
    return recognised(clf, held, labels)['true'].astype(int).tolist()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder of the paintings')
    p.add_argument('--model', default='default', help='what colours them')
    p.add_argument('--classes', type=int, default=10); p.add_argument('--seeds', nargs='*', type=int, default=[1, 2, 3])
    args = p.parse_args()
    split, c = class_split(args.data, args.classes), Colorizer.from_pretrained(args.model)
    folder = os.environ.get('COLORIZE_NB_WEIGHTS')
    weights = Path(folder)/'mobilenet_v2.safetensors' if folder else None # None: torchvision's
    held = split['test'] # the best epoch is chosen on `valid`
    labels = classes_of(held, args.data)
    with tempfile.TemporaryDirectory() as tmp:
        folders(args.data, Path(tmp), split, c)
        rows = {kind: {s: learn(Path(tmp)/kind, split, s, weights, held, labels) for s in args.seeds} for kind in KINDS}
    res = dict(classes=split['classes'], train=len(split['train']), held_out=len(held), model=args.model,
               right=rows)
    (KEPT/'generated.json').write_text(json.dumps(res) + '\n', encoding='utf-8')
    print({k: round(float(np.mean(list(v.values()))), 3) for k, v in rows.items()})

if __name__ == '__main__': main()
