"""Ask the five papers' questions of small trainings, several seeds each, one after the other; stop and go on at will.

    python experiments/run_papers.py --data ../shared/data --out runs/papers              # all, in order of worth
    python experiments/run_papers.py --data ../shared/data --out runs/papers --list       # what is done, what is left
    python experiments/run_papers.py --data ../shared/data --out runs/papers --only heads coco --seeds 1 2 3

DATA holds `photos`, `paintings`, `flowers` and `faces`, each with `train/` and `valid/`. The pictures are decoded once,
to 96 pixels, into --cache. A training that is finished is not repeated, one that was stopped goes on from its last
epoch. Each one is measured on held-out pictures, picture by picture, and stored in nbs/recipes/results/papers, a file
a question, which the pages of nbs/recipes read with `colorize_nb.evaluate.trials`.
"""
import argparse
import gc
import json
import os
import re
import shutil
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT/'nbs'/'recipes'/'results'/'papers'
GENRE = 'Ohara_Koson,Katsushika_Hokusai,Shotei_Takahashi,Utagawa_Kuniyoshi,Hiroshige' # Japanese prints
PAINTER = 'Ohara_Koson' # one of them, with 47 pictures to learn from
SIDE, HELD_OUT = 96, 128 # short side in the cache, pixels; pictures to measure on, of each set
MIXED = dict(photos=5185, flowers=1396, paintings=919, faces=500) # 8,000 pictures of everything

@dataclass(frozen=True)
class Plan:
    "One training: a setting of a question, without its seed."
    question:str # the file that it is stored in
    setting:str # what it is called there
    recipe:str # where it starts
    data:str # a set of the cache
    epochs:int # of all phases together
    on:tuple # sets that it is measured on
    limit:int|None=None # pictures to learn from
    size:int=64 # pixels
    bs:int|None=None # batch size, None for the recipe's
    phase:dict = field(default_factory=dict) # settings of every phase that differ from the recipe's
    change:dict = field(default_factory=dict) # settings of the recipe that differ; dicts are joined
    only:str|None=None # sub-folders of the second part
    start:str|None=None # setting of the same question and seed whose model it goes on from
    seeds:int=3 # how many of them

    def name(self, seed):
        "Its folder."
        return f"{self.question}/{re.sub('[^a-z0-9]+', '-', self.setting.lower()).strip('-')}-{seed}"

# smaller networks, so that a training takes a minute or two of one core: `full` has the published widths
UNET = dict(config=dict(arch='resnet18', depth=4, last_cross=False)) # 7.5 million weights instead of 31
SMALL = dict(config=dict(nf=16, depth=6), critic=dict(nf=16)) # 64 pixels halve six times
HALF, QUARTER = (dict(config=dict(nf=n), critic=dict(nf=n)) for n in (64, 32))
COCO = dict(question='coco', on=('flowers', 'faces', 'imagenette'), change=UNET, size=48, seeds=2)

def heads():
    "Li, Wang, Zhong and Huang: L2 or bins."
    light = dict(question='heads', data='photos', on=('photos', 'historical'), epochs=3, limit=400)
    full = dict(question='zhang', data='photos', on=('photos',), epochs=2, limit=160, bs=16, size=48, seeds=1)
    rate = dict(lr=3e-4, schedule='one_cycle')
    return ([Plan(setting='L2', recipe='lite-l2', **light),
             Plan(setting='bins', recipe='lite-classification', **light)],
            [Plan(setting='zhang, L2', recipe='zhang-l2-fixed', **full),
             Plan(setting='zhang, bins', recipe='zhang-classification-fixed', **full),
             Plan(setting='resnet50, L2', recipe='zhang-resnet50-l2', phase=rate, **full),
             Plan(setting='resnet50, bins', recipe='zhang-resnet50', phase=rate, **full)]) # weights: see `find_weights`

