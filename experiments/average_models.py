"""Average the weights of models of one network: what one learned of old film with what another knew of photographs.

    python experiments/average_models.py default=1 runs/mine/model.safetensors=2 --out runs/mixed [--valid photos/valid]

writes a model's folder for `--model` and for `colorize-nb train ... --model`, and with --valid the `metrics.json` that
a training would. Weights of models that were trained from each other, or from one start, may be averaged (Wortsman et
al. 2022, "Robust fine-tuning of zero-shot models" and "Model soups"); of others the average is worth nothing: measure
it. A light generator is widened where another has hints and a distribution, whose weights are the mean of those that
have them.
"""
import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import torch

from colorize_nb.io.write import atomic_path
from colorize_nb.models.lite_hints import lite_hints, widen_weights
from colorize_nb.models.registry import find_model, load_generator, save_generator
from colorize_nb.train.run import validate_generator
from colorize_nb.train.shards import ImageStore, ShardLoader, no_hints

SIZE = 128 # pixels of the validation, as in training

def named_share(text):
    "A model and its share from NAME=SHARE."
    name, eq, share = text.rpartition('=')
    try: share = float(share)
    except ValueError: eq = ''
    if not eq or not name or not 0 < share < float('inf'):
        raise SystemExit(f'expected MODEL=SHARE with a share above 0, got {text}: for instance default=0.5')
    return name, share

def widened(gens):
    "A network of the widest form, and for each of `gens` its weights in that form and 1 where they are its own."
    wide = next((g for g in gens if g.arch == 'lite_hints'), None)
    net = gens[0] if wide is None else lite_hints(**wide.config)
    def form(state, arch):
        if wide is None or arch == 'lite_hints': return state
        return widen_weights(state, net) | {k: torch.zeros_like(v) for k, v in net.state_dict().items() if 'bins.' in k}
    def ones(state): return {k: torch.ones_like(v) for k, v in state.items()}
    states = [g.state_dict() for g in gens]
    return net, [(form(s, g.arch), form(ones(s), g.arch)) for s, g in zip(states, gens)]

def average(gens, shares):
    "A network with the weighted mean of the weights of `gens`, over those that have them."
    net, states = widened(gens)
    first, *others = [{k: v.shape for k, v in s.items()} for s, _ in states]
    if any(o != first for o in others):
        raise SystemExit('expected models of one network, got others: weights of different shapes have no mean')
    def mean(key):
        parts = [(s[key].float(), own[key].float()*n) for (s, own), n in zip(states, shares)]
        return sum(v*n for v, n in parts)/sum(n for _, n in parts)
    net.load_state_dict({k: mean(k) if v.is_floating_point() else v for k, v in states[0][0].items()})
    return net.eval()

def main(args=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('models', nargs='+', metavar='MODEL=SHARE', help='packaged name or file, and its share')
    p.add_argument('--out', type=Path, required=True, help='folder to write')
    p.add_argument('--valid', help='folder or tar file of photographs to measure it on')
    args = p.parse_args(args)
    names, shares = zip(*map(named_share, args.models))
    gens, metas = zip(*(load_generator(find_model(n)) for n in names))
    with torch.no_grad(): net = average(gens, shares)
    parts = ' + '.join(f'{s/sum(shares):.2g} {Path(n).parent.name if n.endswith(".safetensors") else n}'
                       for n, s in zip(names, shares))
    card = dict(name=f'mean of {parts}', size=max(m['size'] for m in metas), saturation=1.)
    if asked := [m['contrast'] for m in metas if 'contrast' in m]: card['contrast'] = max(asked)
    args.out.mkdir(parents=True, exist_ok=True)
    path = save_generator(net, args.out/'model.safetensors', card)
    print(json.dumps(card), path)
    if args.valid:
        loader = ShardLoader(ImageStore.build(args.valid, 160), size=SIZE, bs=32, hints=no_hints, valid=True)
        got = validate_generator(net, SimpleNamespace(valid=loader))
        got = dict(recipe='', start=card['name'], size=SIZE, metrics=got)
        with atomic_path(args.out/'metrics.json') as tmp: tmp.write_text(json.dumps(got, indent=1), encoding='utf-8')

if __name__ == '__main__': main()
