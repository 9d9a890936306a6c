"""Measure what the question of Dai, Paul and Xiu needs beyond the runs: chroma histograms, pictures of birds, and small
games
from several seeds.

    python experiments/measure_flowers.py --data ../shared/data --runs runs
    python experiments/measure_flowers.py --data ../shared/data --parts games --seeds 1 2 3

reads the runs of experiments/run_systems.py and writes `flowers.json` and `judged/birds.json` to nbs/recipes/results.
Runs that are not there are left out; small games that were played are not repeated.
"""
import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from colorize_nb.color.lab import lab2rgb, lab2rgb8, rgb2lab, scale_lab, unscale_lab
from colorize_nb.colorizer.core import Colorizer
from colorize_nb.evaluate.evaluation import evaluate
from colorize_nb.io.files import ab_histogram, find_pictures, read_picture, whole_box
from colorize_nb.evaluate.methods import Protocol, model_method
from colorize_nb.metrics.image import psnr
from colorize_nb.models.critics import pooling_critic
from colorize_nb.models.autoencoders import skip_generator
from run_systems import KEPT
from store_evaluation import store

NAMES = ['flowers-autoencoder', 'flowers-autoencoder-fixed', 'flowers-gan',
         *[f'flowers-gan-{v}' for v in ('plain', 'pause', 'noise', 'spectral', 'smooth', 'small', 'fixed')]]
BIRDS = KEPT/'birds.txt' # which of `photos` show birds: proposed by an ImageNet classifier, looked at one by one
# forty seconds; noted after each `every` epochs: means over these
GAME = dict(pictures=48, held_out=32, size=32, bs=8, generator=8, critic=16, epochs=120, every=5, lr=2e-4)
# report: pause and noise, on the generated pictures alone; painted: plain, but the critic sees the RGB that was
# painted, lightness and all
REMEDIES = 'plain', 'report', 'pause', 'noise', 'spectral', 'smooth', 'small', 'painted'

def per_million(hist): return (1e6*hist).round().int().tolist()

def histograms(models, data):
    "Shares of the chroma in all flowers, in the held-out ones, and in what models make of these, at 64 pixels."
    step, files = 5., {k: find_pictures(f'{data}/flowers/{k}') for k in ('train', 'valid')}
    res = dict(step=step, n={k: len(v) for k, v in files.items()}) | {k: per_million(ab_histogram(v, step))
                                                                      for k, v in files.items()}
    for name, file in models.items():
        c = Colorizer.from_pretrained(file)
        res[name] = per_million(ab_histogram([c(Image.fromarray(read_picture(f, 64, whole_box)).convert('L'))
                                              for f in files['valid']], step))
        print('histogram of', name, flush=True)
    return res

def painted(models, data):
    """PSNR of what networks that answer in RGB paint, of the same with the lightness that was given, and of gray; means
    over the held-out flowers."""
    rgb = torch.stack([torch.from_numpy(read_picture(f, 64, whole_box)).permute(2, 0, 1)
                       for f in find_pictures(f'{data}/flowers/valid')])
    l, res = scale_lab(rgb2lab(rgb))[:, :1], {}
    for name, file in models.items():
        net = Colorizer.from_pretrained(file).engine.model.eval()
        if net.out != 'rgb': continue
        with torch.no_grad(): raw, lab = net.body(l), net(l)
        answers = (255*raw).round().to(torch.uint8), lab2rgb8(unscale_lab(lab)), lab2rgb8(unscale_lab(torch.cat([l,
            0*lab[:, 1:]], 1)))
        res[name] = dict(zip(('painted', 'kept', 'gray'), [round(psnr(o, rgb).mean().item(), 3) for o in answers]))
    return res

def birds(models, data):
    "Judge the models on birds; the tint of the mean colour is that of flowers."
    found = {n: Path(data)/'photos'/n for n in BIRDS.read_text().split()}
    ev = evaluate([model_method(f, n) for n, f in models.items()], f'{data}/flowers', protocol=Protocol('squish', 64),
                  found=found)
    ev.protocol.update(data='birds', split='of photos')
    with tempfile.TemporaryDirectory() as tmp: store(ev.save(Path(tmp)/'metrics.json'), KEPT/'judged'/'birds.json')