def art():
    "Minářová: RGB or chroma; half of the pictures."
    a = dict(question='art', data='paintings', on=('paintings',), limit=300)
    long, half = dict(epochs=5, bs=16), dict(epochs=10, bs=16) # as many pictures shown
    return [Plan(setting='CNN', recipe='art-cnn', epochs=3, **a),
            Plan(setting='CNN, chroma', recipe='art-cnn-lab', epochs=3, **a),
            Plan(setting='autoencoder', recipe='art-autoencoder', **long, **a),
            Plan(setting='autoencoder, chroma', recipe='art-autoencoder-lab', **long, **a),
            Plan(setting='VAE', recipe='art-vae-fixed', epochs=3, **a),
            Plan(setting='VAE, chroma', recipe='art-vae-lab', epochs=3, **a),
            Plan(setting='autoencoder, half the pictures', recipe='art-autoencoder-half', **half, **a)]

def cgan():
    "Peisch, Pistor and Pandher: L2, lambda and rate."
    c = dict(question='cgan', data='paintings', on=('paintings',), epochs=5, limit=300, bs=4, change=SMALL)
    return [Plan(setting=s, recipe=f'paintings-cgan{r}', **c) for s, r in {
        'L1, 100, 3e-4': '', 'L2': '-l2', 'lambda 200': '-lambda200', 'lambda 50': '-lambda50', 'rate 2e-4': '-lr2e-4',
        'rate 4e-4': '-lr4e-4'}.items()]

def artist():
    "Peisch, Pistor and Pandher: all paintings first, then one kind."
    a = dict(question='artist', data='paintings', on=('genre', 'painter', 'paintings'), epochs=4, bs=8, size=48,
             change=SMALL)
    return [Plan(setting='40:0', recipe='paintings-cgan', **a),
            *[Plan(setting=s, recipe=f'paintings-artist{r}', only=GENRE, **a) for s, r in {
                '30:10': '', '20:20': '-20-20', '10:30': '-10-30'}.items()],
            Plan(setting='30:10, augmented', recipe='paintings-artist-augmented', only=GENRE, **a),
            Plan(setting='30:10, one painter', recipe='paintings-artist', only=PAINTER, **a)]

def remedies():
    "Dai, Paul and Xiu: what holds the critic back; how skips come in; 8,000 pictures of everything."
    r = dict(question='remedies', data='flowers', on=('flowers',), epochs=6, limit=240, bs=8, size=32, change=HALF)
    many = dict(question='mixed', change=QUARTER, bs=16, size=32, on=('flowers', 'photos'), seeds=2)
    skips = r | dict(question='skips')
    return ([Plan(setting=s, recipe=f'flowers-gan{n}', **r) for s, n in {
                'plain': '-plain', "the report's": '', 'pause': '-pause', 'noise': '-noise', 'spectral': '-spectral',
                'smooth': '-smooth', 'small': '-small'}.items()],
            [Plan(setting='flowers', recipe='flowers-gan', data='flowers', epochs=5, **many),
             Plan(setting='mixed', recipe='flowers-gan', data='mixed', epochs=1, **many)],
            [Plan(setting=s, recipe=f'flowers-gan{n}', **skips) for s, n in {
                'added': '', 'concatenated': '-dense', 'gated': '-highway', 'chroma, added': '-fixed'}.items()])

def coco():
    "Buttau and Gatto: from pictures of everything to three targets, with and without pretraining."
    base = [Plan(setting=k, recipe=f'unet-gan-{r}', data='everything', epochs=n, limit=240, **COCO)
            for k, r, n in (('a', 'scratch', 3), ('b', 'pretrained', 4))]
    on = [Plan(setting=f'{k} onto {d}', recipe='unet-finetune', data=d, epochs=2, limit=120, start=k, **COCO | dict(
              on=(d,))) for d in ('flowers', 'faces', 'imagenette') for k in 'ab']
    alone = [Plan(setting=f'{k}, {d} alone', recipe=f'unet-gan-{r}', data=d, epochs=n, limit=120,
                  **COCO | dict(on=(d,)))
             for d in ('flowers', 'faces') for k, r, n in (('a', 'scratch', 2), ('b', 'pretrained', 3))]
    return base + on + alone

def full():
    "Settings of pix2pix and remedies at the published width: some minutes each."
    wide = [replace(p, question='cgan-full', limit=600, epochs=3, bs=4, change={}, seeds=1) for p in cgan()]
    return wide + [replace(p, question='remedies-full', limit=500, epochs=10, bs=32, size=64, change={}, seeds=1)
                   for p in remedies()[0]]

