"""Make the graphs of packaged models anew: `model.onnx` beside the weights and the description that have changed.

    python tools/graphs.py [NAME ...]        # all of them, if none is named
"""
import sys
from pathlib import Path

from colorize_nb.colorizer.onnx import export_onnx

WEIGHTS = Path(__file__).resolve().parent.parent/'colorize_nb'/'weights'

def make_graph(weights):
    "The graph of a packaged model, which shares the weights that are beside it"
    return export_onnx(weights, weights.with_suffix('.onnx'), shared=True)

if __name__ == '__main__':
    for name in sys.argv[1:] or sorted(f.name for f in WEIGHTS.iterdir()):
        graph = make_graph(WEIGHTS/name/'model.safetensors')
        print(f'{name}: {graph.stat().st_size/1e6:.1f} MB')
