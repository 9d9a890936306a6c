"""Measure what `colorize-nb evaluate` cannot: what Minářová (2022)'s networks paint before their lightness is thrown
away,
what their codes hold, and
what a conditional VAE has to say more than once.

    python experiments/measure_art.py --data ../shared/data/paintings --runs runs

reads the runs of experiments/run_systems.py, takes the pictures that `colorize-nb evaluate --resize squish --pixels 64
--limit 128` takes, and writes
`painted.json`, `NAME/painted.jpg`, `art-vae/codes.json`, `art-cvae/draws.json` and `art-cvae/draws.jpg` to
nbs/recipes/results. Runs that are not there are left out.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from colorize_nb.color.lab import lab2rgb, rgb2lab, scale_lab, unscale_lab
from colorize_nb.models.registry import load_generator
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.io.files import find_pictures
from colorize_nb.evaluate.methods import Protocol, average_ab
from colorize_nb.metrics.image import colorfulness, gray_rgb
from colorize_nb.train.history import SAMPLE_ROW
from colorize_nb.io.samples import sample
from colorize_nb.models.vae import code_use, normal_kl
from run_systems import KEPT

PAINTERS = 'art-cnn', 'art-cnn-lab', 'art-autoencoder', 'art-autoencoder-lab', 'art-vae', 'art-vae-fixed', 'art-vae-lab'
TINY, DRAWS, TILE = 64, 16, (132, 99) # pixels of the pictures, colorizations of each, size of a picture shown

def read(paths):
    "Pictures as RGB in [0,1], (n,3,64,64)"
    protocol = Protocol('squish', TINY)
    return torch.stack([torch.tensor(protocol.read(p)).permute(2, 0, 1) for p in paths])/255

def rgb_of(lab): return lab2rgb(unscale_lab(lab)).clamp(0, 1)
def as8(rgb): return (rgb*255).round().to(torch.uint8)
def errors(pred, rgb): return (pred - rgb).square().mean((1, 2, 3)).tolist()
def figures(pred, rgb): return dict(mse=errors(pred, rgb), colorfulness=colorfulness(as8(pred)).tolist())

def question(rgb):
    "Scaled Lab of the truth, and the lightness that a network sees: L* as 8-bit gray."
    lab = scale_lab(rgb2lab(rgb))
    return lab, scale_lab(rgb2lab(gray_rgb(as8(rgb))))[:, :1]

@torch.no_grad()
def merge_chroma(net, l):
    "What a network paints in RGB, its own lightness included."
    raw = net.body(l)
    return (raw[0] if isinstance(raw, tuple) else raw).clamp(0, 1)

@torch.no_grad()
def painted(net, rgb):
    "Errors of each picture: as painted; its chroma on the true lightness; its lightness under the true chroma."
    lab, l = question(rgb)
    kept = rgb_of(net(l))
    if net.out == 'ab': return dict(kept=figures(kept, rgb))
    own = merge_chroma(net, l)
    own_l = scale_lab(rgb2lab(own))[:, :1]
    return dict(painted=figures(own, rgb), kept=figures(kept, rgb),
                lightness=figures(rgb_of(torch.cat([own_l, lab[:, 1:]], 1)), rgb))

def baselines(rgb, train, ab):
    "The answers that no network made; the first three keep the lightness."
    lab, l = question(rgb)
    one = torch.cat([l, (torch.tensor(ab).float()/110).view(1, 2, 1, 1).expand(len(l), -1, TINY, TINY)], 1)
    flat = {'gray, L*': rgb_of(torch.cat([l, torch.zeros_like(lab[:, 1:])], 1)),
            'gray, luma': gray_rgb(as8(rgb), luma=True)/255, 'mean colour on L*': rgb_of(one),
            'mean RGB everywhere': train.mean((0, 2, 3)).view(1, 3, 1, 1).expand_as(rgb),
            'mean picture': train.mean(0, keepdim=True).expand_as(rgb), 'truth': rgb}
    return {k: figures(v, rgb) for k, v in flat.items()}

@torch.no_grad()
def codes(net, rgb):
    "How much the code of each picture says, and how much is heard of it."
    mean, logvar = net.encode(question(rgb)[1])
    use = code_use(net.decode, mean, logvar)
    return dict(kl=use['kl'].abs().sort(descending=True).values.tolist(), active=use['active'], change=use['change'])

def tints(mode, draws):
    "One random colour cast for each draw, as strong as the draws of that picture differ"
    spread = draws.std(1).square().mean((1, 2, 3)).sqrt() # (n,), of a and b
    return mode[:, None] + spread.view(-1, 1, 1, 1, 1)*torch.randn(*draws.shape[:3], 1, 1)

@torch.no_grad()
def draws_of(net, rgb):
    """Errors of each picture: of the one answer, of each draw, of means of draws, of random casts, of the answer that
    knows the true code."""
    torch.manual_seed(42)
    lab, l = question(rgb)
    dist = net.body(l)
    ab, mode = torch.stack([dist.sample() for _ in range(DRAWS)], 1), dist.mode() # (n,16,2,64,64)
    err = lambda x: errors(rgb_of(torch.cat([l, x], 1)), rgb)
    each = lambda many: np.transpose([err(many[:, i]) for i in range(DRAWS)]).tolist()
    mean, logvar = dist.posterior(lab[:, 1:])
    use = code_use(dist.decode, mean, logvar, dist.mean, dist.logvar)
    vivid = lambda x: colorfulness(as8(rgb_of(torch.cat([l, x], 1)))).tolist()
    return dict(mode=err(mode), draws=each(ab), tints=each(tints(mode, ab)),
                means={n: err(ab[:, :n].mean(1)) for n in (1, 2, 4, 8, DRAWS)}, known=err(dist.decode(mean)),
                spread=110*ab.std(1).mean().item(), spread_of_means=110*ab.mean((3, 4)).std(1).mean().item(),
                kl=use['kl'].sort(descending=True).values.tolist(), active=use['active'],
                kl_pictures=normal_kl(mean, logvar, dist.mean, dist.logvar).sum(1).tolist(),
                colorfulness=dict(mode=vivid(mode), draw=vivid(ab[:, 0]), mean=vivid(ab.mean(1)),
                                  truth=vivid(lab[:, 1:])))

def fit(name): return ImageOps.fit(sample(name).convert('RGB'), TILE)
def tensor(im): return torch.tensor(np.array(im)).permute(2, 0, 1)[None]/255
def tiny(im): return question(tensor(im.resize((TINY, TINY))))[1]
def enlarge(x): return F.interpolate(x, TILE[::-1], mode='bilinear')
def picture(rgb): return Image.fromarray(as8(rgb)[0].permute(1, 2, 0).numpy())

def show_painted(net):
    "The packaged photographs as a network paints them, side by side."
    sheet = Image.new('RGB', (TILE[0]*len(SAMPLE_ROW), TILE[1]))
    for x, name in enumerate(SAMPLE_ROW):
        sheet.paste(picture(enlarge(merge_chroma(net, tiny(fit(name))))), (x*TILE[0], 0))
    return sheet

@torch.no_grad()
def show_draws(net, names=('china', 'flower'), n=5):
    "A row for each packaged photograph: gray, the one answer, some draws, the truth."
    torch.manual_seed(42)
    sheet = Image.new('RGB', (TILE[0]*(n + 3), TILE[1]*len(names)))
    for y, name in enumerate(names):
        im = fit(name)
        full, dist = question(tensor(im))[1], net.body(tiny(im))
        row = [torch.zeros(1, 2, TINY, TINY), dist.mode(), *(dist.sample() for _ in range(n))]
        for x, o in enumerate(row):
            sheet.paste(picture(rgb_of(torch.cat([full, enlarge(o)], 1))), (x*TILE[0], y*TILE[1]))
        sheet.paste(im, ((n + 2)*TILE[0], y*TILE[1]))
    return sheet

def write(path, d):
    "Store JSON with five digits of each number."
    short = json.loads(json.dumps(d), parse_float=lambda s: float(f'{float(s):.5g}'))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(short) + '\n', encoding='utf-8')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', required=True)
    p.add_argument('--runs', default='runs'); p.add_argument('--limit', type=int, default=128)
    args = p.parse_args()
    data, there = Path(args.data), lambda n: (Path(args.runs)/n/'model.safetensors').exists()
    net = lambda n: load_generator(Path(args.runs)/n)[0]
    learned = list(find_pictures(data/'train'))
    rgb, train = read(find_set(data, None, args.limit, 42).values()), read(learned)
    found = {n: net(n) for n in PAINTERS if there(n)}
    write(KEPT/'painted.json', baselines(rgb, train, average_ab(learned))
          | {n: painted(o, rgb) for n, o in found.items()})
    write(KEPT/'art-vae'/'codes.json', {n: codes(o, rgb) for n, o in found.items() if hasattr(o, 'encode')})
    for n, o in found.items():
        (KEPT/n).mkdir(exist_ok=True)
        if o.out == 'rgb': show_painted(o).save(KEPT/n/'painted.jpg', quality=85)
    if not there('art-cvae'): return
    cvae = net('art-cvae')
    write(KEPT/'art-cvae'/'draws.json', draws_of(cvae, rgb))
    show_draws(cvae).save(KEPT/'art-cvae'/'draws.jpg', quality=85)

if __name__ == '__main__': main()
