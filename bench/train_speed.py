"A training step of the light generator: as it is, compiled, in bfloat16, and both."
import torch

from timing import compare, interleaved

BS, SIZE, DELTA = 32, 128, 20/110 # Huber's delta in scaled units

def batch():
    "Real photographs: (l, ab), scaled"
    from color_speed import pictures
    from colorize_nb.color.lab import rgb2lab, scale_lab
    lab = scale_lab(rgb2lab(pictures(BS, SIZE)))
    return lab[:, :1], lab[:, 1:]

def stepper(encoder, bf16=False, compiled=False):
    "A function that makes one step; `torch.compile` does its work in the rounds that do not count"
    from colorize_nb.models.lite import lite_generator
    torch.manual_seed(0)
    net, (l, ab) = lite_generator(encoder).to(memory_format=torch.channels_last).train(), batch()
    opt, forward = torch.optim.AdamW(net.parameters(), 1e-4), torch.compile(net.forward) if compiled else net.forward
    def step():
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16): out = forward(l)
        torch.nn.functional.smooth_l1_loss(out[:, 1:].float(), ab, beta=DELTA).backward()
        opt.step(); opt.zero_grad()
    return step

def run(quick=False):
    "One table for each encoder"
    ways = {'as it is': {}, 'compiled': dict(compiled=True), 'bfloat16': dict(bf16=True),
            'compiled, bfloat16': dict(bf16=True, compiled=True)}
    return {f'a step of lite_generator({enc!r}): {BS} pictures of {SIZE}x{SIZE}': compare(interleaved({k: stepper(enc,
        **kw) for k, kw in ways.items()}, rounds=3 if quick else 9, warmup=2))
            for enc in ('mobilenet_v2', 'efficientnet_lite2')}
