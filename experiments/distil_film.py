"""Teach a model to say of a film's gray what it says of the true lightness: the packaged model is its own teacher.

    python experiments/distil_film.py --data '../shared/data/more/*.tar' --data ../shared/data/photos/train \\
        --teacher experiments/old_photographs/accurate/model.safetensors --cache runs/train160 --out runs/taught

goes on where it was stopped; the card of `default` has the commands of which it came.

Each image is seen twice: the teacher, which is not changed, sees its true lightness, the student what a film would have
made of it. The student learns the mean of the teacher's answer (with --also: of several models' answers) and the
truth; a third of the images come without film, so that it cannot forget what the teacher knows. Two heads of bins
learn beside it, without moving what is below them: the student's, which does move it with --together, and one for the
teacher as it stands. OUT gets the folders `student` and `teacher`, with models of the architecture `lite_hints`, and
`log.csv`: steps, loss, distance of student and teacher (ab units), cross-entropy of the teacher's head and of the
student's, minutes.
"""
import argparse
import copy
import csv
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from colorize_nb.color.bins import annealed_mean
from colorize_nb.color.film import FilmSampler
from colorize_nb.color.lab import AB_SCALE, rgb2lab
from colorize_nb.colorizer.core import stretch_contrast
from colorize_nb.io.write import atomic_path
from colorize_nb.models.lite_hints import lite_hints, widen_weights
from colorize_nb.models.registry import find_model, load_generator, save_generator
from colorize_nb.train.losses import BinLoss
from colorize_nb.train.shards import ShardLoader, shard_dls

WEIGHTS = dict(nips17=4., metaext=4., coco132=4., coco100=4., bsds500=3., selfexsr=3., elementary=3., flickr8k=2.5,
               misc=2., animals=2., weather=2., food=1., voc=1., intel=1., houses=1., imagenette=.7, pacs=.7,
               caltech101=.4, cars=.3, clothing=.3, grocery=.3, monkeys=.3, panda=.3, idenprof=.15, sports=.15)
FILM = dict(p_plain=.35, p_exposure=.5, exposure=(-.6, .6), p_fading=.4, black=(0., 15.), white=(85., 100.),
            p_vignette=.15, vignette=(10., 25.), p_unevenness=.15, unevenness=(.05, .2), p_glare=.3, glare=(0., .05),
            p_halation=.15, halation=(.02, .1), p_grain=.35, grain=(.5, 3.), p_softness=.25, softness=(.3, .9))
GENTLE = dict(p_fading=.2, p_glare=.15, p_grain=.2, grain=(.5, 2.), p_softness=.15, softness=(.3, .6))

def stretched(l, least):
    "What `stretch_contrast` makes of each lightness of a batch."
    return torch.from_numpy(np.stack([stretch_contrast(o[0], least) for o in l.numpy()])[:, None])

class TwoViews(ShardLoader):
    "Batches of a film's lightness, the true lightness and chroma, all scaled."
    contrast = 0 # range of L* that the film's lightness is given
    def make_batch(self, epoch, i):
        g = torch.Generator().manual_seed(hash((self.seed, epoch, i)) % 2**63)
        rgb = self.dataset.batch(self._order_of(epoch)[i*self.bs:(i + 1)*self.bs], self.size, g, self.crop)
        lab = rgb2lab(rgb)
        film = stretched(self.film(rgb.float()/255, g), self.contrast)
        return film/50 - 1, lab[:, :1]/50 - 1, lab[:, 1:]/AB_SCALE

def widened(name):
    "A model as `HintGenerator`; what it lacks begins at zero."
    net = load_generator(find_model(name))[0]
    if net.arch == 'lite_hints': return net
    res = lite_hints(**net.config)
    res.load_state_dict(widen_weights(net.state_dict(), res))
    return res

def advisers(names):
    "Further teachers."
    return [widened(o).eval().requires_grad_(False).to(memory_format=torch.channels_last) for o in names]

def counsel(net, l, share):
    "A further teacher's chroma, mixed with a share of its distribution's sharpened mean."
    ab, logits = net.predict(l)
    return (1 - share)*ab + share*annealed_mean(logits, .5, net.step)/AB_SCALE if share else ab

def rate(t):
    "Share of the highest learning rate after share `t` of the steps: a rise, a plateau, a fall to zero."
    return min(t/.03, 1., (1 - t)/.6)

def networks(args):
    "The teacher, whose head of bins alone learns, and the student."
    teacher = widened(args.teacher)
    if args.bins: teacher.bins.load_state_dict(widened(args.bins).bins.state_dict())
    teacher = teacher.eval().requires_grad_(False).to(memory_format=torch.channels_last) # batch norm is held
    student = copy.deepcopy(teacher)
    if args.student: student.load_state_dict(widened(args.student).state_dict())
    student.requires_grad_(True)
    if not args.together: # it moves nothing below it
        student.bins.register_forward_pre_hook(lambda _, args: (args[0].detach(),))
    teacher.bins.requires_grad_(True)
    return teacher, student

