"""Give a model that has colours only a distribution over the bins, beside them: its colours stay as they are.

    python experiments/add_distribution.py flowers --data ../shared/data/flowers/train --out runs/flowers

The head of bins is one layer on features that rest; it begins as that of --bins and learns from true lightness by
cross-entropy on soft targets. OUT gets the model as `lite_hints` (`model.safetensors` and its card, which keeps what it
said) and `log.csv`: steps, cross-entropy of the last batches. `measure_vividness.py` finds the model's knob after it.
"""
import argparse
import csv
import json
from pathlib import Path

import torch

from colorize_nb.models.lite_hints import lite_hints, widen_weights
from colorize_nb.models.registry import find_model, load_generator, save_generator
from colorize_nb.train.losses import BinLoss
from colorize_nb.train.shards import ImageStore, ShardLoader

def with_head(name, bins):
    "A model's network with the head of bins of another, ready to learn that head alone."
    gen, other = (load_generator(find_model(o))[0] for o in (name, bins))
    net = lite_hints(**gen.config)
    net.load_state_dict(widen_weights(gen.state_dict(), net))
    net.bins.load_state_dict(other.bins.state_dict())
    net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last) # batch norm rests too
    net.bins.requires_grad_(True)
    return net

def learn(net, loader, steps, lr, said):
    "Train the head for `steps`; `said` is called with the step and the mean of its last twenty losses."
    opt, loss, last = torch.optim.AdamW(net.bins.parameters(), lr), BinLoss(step=net.step), []
    course = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps)
    while True:
        for l, lab in loader:
            value = loss(net.predict(l.as_subclass(torch.Tensor))[1], lab.as_subclass(torch.Tensor))
            opt.zero_grad()
            value.backward()
            opt.step()
            last.append(value.item())
            if len(last) % 20 == 0 or len(last) == steps: said(len(last), sum(last[-20:])/len(last[-20:]))
            if len(last) == steps: return
            course.step()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('model', help='a packaged name, or the file of a light generator')
    p.add_argument('--data', action='append', required=True, help='folder, tar file or pattern; again for more')
    p.add_argument('--out', type=Path, required=True, help='folder to write')
    p.add_argument('--bins', default='default', help='model whose head of bins is where this one starts')
    p.add_argument('--steps', type=int, default=500)
    p.add_argument('--bs', type=int, default=32)
    p.add_argument('--size', type=int, default=128)
    p.add_argument('--lr', type=float, default=1e-3)
    p.add_argument('--seed', type=int, default=42)
    args = p.parse_args()
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    net = with_head(args.model, args.bins)
    loader = ShardLoader(ImageStore.build(args.data, 160), args.size, args.bs, args.seed)
    def said(*row):
        print(*row, flush=True)
        with open(args.out/'log.csv', 'a', newline='') as f: csv.writer(f).writerow(row)
    learn(net, loader, args.steps, args.lr, said)
    card = json.loads(find_model(args.model).with_suffix('.json').read_text(encoding='utf-8'))
    for key in 'format', 'inputs', 'outputs', 'arch', 'config': card.pop(key, None)
    save_generator(net.to(memory_format=torch.contiguous_format), args.out/'model.safetensors', card)

if __name__ == '__main__': main()
