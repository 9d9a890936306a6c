"The network alone: chroma of one picture of 256x256, by the packaged models and by fastai's DynamicUnet on ResNet-18."
import numpy as np
import torch

from timing import compare, interleaved

SIDE = 256

def unet():
    "fastai's network with its own forward pass, without weights that would not change its time"
    from colorize_nb.models.unet import unet_generator
    net = unet_generator('resnet18', pretrained=False).eval().to(memory_format=torch.channels_last)
    def answer(l):
        with torch.inference_mode():
            return net(torch.from_numpy(l/50 - 1)[:, None].contiguous(memory_format=torch.channels_last))
    return answer

def run(quick=False):
    "One table"
    from colorize_nb.colorizer.engines import load_engine
    from colorize_nb.models.registry import list_models
    l = np.random.default_rng(0).uniform(0, 100, (1, SIDE, SIDE)).astype(np.float32)
    names = sorted((m['name'] for m in list_models()), key=lambda n: n != 'default')
    ways = {f"'{n}'": load_engine(n, 'cpu').predict for n in names} | {'DynamicUnet on ResNet-18': unet()}
    return {f'chroma of one picture of {SIDE}x{SIDE}': compare(interleaved({k: lambda f=f: f(l)
        for k, f in ways.items()}, rounds=3 if quick else 31))}
