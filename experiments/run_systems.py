"""Train the published systems on one's own pictures, all with one seed, and keep what the notebooks of nbs/recipes/
show.

    python experiments/run_systems.py --data ../shared/data --out runs           # everything, on a CPU some hours
    python experiments/run_systems.py --data ../shared/data --out runs --only paintings-cgan zhang-l2-fixed
    python experiments/run_systems.py --data DATA --out runs --size 256 --times 10 # on a GPU: larger pictures, ten
        times the epochs

DATA holds `paintings`, `flowers`, `faces` and `photos`, each with `train/` and `valid/`, and for --judge `historical`.
A run that is finished is not repeated.
Metadata for each run, in nbs/recipes/results/NAME/: `metrics.json` and `history.csv` as `colorize-nb train` left them,
`run.json`
(the command, processor seconds) and `samples.jpg` (packaged photographs, colorized). With --judge all runs that are
finished
answer to the same pictures of each set; the summaries go to nbs/recipes/results/judged/.
"""
import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from store_evaluation import store

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT/'nbs'/'recipes'/'results'
GENRE = 'Ohara_Koson,Katsushika_Hokusai,Shotei_Takahashi,Utagawa_Kuniyoshi,Hiroshige' # Japanese prints

SETS = 'paintings', 'flowers', 'faces', 'photos', 'historical'
DECODED = {'lite-classification': ('plain-mean', dict(T=1.))} # a trained model under another decoding

EVERYWHERE = ('paintings-cgan', 'paintings-cgan-l2', 'unet-gan-scratch-photos', 'unet-gan-pretrained-photos', 'art-cnn',
              'art-autoencoder', 'art-vae', 'art-vae-fixed', 'art-cvae', 'flowers-autoencoder', 'flowers-gan',
              # judged on every set; all others on their own
              'zhang-classification-fixed', 'lite-l2', 'lite-classification', 'pix2pix', 'nogan', 'lite-600')

@dataclass
class Plan:
    "One run: which recipe learns from which set, and how much a laptop can do of it."
    recipe:str
    data:str
    epochs:int
    limit:int|None=None # pictures to learn from
    name:str=''
    bs:int|None=None
    bf16:bool=True
    only:str|None=None
    size:int|None=None # pixels, whatever --size says
    model:str|None=None # to start from

    def __post_init__(self): self.name = self.name or self.recipe

    def command(self, data, out, size, times):
        "What is typed."
        res = ['colorize-nb', 'train', self.recipe, '--data', f'{data}/{self.data}', '--out', f'{out}/{self.name}',
               '--size', self.size or size, '--epochs', self.epochs*times]
        for k, v in dict(limit=self.limit, batch_size=self.bs, only=self.only, model=self.model).items():
            if v: res += [f"--{k.replace('_', '-')}", v]
        return [str(o) for o in res + ['--bf16']*self.bf16]

PLANS = [ # what matters most comes first
    Plan('paintings-cgan', 'paintings', 3), Plan('zhang-classification-fixed', 'photos', 2),
         Plan('paintings-cgan-l2', 'paintings', 3), Plan('lite-classification', 'photos', 4),
         Plan('lite-l2', 'photos', 4),
    Plan('art-cnn', 'paintings', 12), Plan('art-autoencoder', 'paintings', 20, bs=32),
         Plan('art-vae', 'paintings', 12, bf16=False), Plan('art-vae-fixed', 'paintings', 12, bf16=False),
         Plan('art-cvae', 'paintings', 24, bf16=False),
    Plan('flowers-autoencoder', 'flowers', 16), Plan('flowers-gan', 'flowers', 10, 500),
         Plan('flowers-gan-plain', 'flowers', 10, 500),
    *[Plan(r, d, 6, 250, f'{r}-{d}') for d in ('flowers', 'faces', 'photos')
      for r in ('unet-gan-scratch', 'unet-gan-pretrained')],
    *[Plan('finetune', d, 4, 500, f'finetune-{d}', model='small') for d in ('flowers', 'faces', 'paintings')],
    Plan('pix2pix', 'photos', 3, 600), Plan('nogan', 'photos', 7, 400),
         Plan('paintings-artist-10-30', 'paintings', 4, name='paintings-genre-10-30', only=GENRE),
         Plan('lite', 'photos', 10, 600, 'lite-600'),
    # small pictures, many steps
    *[Plan(f'flowers-gan{v}', 'flowers', 20, 500, f'game{v or "-pause-noise"}', bs=8, size=32) for v in ('-plain', '')],
    Plan('paintings-zhang', 'paintings', 3), Plan('paintings-cgan-lr2e-4', 'paintings', 3),
         Plan('paintings-cgan-lambda200', 'paintings', 3),
    *[Plan(f'flowers-gan{v}', 'flowers', 20, 500, f'game{v}', bs=8, size=32)
      for v in ('-pause', '-noise', '-spectral', '-small', '-smooth')],
    Plan('paintings-artist', 'paintings', 4, name='paintings-genre', only=GENRE),
    Plan('art-cnn-lab', 'paintings', 12), Plan('art-vae-lab', 'paintings', 12, bf16=False),
         Plan('flowers-autoencoder-fixed', 'flowers', 16),
         Plan('paintings-artist-fixed', 'paintings', 4, name='paintings-genre-fixed', only=GENRE),
    Plan('art-autoencoder-lab', 'paintings', 20, bs=32), Plan('zhang-l2-fixed', 'photos', 2),
         Plan('zhang-resnet50', 'photos', 2, 1300),
         Plan('paintings-artist-20-20', 'paintings', 4, name='paintings-genre-20-20', only=GENRE),
    Plan('flowers-gan-fixed', 'flowers', 6, 500), Plan('lite', 'paintings', 10, name='lite-paintings'),
         Plan('unet-gan-pretrained', 'paintings', 4, name='unet-gan-pretrained-paintings'),
    Plan('paintings-cgan-lr4e-4', 'paintings', 3), Plan('paintings-cgan-lambda50', 'paintings', 3),
         Plan('paintings-artist', 'paintings', 4),
]