def pictures(folder, n, size): # (lab, rgb), every so-many-th picture of a folder
    files = find_pictures(folder)
    rgb = torch.from_numpy(np.stack([read_picture(f, size, whole_box) for f in files[::len(files)//n][:n]])).permute(0,
        3, 1, 2)/255
    return scale_lab(rgb2lab(rgb)), rgb

class Game:
    "Generator and critic of Dai et al., small, with one remedy."
    def __init__(self, remedy, seed):
        torch.manual_seed(seed)
        self.remedy, self.right, self.paused, self.updates = remedy, .5, 0, 0
        self.gen, self.critic = skip_generator(nf=GAME['generator']), pooling_critic(nf=GAME['critic']//(4
            if remedy == 'small' else 1), norm='spectral' if remedy == 'spectral' else 'batch')
        self.opts = [torch.optim.Adam(m.parameters(), GAME['lr'], betas=(.5, .999)) for m in (self.gen, self.critic)]

    def merge_chroma(self, l): # what comes out in Lab, and the RGB that was painted
        raw = self.gen.body(l).clamp(1e-4, 1 - 1e-4)
        return torch.cat([l, scale_lab(rgb2lab(raw))[:, 1:]], 1), raw

    def score(self, lab, rgb, noise=0.): # of what the critic is shown
        seen = 2*rgb - 1 if self.remedy == 'painted' else lab
        return self.critic(seen + noise*torch.randn_like(seen)*(torch.tensor([0., 1, 1])[:, None, None]))

    def step(self, lab, rgb, epoch):
        "One batch; returns nothing."
        fake, raw = self.merge_chroma(lab[:, :1])
        self.paused = self.paused + 1 if self.remedy in ('pause',
                                                         'report') and self.right > .8 and self.paused < 50 else 0
        real_pred = self.score(lab, rgb)
        fake_pred = self.score(fake.detach(), raw.detach(), .5*(self.remedy in ('noise', 'report') and epoch%5 == 4))
        self.right = .9*self.right + .1*((real_pred > 0).float().mean() + (fake_pred <= 0).float().mean()).item()/2
        if not self.paused:
            self._learn(1, (bce(real_pred, torch.full_like(real_pred, .9 if self.remedy == 'smooth' else 1.))
                            + bce(fake_pred, torch.zeros_like(fake_pred)))/2)
            self.updates += 1
        self.critic.requires_grad_(False)
        pred, out = self.score(fake, raw), raw if self.remedy == 'painted' else lab2rgb(unscale_lab(fake))
        self._learn(0, bce(pred, torch.ones_like(pred)) + 75*(out - rgb).abs().mean())
        self.critic.requires_grad_(True)

    def _learn(self, i, loss): self.opts[i].zero_grad(); loss.backward(); self.opts[i].step()

    @torch.no_grad()
    def accuracy(self, lab, rgb):
        return ((self.score(lab, rgb) > 0).float().mean()
                + (self.score(*self.merge_chroma(lab[:, :1])) <= 0).float().mean()).item()/2

def play(remedy, seed, data):
    "A small game: the critic's accuracies on its pictures and on others."
    (lab, rgb), held = (pictures(f'{data}/flowers/{k}', GAME[n], GAME['size'])
                        for k, n in (('train', 'pictures'), ('valid', 'held_out')))
    game, acc = Game(remedy, seed), []
    for epoch in range(GAME['epochs']):
        for m in (game.gen, game.critic): m.train()
        for i in torch.randperm(len(lab)).split(GAME['bs']): game.step(lab[i], rgb[i], epoch)
        for m in (game.gen, game.critic): m.eval()
        acc.append([game.accuracy(lab, rgb), game.accuracy(*held)])
    own, others = np.array(acc).reshape(-1, GAME['every'], 2).mean(1).T.round(3).tolist()
    return dict(remedy=remedy, seed=seed, own=own, others=others, updates=game.updates)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True, help='folder of the sets')
    p.add_argument('--runs', default='runs', help='folder of the runs')
    p.add_argument('--parts', nargs='*', default=['histograms', 'birds', 'games'],
                   choices=['histograms', 'birds', 'games'])
    p.add_argument('--seeds', nargs='*', type=int, default=[1, 2, 3])
    args = p.parse_args()
    models = {n: f for n in NAMES if (f := Path(args.runs)/n/'model.safetensors').exists()
              and (f.parent/'metrics.json').exists()}
    out = KEPT/'flowers.json'
    def keep(**new): # read anew: parts may run side by side
        res = (json.loads(out.read_text()) if out.exists() else dict(games=[])) | new
        out.write_text(json.dumps(res, separators=(',', ':')).replace('],"', '],\n"').replace('{"remedy', '\n{"remedy')
                       + '\n')
        return res
    if 'histograms' in args.parts: keep(histograms=histograms(models, args.data), painted=painted(models, args.data))
    if 'birds' in args.parts: birds(models, args.data)
    for seed in args.seeds if 'games' in args.parts else []:
        for remedy in REMEDIES:
            games = keep(game=GAME)['games']
            if any((g['remedy'], g['seed']) == (remedy, seed) for g in games): continue
            played = play(remedy, seed, args.data)
            keep(games=keep()['games'] + [played])
            print(remedy, seed, played['own'][-3:], played['others'][-3:], played['updates'], flush=True)

if __name__ == '__main__': main()
