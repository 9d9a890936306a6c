"""`make bench`: run the benchmarks, print their tables, write bench/results.json. Names choose (color, gan, install,
start, painting, film, folder, flat, onnx, network, published, train, app); `--quick` takes few rounds."""
import argparse
import importlib
import json
import os
import platform
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
BENCHES = ['color', 'gan', 'install', 'start', 'painting', 'film', 'folder', 'flat', 'onnx', 'network', 'published',
           'train', 'app']

def machine():
    "What the figures depend on"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(cores=os.cpu_count(), threads=torch.get_num_threads(), gpu=gpu, torch=torch.__version__,
                python=platform.python_version(),
                system=platform.system(), processor=platform.machine())

def table(title, rows):
    "Print one comparison"
    peak = any('peak_megabytes' in r for r in rows.values())
    rate = any('pictures_per_second' in r for r in rows.values())
    columns = ('peak_megabytes', peak), ('pictures_per_second', rate)
    head = f"  {'':44}{'ms':>10}{'times ours':>12}" + f"{'peak MB':>10}"*peak + f"{'images/s':>10}"*rate
    print(f'\n{title}\n{head}')
    for name, r in rows.items():
        more = ''.join(f"{r.get(k, ''):>10}" for k, shown in columns if shown)
        print(f"  {name:44}{r['ms']:>10.1f}{format(r['by_ours'], '.2f') if 'by_ours' in r else '':>12}{more}")

def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('names', nargs='*', metavar='NAME', help=f"of {', '.join(BENCHES)}; all without any")
    args.add_argument('--quick', action='store_true', help='few rounds, to see that it works')
    args = args.parse_args()
    if unknown := set(args.names) - set(BENCHES):
        raise SystemExit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    path = HERE/'results.json'
    results = json.loads(path.read_text()) if path.exists() and not args.quick else {}
    print(', '.join(f'{k} {v}' for k, v in machine().items() if v is not None))
    for name in args.names or BENCHES:
        found = importlib.import_module(f'{name}_speed').run(args.quick)
        for title, rows in found.items(): table(title, rows)
        results[name] = dict(machine=machine(), tables=found)
        if not args.quick: path.write_text(json.dumps(results, indent=1) + '\n')

if __name__ == '__main__': main()