def plans():
    "All trainings with their seeds, in order of worth: the first seed of everything cheap, then the second."
    (light, zhang), (ways, mixed, skips) = heads(), remedies()
    kinds, ways_of_art = artist(), art()
    base, onto, alone = coco()[:2], coco()[2:8], coco()[8:]
    start = light + cgan()[:3]
    rounds = (kinds[:4] + ways_of_art[2:4] + base[:1] + [onto[0], onto[2]] + mixed + zhang[:2] + base[1:]
              + [onto[1], onto[3]] + kinds[4:] + onto[4:] + ways_of_art[:2] + ways_of_art[4:] + cgan()[3:] + zhang[2:])
    sooner, later = kinds[:4] + cgan()[:3], ways + skips + alone
    def of(some, seed): return [(p, seed) for p in some if seed <= p.seeds]
    return (of(start, 1) + of(light, 2) + of(rounds, 1) + of(sooner, 2) + of(light, 3) + of(later, 1)
            + of([p for p in rounds if p not in sooner], 2) + of(later, 2) + of(cgan()[:3] + rounds, 3) + of(later, 3)
            + of(full(), 1))

# The pictures

def small(path, out):
    "Store a picture at 96 pixels on the short side, without loss."
    from PIL import Image
    from colorize_nb.io.files import open_image
    im = open_image(path).convert('RGB')
    k = SIDE/min(im.size)
    if k < 1: im = im.resize([max(1, round(k*o)) for o in im.size], Image.Resampling.LANCZOS)
    out.parent.mkdir(parents=True, exist_ok=True)
    tmp = out.with_name(f'.{out.name}')
    im.save(tmp, 'png', compress_level=1)
    os.replace(tmp, out)

def members(data, name):
    "name in the cache -> file, for one set."
    from colorize_nb.io.files import find_pictures, rank_pictures
    def files(d, part): return {p.relative_to(data/d/part).as_posix(): p for p in find_pictures(data/d/part)}
    source = dict(everything='photos', imagenette='photos', mixed='photos').get(name, name)
    parts = dict(train=files(source, 'train'), valid=files(source, 'valid'))
    if name == 'mixed':
        parts['train'] = {f'{d}/{n}': p for d, most in MIXED.items() for f in [files(d, 'train')]
                          for n, p in ((k, f[k.as_posix()]) for k in rank_pictures(map(Path, f))[:most])}
    if name in ('everything', 'imagenette'):
        keep = name == 'imagenette'
        parts = {k: {n: p for n, p in v.items() if n.startswith('imagenette') == keep} for k, v in parts.items()}
    if name != 'paintings': # the painters of the second part need all of theirs
        parts['valid'] = {n: parts['valid'][n] for n in map(str, rank_pictures(map(Path, parts['valid']))[:HELD_OUT])}
    return {f'{part}/{Path(n).with_suffix(".png")}': p for part, v in parts.items() for n, p in v.items()}

def cached(data, name, cache):
    "The folder of a set in the cache; filled when it is first asked for."
    folder = Path(cache)/name
    if (folder/'done').exists(): return folder
    for n, p in members(Path(data), name).items():
        once = Path(cache)/'files'/p.relative_to(data).with_suffix('.png') # a picture may be in several sets
        if not once.exists(): small(p, once)
        if (folder/n).exists(): continue
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        os.link(once, folder/n)
    (folder/'done').write_text('')
    return folder

# The measures

def held_out(data, name):
    "name -> file of the pictures to measure on."
    from colorize_nb.evaluate.evaluation import find_set
    if name == 'historical': return find_set(data/name, 'test')
    if name in ('genre', 'painter'):
        artists = (GENRE if name == 'genre' else PAINTER).split(',')
        return {f'{s}/{n}': p for s in ('valid', 'test') for n, p in find_set(data/'paintings', s).items()
                if n.split('/')[0] in artists}
    if name == 'imagenette':
        return {n: p for n, p in find_set(data/'photos', 'valid').items() if n.startswith('imagenette')}
    return find_set(data/name, 'test' if name == 'paintings' else 'valid', HELD_OUT)

