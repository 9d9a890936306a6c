"""Train the light generator with hints and a distribution on many pictures through simulated film.

    python experiments/old_photographs.py --data '../shared/data/more/*.tar' ../shared/data/photos/train \
        --valid ../shared/data/photos/valid --out runs/old --steps 9000 --resume

A checkpoint every few minutes holds weights, averages, moments and the place in the stream of batches; `--resume` goes
on from it to the bit. Each row of history.csv measures the averaged weights on pictures held out, plain and through
the two simulated emulsions that the training never draws.
"""
import argparse
import csv
import glob
import json
import math
import signal
import time
from collections import deque
from pathlib import Path

import torch
import torch.nn.functional as F

from colorize_nb.color.bins import ab_prior, annealed_mean, bin_counts
from colorize_nb.color.film import EVALUATION_FILMS, FilmSampler, film_gray
from colorize_nb.color.lab import AB_SCALE, lab2rgb8, rgb2lab
from colorize_nb.io.write import atomic_path
from colorize_nb.metrics.image import colorfulness
from colorize_nb.models.hints import simulate_hints
from colorize_nb.models.lite_hints import lite_hints, widen_weights
from colorize_nb.models.registry import find_model, load_generator, save_generator
from colorize_nb.train.augment import Damage
from colorize_nb.train.losses import AbLoss, BinLoss
from colorize_nb.train.shards import ImageStore, ShardLoader

# sources that show what old photographs show count more, those that show one thing count less
WEIGHTS = dict(idenprof=.5, sports=.35, imagenette=.7, voc=.8, caltech101=.7, cars=.4, clothing=.5, grocery=.35,
               monkeys=.5, panda=.5, intel=1.3, houses=1.2, flickr8k=2., weather=2., pacs=1., coco100=2., misc=2.,
               food=.7, bsds500=3., selfexsr=2.5, nips17=2., coco132=3., voc_photo=2., metaext=2., elementary=2.,
               animals=1., flowers5=.8, oxford12=.6)

def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--data', nargs='+', required=True, help='tar files, patterns or folders to train on')
    p.add_argument('--valid', required=True, help='a folder of pictures that are held out')
    p.add_argument('--out', type=Path, required=True, help='folder for checkpoint, history and model')
    p.add_argument('--cache', type=Path, help='file that keeps the decoded pictures')
    p.add_argument('--start', default='default', help='model to start from')
    p.add_argument('--steps', type=int, default=9000, help='batches in all')
    p.add_argument('--size', type=int, default=128)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--lr', type=float, default=5e-4, help="the decoder's")
    p.add_argument('--enc-lr', type=float, default=8e-5, help="the encoder's")
    p.add_argument('--wd', type=float, default=.02)
    p.add_argument('--decay', type=float, default=.4,
                   help='share of the steps, at the end, over which the rate falls to 0')
    p.add_argument('--bins', type=float, default=.03, help='weight of the cross-entropy beside Huber')
    p.add_argument('--no-film', action='store_true', help='train on plain lightness alone')
    p.add_argument('--no-hints', action='store_true', help='train without hints')
    p.add_argument('--flat', action='store_true', help='sources as they come')
    p.add_argument('--seed', type=int, default=42)
    p.add_argument('--threads', type=int, default=2)
    p.add_argument('--device', default='cpu')
    p.add_argument('--bf16', action='store_true', help='compute in bfloat16 (GPU)')
    p.add_argument('--minutes', type=float, default=1e9, help='stop after so long, with a checkpoint')
    p.add_argument('--save-every', type=float, default=6., help='minutes between checkpoints')
    p.add_argument('--measure-every', type=int, default=500, help='batches between rows of history.csv')
    p.add_argument('--measured', type=int, default=210, help='pictures held out that are measured')
    p.add_argument('--resume', action='store_true')
    return p.parse_args()

