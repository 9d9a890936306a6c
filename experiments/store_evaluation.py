"""Keep what a page needs of an evaluation: protocol, methods, summary and the paired differences, without the values of
single pictures.

    python experiments/store_evaluation.py RUN/metrics.json NAME

writes `nbs/results/evaluation/NAME.json`; `experiments/run_systems.py` keeps those of the published systems in the same
form.
"""
import json, sys
from pathlib import Path

from colorize_nb.evaluate.evaluation import load_evaluation
from colorize_nb.evaluate.report import harder_gray, models_of, verdict, worse_than

OUT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'evaluation'
PAIRED = 'psnr', 'ciede2000', 'colorfulness', 'auc', 'bleeding', 'top1'

def store(path, out):
    "Write the summary of evaluation `path` to file `out`."
    d, ev = json.loads(path.read_text(encoding='utf-8')), load_evaluation(path)
    kept = {k: d[k] for k in ('protocol', 'methods', 'summary')} # not `notes`, which name folders of this machine
    kept |= dict(failures=len(d['failures']))
    if ev.protocol['truth']:
        gray = harder_gray(ev)
        kept['gain'] = {m: dict(over=gray, verdict=verdict(ev, m), worse=worse_than(ev, m, gray),
                                **{k: list(i) for k in PAIRED if (i := ev.difference(m, gray, k))})
                        for m in models_of(ev)}
    # nan is null
    rounded = json.loads(json.dumps(kept), parse_float=lambda s: float(f'{float(s):.5g}'),
                         parse_constant=lambda s: None)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rounded, indent=1, ensure_ascii=False, allow_nan=False) + '\n', encoding='utf-8')

def main():
    if len(sys.argv) != 3: sys.exit(__doc__)
    store(Path(sys.argv[1]), OUT/f'{sys.argv[2]}.json')

if __name__ == '__main__': main()
