"""Tiny trainings, each in a child of a process that has imported all there is, killed where a test asks for it.

`python killed_runs.py JOBS` reads a list of jobs from a JSON file, runs one after the other, and prints their exit
codes and seconds as JSON; a job is a dict of `recipe`, `data`, `out`, `resume` and where to `kill` it: at a place (see
`Die`), by a `line` of our code, after so many `seconds`, or by files that must not have more than so many `bytes`."""
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from fastai.callback.core import Callback

from colorize_nb.train.run import get_recipe, run_recipe

KILLED, REFUSED = 9, 2 # exit codes of a job that was killed, and of one that could not write

class Die(Callback):
    "End the process at once when `event` comes in this phase (from 1), epoch and batch (from 0); None: in any"
    def __init__(self, event, phase=None, epoch=None, batch=None, order=1000, training=True):
        self.at, self.order, self.training_only = (phase, epoch, batch), order, training
        setattr(self, event, self.die)
    def die(self):
        if self.training_only and not self.training: return
        here = int(self.learn.history.phase.partition('-')[0]), self.epoch, getattr(self, 'iter', None)
        if all(want in (None, got) for want, got in zip(self.at, here)): os._exit(KILLED)

def die_by_line(n):
    "End the process when line `n` of our training code is reached; return where the lines are counted"
    seen = [0]
    def line(frame, event, arg):
        seen[0] += event == 'line'
        if seen[0] == n: os._exit(KILLED)
        return line
    def call(frame, event, arg):
        file = frame.f_code.co_filename.replace(os.sep, '/')
        return line if 'colorize_nb/train/' in file or file.endswith('colorize_nb/io/write.py') else None
    sys.settrace(call)
    return seen

def die_later(seconds):
    "Send SIGKILL to this process after so many seconds"
    def kill():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=kill, daemon=True).start()

def tiny(name):
    "The recipe with small networks and few epochs, but its own phases, rates, schedules and callbacks"
    all_phases = name == 'all-phases' # made for this: every kind of phase, two of the critic in a row
    r = get_recipe('nogan' if all_phases else name)
    epochs = dict(critic=2, gan=2, generator=1 if name == 'nogan' else 2)
    phases = [replace(p, epochs=epochs[p.kind], n_store=16, fraction=max(p.fraction, .25)) for p in r.phases]
    r = replace(r, encoder=None, critic=dict(n_layers=2, nf=8, norm='spectral'), phases=phases)
    depth = 4 if r.config.get('self_attention') else 3 # stages that it needs
    lite, small_unet = get_recipe('lite'), r.config | dict(arch='resnet18', depth=depth)
    if r.arch == 'unet_generator' and not all_phases: return replace(r, config=small_unet)
    if all_phases: r = replace(r, arch='lite_generator', ema=.9, phases=[phases[0], *phases[4:]])
    return replace(r, config=dict(encoder='mobilenet_v2', nf=[16]*4), tfms=lite.tfms)

def run(recipe, data, out, resume=False, kill=None, log=None):
    "Run one job in this process"
    kill, cbs, seen = dict(kill or {}), [], None
    if 'event' in kill: cbs.append(Die(**kill))
    elif 'seconds' in kill: die_later(**kill)
    elif 'line' in kill: seen = die_by_line(kill['line'])
    elif 'bytes' in kill: resource.setrlimit(resource.RLIMIT_FSIZE, (kill['bytes'],)*2) # as a disk that is full
    how = dict(size=32, bs=4, num_workers=0, log=log or (lambda s: None))
    run_recipe(tiny(recipe), data, out, resume=resume, cbs=cbs, **how)
    sys.settrace(None)
    if seen: Path(f'{out}.lines').write_text(str(seen[0]))

def run_forked(job):
    "Run one job in a child, and return its exit code and seconds"
    t = time.time()
    if pid := os.fork(): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.time() - t
    try: run(**job)
    except OSError as e:
        print(e.strerror, file=sys.stderr)
        os._exit(REFUSED)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

if __name__ == '__main__':
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    print(json.dumps([run_forked(job) for job in json.loads(Path(sys.argv[1]).read_text())]))