def rate(step, args):
    "Share of the learning rate at `step`: a short rise, level, then a straight fall to 0."
    start, fall = min(200, args.steps//20 + 1), args.steps*args.decay
    return min(1, (step + 1)/start, (args.steps - step)/max(fall, 1))

def groups(net):
    "Parameters: the encoder's, then all others; biases and norms without weight decay."
    res = []
    for encoder in (True, False):
        named = [(n, p) for n, p in net.named_parameters() if n.startswith('encoder.') == encoder]
        res += [[p for _, p in named if p.ndim > 1], [p for _, p in named if p.ndim < 2]]
    return res

class Average:
    "Exponential moving average of floating-point weights and buffers."
    def __init__(self, net, decay=.998):
        self.decay, self.n, self.values = decay, 0, {k: v.detach().clone() for k, v in self.of(net).items()}
    def of(self, net): return {k: v for k, v in net.state_dict().items() if v.is_floating_point()}
    def update(self, net):
        self.n += 1
        now = self.of(net)
        weight = 1 - min(self.decay, (1 + self.n)/(10 + self.n))
        torch._foreach_lerp_([*self.values.values()], [now[k] for k in self.values], weight)
    def swap(self, net):
        "Exchange the network's weights and the average."
        with torch.no_grad():
            for k, v in self.of(net).items():
                kept = v.clone()
                v.copy_(self.values[k])
                self.values[k] = kept

class Tally:
    "Sums over pixels for the share of chroma error removed, correlation and colourfulness."
    def __init__(self): self.err = self.gray = self.xy = self.xx = self.yy = self.cf = self.true_cf = self.n = 0.
    def add(self, ab, true, true_l):
        "`ab` and `true` (bs,2,h,w) in units, `true_l` (bs,1,h,w) L*."
        a, t = ab.double(), true.double()
        self.err += (a - t).norm(dim=1).mean().item()*len(a)
        self.gray += t.norm(dim=1).mean().item()*len(a)
        self.xy += (a*t).mean().item()*len(a)
        self.xx += (a*a).mean().item()*len(a)
        self.yy += (t*t).mean().item()*len(a)
        self.cf += colorfulness(lab2rgb8(torch.cat([true_l, ab], 1))).sum().item()
        self.true_cf += colorfulness(lab2rgb8(torch.cat([true_l, true], 1))).sum().item()
        self.n += len(a)
    def row(self):
        return dict(removed=1 - self.err/self.gray, cos=self.xy/max((self.xx*self.yy)**.5, 1e-9),
                    color=self.cf/self.true_cf)

@torch.no_grad()
def measure(net, rgb, device):
    "Rows of figures for pictures `rgb` (n,3,h,w) in [0,1], plain and through film, and with ten hints."
    net.eval()
    res = {}
    films = {'plain': None} | dict(EVALUATION_FILMS)
    for name, film in films.items():
        tallies = {k: Tally() for k in ('ab', 'bins', 'sharp', 'hints')}
        for i, x in enumerate(rgb.split(30)):
            generator = torch.Generator().manual_seed(1000 + i)
            lab = rgb2lab(x)
            l = lab[:, :1] if film is None else film_gray(x, film, generator)
            l = (l/50 - 1).to(device)
            ab, logits = net.predict(l)
            hints = simulate_hints(lab[:, 1:]/AB_SCALE, generator, p=1e-6, whole=0, most=10).to(device)
            answers = dict(ab=ab*AB_SCALE, bins=annealed_mean(logits, 1.), sharp=annealed_mean(logits, .38),
                           hints=net.predict(l, hints)[0]*AB_SCALE)
            for k, o in answers.items():
                if k == 'hints' and film is not None: continue
                o = F.interpolate(o.float().cpu(), size=x.shape[-2:], mode='bilinear', align_corners=False)
                tallies[k].add(o, lab[:, 1:], lab[:, :1])
        for k, t in tallies.items():
            if t.n: res |= {f'{name}_{k}_{m}': round(v, 4) for m, v in t.row().items()}
    net.train()
    return res

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    sources = [o for pattern in args.data for o in (sorted(glob.glob(pattern)) or [pattern])]
    store = ImageStore.build(sources, side=160, cache=args.cache)
    print(len(store), 'pictures', flush=True)
    weights = None if args.flat else {k: WEIGHTS.get(k, 1.) for k in store.counts()}
    film = None if args.no_film else FilmSampler()
    loader = ShardLoader(store, args.size, args.bs, args.seed, weights=weights, film=film,
                         damage=None if args.no_film
                         else Damage(p_scratches=.05, p_dust=.1, p_stains=.05, p_paper=.08, p_halftone=.015,
                                                                p_border=.04, p_jpeg=.15).apply,
                         hints=None if args.no_hints else simulate_hints)
    held = ImageStore.build([args.valid], side=160)
    chosen = list(range(0, len(held), max(1, len(held)//args.measured)))
    held = held.batch(chosen, 160).float()/255

    gen, meta = load_generator(find_model(args.start))
    if meta['arch'] == 'lite_hints': net = gen
    else:
        net = lite_hints(**gen.config)
        net.load_state_dict(widen_weights(gen.state_dict(), net))
        some = store.batch(list(range(0, len(store), max(1, len(store)//1000))), 32)
        prior = ab_prior(bin_counts(rgb2lab(some)[:, 1:]))
        with torch.no_grad(): net.bins.bias.copy_(prior.clamp_min(1e-6).log()) # it begins with what is common
    net = net.requires_grad_(True).to(device, memory_format=torch.channels_last).train()
    net.raw = True
    wds = [args.wd, 0., args.wd, 0.]
    base = [args.enc_lr, args.enc_lr, args.lr, args.lr]
    opt = torch.optim.AdamW([dict(params=p, weight_decay=w, lr=lr) for p, w, lr in zip(groups(net), wds, base)],
                            betas=(.9, .99), fused=True)
    average, huber, cross = Average(net), AbLoss('huber'), BinLoss()
    state, n = args.out/'checkpoint.pt', 0
    if args.resume and state.exists():
        ck = torch.load(state, map_location=device, weights_only=True)
        net.load_state_dict(ck['net'])
        opt.load_state_dict(ck['opt'])
        average.values, average.n, n = ck['average'], ck['average_n'], ck['step']
        loader.load_state_dict(ck['loader'])
        print('resumed at step', n, flush=True)

    def save():
        ck = dict(net=net.state_dict(), opt=opt.state_dict(), average=average.values, average_n=average.n, step=n,
                  loader=loader.state_dict())
        with atomic_path(state) as tmp: torch.save(ck, tmp)

    def export():
        average.swap(net)
        save_generator(net, args.out/'model.safetensors', dict(name='old_photographs', size=160, saturation=1., step=n))
        average.swap(net)

    def record(loss):
        average.swap(net)
        row = dict(step=n, minutes=round((time.time() - began)/60, 1), loss=round(loss, 5)) | measure(net, held, device)
        average.swap(net)
        path = args.out/'history.csv'
        new = not path.exists()
        with open(path, 'a', newline='') as f:
            w = csv.DictWriter(f, row)
            if new: w.writeheader()
            w.writerow(row)
        print(json.dumps(row), flush=True)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    began = saved = mark = time.time()
    losses = deque(maxlen=200)
    (args.out/'settings.json').write_text(json.dumps({k: str(v) for k, v in vars(args).items()}, indent=1))
    if n == 0: record(math.nan)
    while n < args.steps and not stop:
        for x, *more, y in loader:
            for g, lr in zip(opt.param_groups, base): g['lr'] = lr*rate(n, args)
            x, y = (o.as_subclass(torch.Tensor).to(device, memory_format=torch.channels_last) for o in (x, y))
            planes = more[0].to(device) if more else None
            with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16): ab, logits = net(x, planes)
            ab, logits = ab.float(), logits.float()
            small = F.adaptive_avg_pool2d(y, ab.shape[-2:])
            loss = huber(torch.cat([small[:, :1], ab], 1), small) + args.bins*cross(logits, y)
            opt.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
            opt.step()
            average.update(net)
            n += 1
            losses.append(loss.item())
            if n % 50 == 0:
                pace = 50*args.bs/(time.time() - mark)
                print(f'step {n} loss {sum(losses)/len(losses):.4f} {pace:.1f} pictures/s', flush=True)
                mark = time.time()
            if n % args.measure_every == 0: record(sum(losses)/len(losses))
            if time.time() - saved > 60*args.save_every:
                save()
                export()
                saved = time.time()
            if n >= args.steps or stop or time.time() - began > 60*args.minutes:
                stop.append(1)
                break
    save()
    export()

if __name__ == '__main__': main()
