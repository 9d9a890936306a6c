"""Put a trained model into the package: its weights as float16, and a card for programs beside them.

    python experiments/package_model.py runs/accurate default --size 192 --description "photographs: ..."

reads RUN/model.safetensors, model.json and metrics.json, and writes colorize_nb/weights/NAME/, the graph for ONNX
Runtime among it. The card for people, README.md there, is written by hand.
"""
import argparse
import json
from pathlib import Path

from colorize_nb.colorizer.onnx import export_onnx
from colorize_nb.models.registry import load_generator, save_generator

WEIGHTS = Path(__file__).resolve().parent.parent/'colorize_nb'/'weights'
LICENCE = 'Apache-2.0 (weights; see README.md beside this file for the terms of the training pictures)'
MEASURED = 'n', 'psnr', 'ssim', 'psnr_gray', 'psnr_gray_luma', 'colorfulness_pred', 'colorfulness_true'
LARGEST = 16e6 # bytes, for a model in the wheel

def package(run, name, description, size=None, saturation=1.):
    "Copy the model of `run` into the package as `name`; return its file."
    gen, meta = load_generator(run/'model.safetensors')
    got = json.loads((run/'metrics.json').read_text(encoding='utf-8'))
    card = dict(name=name, description=description, size=size or meta['size'], saturation=saturation,
                recipe=got['recipe'], start=got['start'], licence=LICENCE)
    card |= {k: meta[k] for k in ('vivid', 'contrast') if k in meta}
    card[f"metrics_at_{got['size']}"] = {k: round(got['metrics'][k], 4) for k in MEASURED}
    path = save_generator(gen, WEIGHTS/name/'model.safetensors', card)
    if (n := path.stat().st_size) > LARGEST:
        raise SystemExit(f'{path.name} has {n/1e6:.1f} MB, {LARGEST/1e6:.0f} is the most that goes into the wheel: '
                         f'take a smaller network')
    export_onnx(path, path.with_suffix('.onnx'), shared=True)
    return path

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', type=Path, help='folder of a finished `colorize-nb train`')
    p.add_argument('name', help='name in the package')
    p.add_argument('--description', required=True, help='one line for `colorize-nb models`')
    p.add_argument('--size', type=int, help="working size, pixels; default the run's")
    p.add_argument('--saturation', type=float, default=1.,
                   help='times the predicted chroma, unless somebody asks for another')
    args = p.parse_args()
    path = package(args.run, args.name, args.description, args.size, args.saturation)
    print(f'{path.parent.name}: {path.stat().st_size/1e6:.1f} MB; write its README.md')

if __name__ == '__main__': main()