def questions(data, name):
    "What is asked on a set: truths (n,3,64,64) uint8 and gray images."
    import torch
    from PIL import Image
    from colorize_nb.evaluate.methods import Protocol, take_question
    protocol = Protocol('squish', 64)
    asked = [take_question(n, protocol.read(p), name != 'historical') for n, p in held_out(Path(data), name).items()]
    truth = None if name == 'historical' else torch.stack([torch.tensor(q.truth).permute(2, 0, 1) for q in asked])
    return truth, [Image.fromarray(q.gray) for q in asked]

def figures(pred, truth):
    "PSNR, colourfulness and chroma error of each picture."
    from colorize_nb.color.lab import rgb2lab
    from colorize_nb.metrics.image import colorfulness, psnr
    res = dict(colorfulness=colorfulness(pred).tolist())
    if truth is None: return {k: np.round(v, 1).tolist() for k, v in res.items()}
    ab = (rgb2lab(pred) - rgb2lab(truth))[:, 1:]
    res |= dict(psnr=psnr(pred, truth).tolist(), chroma_error=ab.double().norm(dim=1).mean((1, 2)).tolist())
    return {k: np.round(v, 1 if k == 'colorfulness' else 2).tolist() for k, v in res.items()}

def batch(ims):
    "PIL images as (n,3,h,w) uint8."
    import torch
    return torch.from_numpy(np.stack([np.asarray(im.convert('RGB')) for im in ims])).permute(0, 3, 1, 2)

def unasked(data, name):
    "The answers that need no model, and the truth."
    from colorize_nb.evaluate.methods import average_ab, baselines, Question
    from colorize_nb.io.files import find_pictures
    truth, grays = questions(data, name)
    source = dict(genre='paintings', painter='paintings', imagenette='photos', historical='photos').get(name, name)
    files = find_pictures(Path(data)/source/'train')
    if name == 'imagenette': files = [f for f in files if f.name.startswith('imagenette')]
    if name == 'genre': files = [f for f in files if f.parent.name in GENRE.split(',')]
    if name == 'painter': files = [f for f in files if f.parent.name == PAINTER]
    res = dict(n=len(grays))
    if truth is not None:
        res['truth'] = figures(truth, truth)
        res['truth'] = dict(colorfulness=res['truth']['colorfulness'])
    for m in baselines(average_ab(files), truth=truth is not None):
        got = [m(Question(str(i), np.asarray(g), None if truth is None else truth[i].permute(1, 2, 0).numpy()))
               for i, g in enumerate(grays)]
        if truth is not None or m.name != 'gray':
            res[m.name] = figures(np_batch(got), truth)
    return res

def np_batch(ims):
    "Arrays (h,w,3) as (n,3,h,w)."
    import torch
    return torch.from_numpy(np.stack(ims)).permute(0, 3, 1, 2)

def painted(colorizer, truth, grays):
    "Mean squared error of the RGB that a network paints itself, lightness included; None for one that gives chroma."
    import torch
    from colorize_nb.color.lab import rgb2lab, scale_lab
    net = colorizer.engine.model.eval()
    if getattr(net, 'out', None) != 'rgb' or truth is None: return None
    with torch.no_grad(): raw = net.body(scale_lab(rgb2lab(batch(grays)))[:, :1])
    raw = raw[0] if isinstance(raw, tuple) else raw
    return np.round((raw.clamp(0, 1) - truth/255).square().mean((1, 2, 3)).tolist(), 5).tolist()

def measure(file, data, names, size):
    "The figures of a model, picture by picture, on each of some sets."
    import torch
    from colorize_nb.colorizer.core import Colorizer
    c, res = Colorizer.load(file, 'cpu'), {}
    for name in names:
        truth, grays = questions(data, name)
        torch.manual_seed(0) # dropout at test time
        res[name] = figures(batch(c.batch(grays, batch_size=32, size=size)), truth)
        own = painted(c, truth, grays)
        if own: res[name]['painted'] = own
    return res

# The trainings

STORED = {'paintings-artist-augmented': 'paintings-artist-fixed', 'unet-finetune': 'finetune'} # whose part they are

WEIGHTS = os.environ.get('COLORIZE_NB_WEIGHTS') # a folder