def strip(model, path):
    "Colorize the packaged photographs and put them side by side."
    from colorize_nb.colorizer.core import Colorizer
    from colorize_nb.train.history import sample_row
    sample_row(Colorizer.from_pretrained(model)).save(path, quality=85)

def one(plan, args):
    "Run a plan, unless that was done; keep its figures."
    out, kept, cmd = Path(args.out)/plan.name, KEPT/plan.name, plan.command(args.data, args.out, args.size, args.times)
    if not (out/'metrics.json').exists():
        with open(f'{out}.log', 'w') as log:
            p = subprocess.Popen([Path(sys.executable).parent/cmd[0], *cmd[1:], *['--resume']*out.exists()], stdout=log,
                                 stderr=subprocess.STDOUT)
            _, status, used = os.wait4(p.pid, 0)
        if status: return print(f'FAILED {plan.name}: see {out}.log', flush=True)
        (out/'run.json').write_text(json.dumps(dict(command=shlex.join(cmd),
                                                    processor_seconds=round(used.ru_utime + used.ru_stime),
                                                    memory_mb=used.ru_maxrss//1024), indent=1) + '\n')
        (out/'checkpoint.pt').unlink(missing_ok=True)
    kept.mkdir(parents=True, exist_ok=True)
    strip(out/'model.safetensors', kept/'samples.jpg')
    for f in ('metrics.json', 'history.csv', 'run.json'): shutil.copy(out/f, kept/f)
    m = json.loads((out/'metrics.json').read_text())['metrics']
    print(f"{plan.name}: PSNR {m['psnr']:.2f} (gray {m['psnr_gray']:.2f}), colourfulness {m['colorfulness_pred']:.1f} "
          f"of {m['colorfulness_true']:.1f}", flush=True)

def judged(args, data):
    """Name and file of every model that is judged on a set: finished runs, the packaged model, and one model decoded in
    another way."""
    found = {o.name: f for o in PLANS if not o.size and (o.data == data or o.name in EVERYWHERE)
             and (f := Path(args.out)/o.name/'model.safetensors').exists() and (f.parent/'metrics.json').exists()}
    for name, (kind, config) in DECODED.items():
        if name not in found: continue
        file = Path(args.out)/f'{name}-{kind}'/'model.safetensors'
        if not file.exists():
            file.parent.mkdir()
            shutil.copy(found[name], file)
            meta = json.loads(found[name].with_suffix('.json').read_text())
            file.with_suffix('.json').write_text(json.dumps(meta | dict(config=meta['config'] | config)))
        found[file.parent.name] = file
    return found | dict(small='small')

def judge(args):
    "Put the same pictures of every set before every model."
    def one(name):
        models, out, source = judged(args, name), Path(args.out)/'judged'/name, Path(args.data)/name
        cmd = ['colorize-nb', 'evaluate', '--data', source, '--out', out, '--resize', 'squish', '--pixels', args.size,
               '--limit', 128, '--cases', 0, *[o for n, f in models.items() for o in ('--model', f'{n}={f}')]]
        out.mkdir(parents=True, exist_ok=True)
        with open(f'{out}.log', 'w') as log:
            done = subprocess.run([Path(sys.executable).parent/cmd[0], *map(str, cmd[1:])], stdout=log,
                                  stderr=subprocess.STDOUT)
        if done.returncode: return print(f'FAILED to judge {name}: see {out}.log', flush=True)
        store(out/'metrics.json', KEPT/'judged'/f'{name}.json')
        print(f'judged {len(models)} models on {name}', flush=True)
    with ThreadPoolExecutor(args.jobs) as pool: list(pool.map(one, args.judge or SETS))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True); p.add_argument('--out', required=True)
    p.add_argument('--size', type=int, default=64, help='pixels')
    p.add_argument('--times', type=int, default=1, help='multiplies the epochs')
    p.add_argument('--only', nargs='*', help='names of runs')
    p.add_argument('--jobs', type=int, default=1, help='runs side by side')
    p.add_argument('--judge', nargs='*', metavar='SET',
                   help='train nothing more: judge what there is, on all sets or on these')
    args = p.parse_args()
    if args.judge is not None: return judge(args)
    if unknown := set(args.only or []) - {o.name for o in PLANS}:
        sys.exit(f"no such run: {', '.join(sorted(unknown))}; there are {', '.join(o.name for o in PLANS)}")
    Path(args.out).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda o: one(o, args), [o for o in PLANS if not args.only or o.name in args.only]))

if __name__ == '__main__': main()
