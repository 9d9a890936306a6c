"""How far a hint reaches: the lengths of `hold_hints`, fitted by gradient on training photographs.

    python experiments/fit_spread.py --data ../shared/data/photos [--model default] [--limit 90]
        [--trials first features fitted logits geodesic] [--kept nbs/results/hints_kernel.json]

A Gaussian process corrects what a model predicts, from true colours at points. Its kernel is exp(-d), where d sums the
squared differences of two pixels in several features, each divided by a length of its own. The lengths are learned so
that the error of chroma falls most, in dB, on two thirds of the pictures; the other third says what they are worth.
Half of the points are random, as `simulate_user.py` has them; half are set by a user who each time takes, of fifty
places, the one where the result is worst. Both kinds count alike. A trial is a list of features:

    first     place, lightness and chroma with the lengths of the first version, which were tried by hand
    features  those of `pixel_features`, lengths fitted: what `hold_hints` has
    fitted    the features of the first version, lengths fitted
    logits    and the model's distribution at the pixel, as the eight principal components of its square roots
    geodesic  and the length of the shortest path over changes of lightness and chroma between two pixels
    whole     `features`, and what all pixels have in common: one tint, and more or less of the predicted chroma
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from simulate_user import random_hints, small_rgb

from colorize_nb.color.srgb import rgb2gray16
from colorize_nb.colorizer.core import Colorizer, working_lightness, working_shape
from colorize_nb.colorizer.hints import enlarge_chroma, pixel_features, srgb2ab
from colorize_nb.colorizer.upsample import resize_planes
from colorize_nb.evaluate.evaluation import find_set
from colorize_nb.io.read import open_picture

KEPT = Path(__file__).resolve().parent.parent/'nbs'/'results'/'hints_kernel.json'
NAMES = ['row', 'column', 'lightness', 'around', 'texture', 'a', 'b']
FIRST = dict(row=.5, column=.5, pixel=20., a=14., b=14.) # the first version's lengths
START = FIRST | dict(lightness=40., around=60., texture=5., **{f'logits{i}': .5 for i in range(8)})
TRIALS = dict(first=list(FIRST), features=NAMES, fitted=list(FIRST),
              logits=NAMES + [f'logits{i}' for i in range(8)], geodesic=NAMES, whole=NAMES)
COUNTS, POINTS, PIXELS, NOISE = (1, 2, 5, 10, 20, 50), 50, 300, 1e-3

def shortest_paths(features, seeds, step):
    "Lengths (n,h,w) of the shortest paths from pixels over changes of features (k,h,w); a pixel's way costs `step`."
    # raster scans, as Toivanen (1996) computes distances on gray levels: two down and two up are enough here
    def cost(a, b, way): return np.sqrt(((a - b)**2).sum(0) + (way*step)**2)
    f, (h, w) = features, features.shape[1:]
    along = np.pad(cost(f[:, :, 1:], f[:, :, :-1], 1), ((0, 0), (1, 0))).cumsum(1)
    up, left, right = (cost(f[:, 1:], f[:, :-1], 1), cost(f[:, 1:, 1:], f[:, :-1, :-1], 2**.5),
                       cost(f[:, 1:, :-1], f[:, :-1, 1:], 2**.5))
    d = np.full((h, len(seeds), w), np.inf, np.float32)
    for i, (row, col) in enumerate(seeds): d[row, i, col] = 0
    def sweep(y, before, edges):
        if before is not None:
            p, (a, b, c) = d[before], edges
            np.minimum(d[y], p + a, out=d[y])
            np.minimum(d[y, :, 1:], p[:, :-1] + b, out=d[y, :, 1:])
            np.minimum(d[y, :, :-1], p[:, 1:] + c, out=d[y, :, :-1])
        right_way = np.minimum.accumulate(d[y] - along[y], 1) + along[y]
        left_way = np.minimum.accumulate((d[y] + along[y])[:, ::-1], 1)[:, ::-1] - along[y]
        d[y] = np.minimum(right_way, left_way)
    for _ in range(2):
        for y in range(h): sweep(y, y - 1 if y else None, (up[y - 1], left[y - 1], right[y - 1]) if y else None)
        for y in range(h - 2, -1, -1): sweep(y, y + 1, (up[y], right[y], left[y]))
    return d.transpose(1, 0, 2)

def read_example(colorizer, path, seed):
    "Features, lacking chroma and truth of a picture at random points and pixels: name -> array."
    rgb, rng = small_rgb(path), np.random.default_rng(seed)
    gray = rgb2gray16(rgb)
    picture, hints = open_picture(gray), random_hints(rgb, POINTS, rng)
    small = working_lightness(colorizer.engine, picture, *working_shape(*picture.size, colorizer.size))[None]
    coarse, = colorizer.predict_ab([picture])
    logits = colorizer.engine.answer(small)[1][0]
    ab = enlarge_chroma(coarse, picture)
    l, (h, w) = picture.small(*ab.shape[1:]), ab.shape[1:]
    truth = resize_planes(np.moveaxis(srgb2ab(rgb), -1, 0), w, h)
    shares = np.exp(logits - logits.max(0))
    sx, sy = w/picture.size[0], h/picture.size[1]
    rows = np.array([min(int((o.y + .5)*sy), h - 1) for o in hints])
    cols = np.array([min(int((o.x + .5)*sx), w - 1) for o in hints])
    at, pixels = rows*w + cols, rng.choice(h*w, PIXELS, replace=h*w < PIXELS)
    changes = np.stack([l/20, *ab/14]).astype(np.float32)
    paths = shortest_paths(changes, list(zip(rows, cols)), 1/max(h, w)).reshape(POINTS, -1)
    features = np.concatenate([pixel_features(ab, l), l[None]]).reshape(len(NAMES) + 1, -1)
    roots = resize_planes(np.sqrt(shares/shares.sum(0)), w, h).reshape(len(shares), -1)
    lacks = (np.stack([o.ab for o in hints]).T - ab.reshape(2, -1)[:, at]).T
    error = (truth - ab).reshape(2, -1).T
    return dict(points=features[:, at].T, pixels=features[:, pixels].T, roots_points=roots[:, at].T,
                roots_pixels=roots[:, pixels].T, paths_points=(paths[:, at] + paths[:, at].T)/2,
                paths_pixels=paths[:, pixels].T, lacks=lacks, error=error[pixels])

def gather(examples, components):
    "One tensor (pictures,...) of each array of the examples; distributions as their principal components."
    mean, axes = components
    def column(name):
        x = np.stack([e[name] for e in examples])
        return torch.tensor((x - mean)@axes if name.startswith('roots') else x, dtype=torch.float32)
    b = {name: column(name) for name in examples[0]}
    for name in 'points', 'pixels': b[name] = torch.cat([b[name], b.pop(f'roots_{name}')], -1)
    return b

def principal_components(examples, n=8):
    "Mean (313,) and axes (313,n) of the roots of distributions."
    x = np.concatenate([e['roots_pixels'] for e in examples])
    _, _, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return x.mean(0), axes[:n].T

class Spread(torch.nn.Module):
    "The correction of `hold_hints`, with lengths that can be learned."
    columns = [*NAMES, 'pixel', *[f'logits{i}' for i in range(8)]] # of the features
    def __init__(self, names, paths=False, whole=False):
        super().__init__()
        self.names, self.at = names, [self.columns.index(n) for n in names]
        self.log_lengths = torch.nn.Parameter(torch.tensor([START[n] for n in names]).log())
        self.log_path = torch.nn.Parameter(torch.tensor(1.)) if paths else None
        self.log_whole = torch.nn.Parameter(torch.tensor([-1.5, -1.5])) if whole else None # of the tint, of chroma

    def likeness(self, x, y, paths):
        "Kernel (bs,n,m) of features (bs,n,k) and (bs,m,k), and of the paths (bs,n,m) between them."
        whole = self.whole(x, y)
        x, y = (o[..., self.at]/self.log_lengths.exp() for o in (x, y))
        d2 = (x**2).sum(-1)[:, :, None] + (y**2).sum(-1)[:, None] - 2*x@y.transpose(1, 2)
        if self.log_path is not None: d2 = d2 + (paths/self.log_path.exp())**2
        return torch.exp(-(d2.clamp(min=0) + 1e-6).sqrt()) + whole

    def whole(self, x, y):
        "What two pixels have in common wherever they are."
        if self.log_whole is None: return 0
        tint, chroma = self.log_whole.exp()
        at = [self.columns.index('a'), self.columns.index('b')]
        return tint + chroma*(x[..., at]@y[..., at].transpose(1, 2))/14**2

    def forward(self, b, chosen, at='pixels'):
        "Correction (bs,m,2) at the pixels, or at all points, from the `chosen` points (bs,n)."
        def take(x): return torch.gather(x, 1, chosen[..., None].expand(-1, -1, x.shape[-1]))
        points, lacks = take(b['points']), take(b['lacks'])
        def paths(name): return torch.gather(b[name], 2, chosen[:, None].expand(-1, b[name].shape[1], -1))
        K = self.likeness(points, points, take(paths('paths_points'))) + NOISE*torch.eye(chosen.shape[1])
        return self.likeness(b[at], points, paths(f'paths_{at}'))@torch.linalg.solve(K, lacks)

    def worst(self, b, n):
        "Points (bs,n), one after the other where the result is worst."
        with torch.no_grad():
            chosen = b['lacks'].norm(dim=-1).argmax(1, keepdim=True)
            while chosen.shape[1] < n:
                left = (b['lacks'] - self(b, chosen, 'points')).norm(dim=-1).scatter(1, chosen, -1)
                chosen = torch.cat([chosen, left.argmax(1, keepdim=True)], 1)
        return chosen

def gains(net, b, chosen):
    "By how many dB the squared error of chroma (bs,) falls by the chosen points."
    def energy(x): return (x**2).sum(-1).mean(1) + 4 # ours: 2 units cannot be seen
    return 10*torch.log10(energy(b['error'])/energy(b['error'] - net(b, chosen)))

def first(b, n): return torch.arange(n).expand(len(b['lacks']), n)

def fit(net, b, steps=80, lr=.08):
    "Learn the lengths."
    opt = torch.optim.Adam(net.parameters(), lr)
    plan = torch.optim.lr_scheduler.MultiStepLR(opt, [2*steps//3], .25)
    for _ in range(steps):
        worst = net.worst(b, 6)
        gain = [gains(net, b, first(b, n)).mean() for n in (1, 3, 10, 30)]
        gain += [gains(net, b, worst[:, :n]).mean() for n in (1, 2, 4, 6)]
        opt.zero_grad()
        (-torch.stack(gain).mean()).backward()
        opt.step()
        plan.step()

def judge(net, b):
    "Mean gain in dB for each number of random points, and of worst ones."
    with torch.no_grad():
        worst = net.worst(b, 10)
        def mean(chosen): return round(float(gains(net, b, chosen).mean()), 3)
        return dict(random={n: mean(first(b, n)) for n in COUNTS},
                    worst={n: mean(worst[:, :n]) for n in (1, 2, 5, 10)})

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder of a set with train/')
    p.add_argument('--model', default='default', help='a packaged model with a distribution, or a path')
    p.add_argument('--limit', type=int, default=90, help='at most so many pictures')
    p.add_argument('--trials', nargs='+', choices=TRIALS, default=list(TRIALS), help='what to fit')
    p.add_argument('--seed', type=int, default=0, help='of the pictures and points')
    p.add_argument('--kept', type=Path, default=KEPT, help='file to write')
    args = p.parse_args()
    c = Colorizer.from_pretrained(args.model)
    found = find_set(args.data, 'train', args.limit, args.seed)
    examples = [read_example(c, f, [args.seed, i]) for i, f in enumerate(found.values())]
    learn = [e for i, e in enumerate(examples) if i % 3]
    components = principal_components(learn)
    learn, check = (gather(part, components) for part in (learn, examples[::3]))
    out = dict(data=args.data.name, model=args.model, n=len(examples), seed=args.seed, trials={})
    for name in args.trials:
        net = Spread(TRIALS[name], name == 'geodesic', name == 'whole')
        if name != 'first': fit(net, learn)
        def rounded(names, logs): return {n: round(v, 3) for n, v in zip(names, logs.exp().tolist())}
        lengths = rounded(net.names, net.log_lengths)
        if net.log_whole is not None: lengths |= rounded(('tint', 'chroma'), net.log_whole)
        out['trials'][name] = dict(lengths=lengths, **judge(net, check))
        print(name, json.dumps(out['trials'][name]), flush=True)
        args.kept.write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')

if __name__ == '__main__': main()