def find_weights(rec):
    "Let an encoder start from its file in the folder COLORIZE_NB_WEIGHTS, or from random weights if there is none."
    if rec.encoder is None or not WEIGHTS: return rec # torchvision's
    part = Path(WEIGHTS)/f'{rec.encoder}_to_layer3.safetensors' # enough for four stages
    use = part if part.exists() and rec.config.get('depth') == 4 else Path(WEIGHTS)
    os.environ['COLORIZE_NB_WEIGHTS'] = str(use)
    whole = use.is_file() or (use/f'{rec.encoder}.safetensors').exists()
    return rec if whole else replace(rec, encoder=None)

def recipe_of(plan):
    "The recipe of a plan: the stored one with what the plan changes."
    from colorize_nb.train.recipe import get_recipe
    base = {'paintings-artist-augmented': 'paintings-artist', 'unet-finetune': 'unet-gan-scratch'}.get(plan.recipe,
                                                                                                   plan.recipe)
    r = get_recipe(base)
    if plan.recipe == 'paintings-artist-augmented': # `-fixed` without its early stop, which needs more epochs
        tfms = get_recipe('paintings-artist-fixed').phases[1].tfms
        r = replace(r, phases=[r.phases[0], replace(r.phases[1], tfms=tfms)])
    if plan.recipe == 'unet-finetune': r = replace(r, bs=8) # "batches of 8", the rest as before
    change = {k: getattr(r, k) | v if isinstance(v, dict) else v for k, v in plan.change.items()}
    if plan.recipe == 'unet-finetune': change.pop('bs', None)
    if 'critic' in change and plan.recipe == 'flowers-gan-small': change['critic'] = r.critic
    r = replace(r, **change, phases=[replace(p, **plan.phase) for p in r.phases])
    if plan.change: r = replace(r, parameters=None)
    return replace(r, encoder=None) if plan.start else r

def histories(out):
    "What was noted after each epoch."
    import pandas as pd
    h = pd.read_csv(out/'history.csv')
    keys = [k for k in ('psnr', 'psnr_gray', 'color_share', 'acc_real', 'acc_fake', 'train_acc_real', 'train_acc_fake',
                        'sampled_acc', 'valid_loss') if k in h]
    return {k: [None if v != v else round(v, 4) for v in h[k].tolist()] for k in keys} | dict(phase=h.phase.tolist())

def train(plan, seed, data, cache, out):
    "Train a plan, or go on with it, and return what is stored."
    from colorize_nb.train.run import run_recipe
    folder, began, used = out/plan.name(seed), time.time(), time.process_time()
    rec, pictures = find_weights(recipe_of(plan)), cached(data, plan.data, cache)
    if plan.start: rec = replace(rec, model=str(out/replace(plan, setting=plan.start).name(seed)/'model.safetensors'))
    said = run_recipe(rec, pictures, folder, resume=folder.exists(), log=lambda s: print('   ', s, flush=True),
                      seed=seed, limit=plan.limit, epochs=plan.epochs, size=plan.size, bs=plan.bs, only=plan.only,
                      num_workers=0, device='cpu')
    r = said['settings']['recipe']
    n, few = said['data']['train'], len(only_files(pictures, plan))
    shown = sum(round(p['epochs']*p['fraction']*(few if p['only'] else n)) for p in r['phases'])
    bs = r['bs']
    minutes = (time.process_time() - used)/60
    row = dict(question=plan.question, setting=plan.setting, seed=seed, recipe=STORED.get(plan.recipe, plan.recipe),
               data=plan.data, pictures=n,
               shown=shown, size=said['size'], bs=bs, steps=shown//bs, start=said['start'].replace(str(out), 'runs'),
               phases=[[p['kind'], p['epochs'], p['only']] for p in r['phases']], changes=plan.change | plan.phase,
               parameters=weights(folder), minutes=round(minutes, 2), elapsed=round((time.time() - began)/60, 2),
               history=histories(folder),
               on=measure(folder/'model.safetensors', data, plan.on, plan.size))
    if plan.setting == 'bins': row['plain mean'] = measure(plain_mean(folder), data, plan.on, plan.size)
    if (folder/'checkpoint.pt').exists() and not needed(plan): (folder/'checkpoint.pt').unlink()
    return row

