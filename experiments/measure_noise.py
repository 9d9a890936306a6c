"""Ask what noise does to a critic: none, on the generated images alone, or on both sides; in every epoch, or in every
fifth as Dai, Paul and Xiu have it.

    python experiments/measure_noise.py --data ../shared/data/flowers --seeds 1 2 3

trains their two networks, small, for a few minutes of one core, and writes nbs/results/noise.json.
"""
import argparse
import json
import tempfile
import warnings
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from PIL import Image

from colorize_nb.io.files import find_pictures, read_picture, whole_box
from colorize_nb.models.autoencoders import skip_generator
from colorize_nb.models.critics import pooling_critic
from colorize_nb.train.data import ColorizeDataLoaders
from colorize_nb.train.gan import ColorGANLearner
from colorize_nb.train.gan_schedules import CriticNoise
from colorize_nb.train.losses import RGBLoss

OUT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'noise.json'
PLAN = dict(pictures=256, held_out=64, size=32, bs=8, generator=8, critic=16, epochs=6, std=.5, lr=2e-4,
            lambda_content=75.)
NOISE = { # name -> arguments of `CriticNoise`
    'none': None, 'fakes': dict(every=1, sides='fakes'), 'both': dict(every=1, sides='both'),
    'fakes, every 5th': dict(every=5, sides='fakes'), 'both, every 5th': dict(every=5, sides='both')}

class Figures(Callback):
    "Note the critic's accuracy on the batches that it learns from, and on clean images of both sets after each epoch."
    order = 59 # after_validate: while the networks are in eval mode
    def __init__(self): self.train, self.own, self.held_out = [], [], []

    def before_train(self):
        "Start counting."
        self.right = []

    def after_batch(self):
        "Add the accuracy of this step, of what the critic was shown."
        last = self.learn.gan_trainer.last
        if self.training: self.right.append((last['acc_real'] + last['acc_fake'])/2)

    def after_validate(self):
        "Ask about clean images."
        self.train.append(sum(self.right)/len(self.right))
        self.own.append(self.accuracy(self.images[0]))
        self.held_out.append(self.accuracy(self.images[1]))

    def before_fit(self):
        "Read the images of both sets once."
        sets = self.dls.train_ds.items[:PLAN['held_out']], self.dls.valid_ds.items # as many of each
        loaders = [self.dls.test_dl(list(o), bs=len(o), num_workers=0) for o in sets]
        self.images = [next(iter(dl))[1].as_subclass(torch.Tensor) for dl in loaders]

    def accuracy(self, lab):
        "The share of right answers about images, true and colorized."
        with torch.no_grad(): real, fake = (self.model.critic(o) for o in (lab, self.model.generator(lab[:, :1])))
        return ((real > 0).float().mean() + (fake <= 0).float().mean()).item()/2

def shrink(folder, n, out):
    "Write every so-many-th image of a folder at the size of the training, so that it is decoded once."
    files = find_pictures(folder)
    out.mkdir()
    for i, f in enumerate(files[::len(files)//n][:n]):
        Image.fromarray(read_picture(f, PLAN['size'], whole_box)).save(out/f'{i:04d}.png')

def measure(data, noise, seed):
    "Train once; accuracies of the critic, one for each epoch."
    set_seed(seed, reproducible=True)
    dls = ColorizeDataLoaders.from_folder(data, tfms=None, size=PLAN['size'], bs=PLAN['bs'], min_chroma=None,
                                          num_workers=0, device='cpu')
    figures = Figures()
    cbs = [figures] if noise is None else [figures, CriticNoise(std=PLAN['std'], **noise)]
    gen, critic = skip_generator(nf=PLAN['generator']), pooling_critic(nf=PLAN['critic'])
    learn = ColorGANLearner(dls, gen, critic, 'vanilla', RGBLoss('l1', of='lab'), PLAN['lambda_content'],
                            lr=PLAN['lr'], metrics=[], cbs=cbs)
    with warnings.catch_warnings(), learn.no_bar(), learn.no_logging():
        warnings.simplefilter('ignore')
        learn.fit(PLAN['epochs'])
    return {k: [round(o, 3) for o in getattr(figures, k)] for k in ('train', 'own', 'held_out')}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder with `train` and `valid`')
    p.add_argument('--seeds', nargs='*', type=int, default=[1, 2, 3])
    p.add_argument('--out', type=Path, default=OUT)
    args = p.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as tmp:
        for part, n in (('train', 'pictures'), ('valid', 'held_out')):
            shrink(args.data/part, PLAN[n], Path(tmp)/part)
        for seed, name in ((s, k) for s in args.seeds for k in NOISE):
            runs.append(dict(noise=name, seed=seed, **measure(tmp, NOISE[name], seed)))
            print(name, seed, *runs[-1]['train'], '|', *runs[-1]['held_out'], flush=True)
    lines = ',\n'.join(json.dumps(o, separators=(',', ':')) for o in runs)
    args.out.write_text(f'{{"plan":{json.dumps(PLAN)},\n"runs":[\n{lines}]}}\n', encoding='utf-8')

if __name__ == '__main__': main()