def optimizer(teacher, student, args):
    "AdamW with three rates: encoder, decoder, both heads of bins; and the parameters whose gradient is clipped."
    heads, enc = [*teacher.bins.parameters(), *student.bins.parameters()], list(student.encoder.parameters())
    known = {id(o) for o in enc + heads}
    dec = [o for o in student.parameters() if id(o) not in known]
    groups = [dict(params=o, lr=lr) for o, lr in ((enc, args.enc_lr), (dec, args.lr), (heads, 1e-3))]
    return torch.optim.AdamW(groups, betas=(.9, .99), weight_decay=.01), enc + dec

def compare(teacher, student, others, batch, args, bins):
    "The loss of a batch, and what `log.csv` says of it."
    film, l, ab = (o.contiguous(memory_format=torch.channels_last) for o in batch)
    (ab_t, logits_t), (ab_s, logits_s) = teacher.predict(l), student.predict(film)
    if args.mirror: ab_t = (ab_t + teacher.predict(l.flip(-1))[0].flip(-1))/2
    if others: ab_t = sum([ab_t] + [counsel(o, l, args.counsel) for o in others])/(1 + len(others))
    truth = F.avg_pool2d(ab, 4)
    aim = args.trust*ab_t + (1 - args.trust)*truth
    content = F.smooth_l1_loss(ab_s, aim, beta=args.delta/AB_SCALE)
    ce = bins(torch.cat([logits_t, logits_s]), F.pad(ab, (0,)*4 + (1, 0)).repeat(2, 1, 1, 1)) # L is not looked at
    apart = F.smooth_l1_loss(ab_s, ab_t, beta=.02)*AB_SCALE
    each = ce.view(2, -1).mean(1)
    return 20*content + .1*each.mean(), [content.item(), apart.item(), *each.tolist()]

def parse():
    "The command line."
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', action='append', required=True, help='folder, tar file or pattern; again for more')
    p.add_argument('--cache', help='file that keeps the small images')
    p.add_argument('--out', type=Path, required=True, help='folder to write')
    p.add_argument('--teacher', default='default', help='packaged name or file')
    p.add_argument('--also', action='append', default=[], help='a further teacher, name or file; again for more')
    p.add_argument('--counsel', type=float, default=.5, help="share of the distribution in a further teacher's answer")
    p.add_argument('--gentle', action='store_true', help='films with less fading, grain and softness')
    p.add_argument('--contrast', type=float, default=0,
                   help="range of L* that a film's lightness is stretched to, as the model will be asked")
    p.add_argument('--student', help='where the student starts; default: the teacher')
    p.add_argument('--together', action='store_true', help="let the student's head of bins move what is below it")
    p.add_argument('--bins', help='a model with a distribution, whose head of bins is where both heads start')
    p.add_argument('--steps', type=int, default=1000)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--size', type=int, default=128)
    p.add_argument('--seed', type=int, default=42)
    p.add_argument('--lr', type=float, default=3e-4)
    p.add_argument('--enc-lr', type=float, default=1e-4)
    p.add_argument('--trust', type=float, default=.6, help='share of the teacher in what is learned, the rest is truth')
    p.add_argument('--delta', type=float, default=10., help='where Huber turns straight, Lab units')
    p.add_argument('--mirror', action='store_true', help='teach the mean of an image and its mirror image')
    p.add_argument('--threads', type=int, default=1)
    return p.parse_args()

def main():
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    store = shard_dls(args.data, .01, 160, cache=args.cache, seed=args.seed).train.dataset
    weights = {k: w for k, w in WEIGHTS.items() if k in store.counts()}
    film = FilmSampler(**FILM | (GENTLE if args.gentle else {}))
    train = TwoViews(store, args.size, args.bs, args.seed, weights, film)
    train.contrast = args.contrast
    teacher, student = networks(args)
    others = advisers(args.also)
    opt, clipped = optimizer(teacher, student, args)
    course = LambdaLR(opt, lambda i: rate((i + 1)/args.steps))
    ema = AveragedModel(student, avg_fn=lambda e, s, n: e.lerp(s, 1 - min(.995, (n + 1)/(n + 10))))
    bins, file = BinLoss(reduction='none'), args.out/'checkpoint.pt'
    parts = dict(student=student, teacher=teacher, ema=ema, opt=opt, course=course, train=train)
    done, start, means = 0, time.time(), None
    if file.exists():
        ck = torch.load(file)
        done = ck['done']
        for k, o in parts.items(): o.load_state_dict(ck[k])
    while done < args.steps:
        for batch in train:
            loss, said = compare(teacher, student, others, batch, args, bins)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(clipped, 1.)
            opt.step()
            course.step()
            ema.update_parameters(student)
            done += 1
            means = Tensor(said) if means is None else means.lerp(Tensor(said), .05)
            if done % 20 == 0 or done == args.steps:
                with open(args.out/'log.csv', 'a', newline='') as f:
                    minutes = (time.time() - start)/60
                    csv.writer(f).writerow([done, *(f'{o:.5f}' for o in means.tolist()), f'{minutes:.1f}'])
            if done % 100 == 0 or done == args.steps:
                state = {k: o.state_dict() for k, o in parts.items()} | dict(done=done)
                with atomic_path(file) as tmp: torch.save(state, tmp)
                for net, k in (ema.module, 'student'), (teacher, 'teacher'):
                    (args.out/k).mkdir(exist_ok=True)
                    plain = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
                    save_generator(plain, args.out/k/'model.safetensors', dict(name=k, size=160, saturation=1.))
            if done == args.steps: break

if __name__ == '__main__': main()