def only_files(pictures, plan):
    "What the second part learns from."
    from colorize_nb.io.files import find_pictures
    return [f for f in find_pictures(pictures/'train') if f.parent.name in (plan.only or '').split(',')]

def needed(plan): return any(p.question == plan.question and p.start == plan.setting for p, _ in plans())

def weights(folder):
    "How many values a model has that learn or are kept."
    from safetensors import safe_open
    with safe_open(folder/'model.safetensors', 'pt') as f:
        return int(sum(np.prod(f.get_slice(k).get_shape()) for k in f.keys()))

def plain_mean(folder):
    "The same model, decoded by the plain mean of its distribution."
    there = folder/'plain'
    there.mkdir(exist_ok=True)
    shutil.copy(folder/'model.safetensors', there)
    meta = json.loads((folder/'model.json').read_text())
    (there/'model.json').write_text(json.dumps(meta | dict(config=meta['config'] | dict(T=1.))))
    return there/'model.safetensors'

# What is stored

def write(path, d):
    "Store JSON, a training on a line, whole or not at all."
    path.parent.mkdir(parents=True, exist_ok=True)
    def line(o): return json.dumps(o, separators=(',', ':'))
    if isinstance(d, list): text = '[' + ',\n '.join(map(line, d)) + ']\n'
    else: text = '{' + ',\n '.join(f'{line(k)}: {line(v)}' for k, v in d.items()) + '}\n'
    tmp = path.with_name(f'.{path.name}')
    tmp.write_text(text, encoding='utf-8')
    os.replace(tmp, path)

def read(path, default): return json.loads(path.read_text(encoding='utf-8')) if path.exists() else default

def is_done(plan, seed):
    return any((o['setting'], o['seed']) == (plan.setting, seed) for o in read(KEPT/f'{plan.question}.json', []))

def one(plan, seed, args):
    "Train, measure and store one training; the answers that need no model too, once for each set."
    sets = read(KEPT/'sets.json', {})
    for name in plan.on:
        if name not in sets: sets[name] = unasked(args.data, name)
    write(KEPT/'sets.json', sets)
    base = next((p for p, _ in plans() if plan.start and (p.question, p.setting) == (plan.question, plan.start)), None)
    if base and not (args.out/base.name(seed)/'model.safetensors').exists(): # stored, but its folder is gone
        train(base, seed, args.data, args.cache, args.out)
    row = train(plan, seed, args.data, args.cache, args.out)
    path = KEPT/f'{plan.question}.json'
    write(path, [*read(path, []), row])
    print('   ', {k: round(float(np.mean(v['psnr'])), 2) for k, v in row['on'].items() if 'psnr' in v}, row['minutes'],
          'minutes', flush=True)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', type=Path, required=True, help='folder of the sets')
    p.add_argument('--out', type=Path, required=True, help='folder of the runs')
    p.add_argument('--cache', type=Path, help='folder of the decoded pictures; default: OUT/pictures')
    p.add_argument('--only', nargs='*', help='names of questions')
    p.add_argument('--seeds', nargs='*', type=int, default=[1, 2, 3])
    p.add_argument('--until', help='start nothing after this time of day, HH:MM')
    p.add_argument('--list', action='store_true', help='say what is done and what is left')
    args = p.parse_args()
    args.cache = args.cache or args.out/'pictures'
    rows = [(p, s) for p, s in plans() if s in args.seeds and (not args.only or p.question in args.only)]
    if args.list:
        for plan, seed in rows: print('done' if is_done(plan, seed) else 'left', plan.name(seed))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for question in {p.question for p, _ in plans()}: # the pages say that nothing was run of it
        if not (KEPT/f'{question}.json').exists(): write(KEPT/f'{question}.json', [])
    for plan, seed in rows:
        if args.until and time.strftime('%H:%M') >= args.until: return print('time is up', flush=True)
        if is_done(plan, seed): continue
        if plan.start and not is_done(replace(plan, setting=plan.start), seed): continue # what it starts from failed
        print(time.strftime('%H:%M'), plan.name(seed), flush=True)
        try: one(plan, seed, args)
        except Exception: # the others still can
            traceback.print_exc()
            print(f'FAILED {plan.name(seed)}', flush=True)
        gc.collect()

if __name__ == '__main__': main()
