"""Tiny trainings by one process or by several: `python parallel_runs.py JOBS`, or the same behind a launcher.

JOBS is a JSON file with a list of jobs: `recipe` ('all' phases, or 'shards'), `data`, `out`, and if wanted `resume` and
`kill`: rank, epoch and batch (from 0) after which that process ends at once. No network here knows batch norm and
nothing is drawn at random for an image, so the number of processes must not matter."""
import json
import os
import signal
import sys
import warnings

import torch
from fastai.callback.core import Callback

from colorize_nb.models.registry import ARCHS
from colorize_nb.train.parallel import leave_processes, rank
from colorize_nb.train.run import Phase, Recipe, run_recipe

class Plain(torch.nn.Module):
    "A generator with an encoder, without batch norm"
    arch, config = 'plain_generator', {}
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.GELU())
        self.decoder = torch.nn.Conv2d(6, 2, 3, padding=1)
        self.idle = torch.nn.Linear(2, 2) # no loss reaches it
    def forward(self, l, hints=None): return torch.cat([l, self.decoder(self.encoder(l)).tanh()], 1)

def plain_generator(pretrained=False): return Plain()
ARCHS['plain_generator'] = 'parallel_runs' if __name__ != '__main__' else '__main__'

class Kill(Callback):
    "End this process if it is the one, without a word"
    order = 1000
    def __init__(self, rank, epoch, batch): self.at = rank, epoch, batch
    def after_batch(self):
        if self.training and (rank(), self.epoch, self.iter) == self.at: os.kill(os.getpid(), signal.SIGKILL)

def recipe(name):
    "All kinds of phases from a folder, or a generator alone from a store"
    lr, frozen = 1e-3, dict(freeze=True)
    phases = [Phase('generator', 2, lr, clip=1., **frozen), Phase('critic', 2, lr, n_store=9),
              Phase('gan', 3, lr, callbacks=dict(threshold=dict(thresh=.55, beta=.5)))]
    if name == 'shards': phases = [Phase('generator', 3, lr)]
    common = dict(arch='plain_generator', critic=dict(n_layers=1, nf=4, norm=None), size=24, bs=5, ema=.9,
                  tfms=dict(hflip=0., scale=(1., 1.)), shards=name == 'shards')
    return Recipe(name=name, title='t', source='s', data='d', phases=phases, **common)

def main(jobs):
    warnings.simplefilter('ignore')
    for job in jobs:
        cbs = [Kill(*job['kill'])] if job.get('kill') else []
        how = job.get('how', {}) | dict(resume=job.get('resume', False), device='cpu', save_steps=1, cbs=cbs)
        run_recipe(recipe(job['recipe']), job['data'], job['out'], log=lambda s: print(s, flush=True), **how)
    leave_processes()

if __name__ == '__main__': main(json.loads(open(sys.argv[1]).read()))
