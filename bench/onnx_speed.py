"""ONNX: the small model's answer by ONNX Runtime and by PyTorch, and seconds from a cold process to a first answer with
each."""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from timing import compare, interleaved

BATCHES = 1, 8
SHAPE = 160, 224 # what a picture of 4:3 becomes at its working size

def cold(model):
    "Import, load and answer once, in a process of its own"
    code = (f"import numpy as np; from colorize_nb.colorizer.engines import load_engine; load_engine({str(model)!r}, "
            f"'cpu').predict(np.full((1, {SHAPE[0]}, {SHAPE[1]}), 50))")
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)

def run(quick=False):
    "One table for each batch size, and one for the start"
    from colorize_nb.colorizer.engines import load_engine
    from colorize_nb.colorizer.onnx import export_onnx
    tables, rng = {}, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as tmp:
        file = export_onnx('small', Path(tmp)/'small.onnx')
        engines = {'ONNX Runtime': load_engine(file, 'cpu'), 'PyTorch': load_engine('small', 'cpu')}
        for n in BATCHES:
            l = rng.uniform(0, 100, (n, *SHAPE)).astype(np.float32)
            times = interleaved({k: lambda e=e: e.predict(l) for k, e in engines.items()}, 3 if quick else 31)
            tables[f'chroma of {n} at {SHAPE[0]}x{SHAPE[1]}'] = compare(times)
        times = interleaved({'ONNX Runtime': lambda: cold(file), 'PyTorch': lambda: cold('small')}, 2 if quick else 7,
                            warmup=1)
        tables['a first answer from a cold start'] = compare(times)
    return tables
