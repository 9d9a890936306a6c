"""GAN training: a pair of updates (critic and generator) of ours, of a plain pix2pix loop and of fastai's `GANLearner`,
with the same networks."""
import time
import warnings
from copy import deepcopy

import torch
import torch.nn.functional as F

from timing import compare, interleaved

BS, SIZE, LAMBDA, LR, BETAS = 8, 128, 100., 2e-4, (0.5, 0.999) # the weights and rates of pix2pix

def bce(pred, real): return F.binary_cross_entropy_with_logits(pred, torch.full_like(pred, float(real)))
def content(fake, lab): return F.l1_loss(fake[:, 1:], lab[:, 1:])

class PlainLoop:
    "What one writes without a framework: pix2pix's two steps on one batch, `torch.optim.Adam` for both"
    def __init__(self, generator, critic, batches, memory_format=torch.contiguous_format):
        self.g, self.d, self.batches = generator.to(
            memory_format=memory_format), critic.to(memory_format=memory_format), batches
        self.opt_g, self.opt_d = (torch.optim.Adam(m.parameters(), lr=LR, betas=BETAS) for m in (self.g, self.d))

    def pair(self, l, lab):
        "One update of each network"
        fake = self.g(l)
        loss_d = (bce(self.d(lab), True) + bce(self.d(fake.detach()), False))/2
        self.opt_d.zero_grad(); loss_d.backward(); self.opt_d.step()
        self.d.requires_grad_(False)
        loss_g = bce(self.d(fake), True) + LAMBDA*content(fake, lab)
        self.opt_g.zero_grad(); loss_g.backward(); self.opt_g.step()
        self.d.requires_grad_(True)

    def __call__(self):
        self.g.train(); self.d.train()
        for l, lab in self.batches: self.pair(l, lab)
        synchronize()

def synchronize():
    "Wait for the GPU, if there is one"
    if torch.cuda.is_available(): torch.cuda.synchronize()

def trained(learn):
    "A function that fits `learn` for an epoch and returns the seconds of its training part"
    from fastai.callback.core import Callback
    class Clock(Callback):
        "Measures from the first batch to the last"
        order = 1000
        def before_train(self): synchronize(); self.start = time.perf_counter()
        def after_train(self): synchronize(); self.seconds = time.perf_counter() - self.start
    clock = Clock()
    learn.add_cb(clock)
    def fit():
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
        return clock.seconds
    return fit

def loaders(pairs, device):
    """fastai's loaders of `pairs` times a batch of real photographs, in memory, and the same as a list of batches on
    the device"""
    from color_speed import pictures
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

    from colorize_nb.color.lab import rgb2lab, scale_lab
    from colorize_nb.train.data import TensorL, TensorLab
    lab = scale_lab(rgb2lab(pictures(BS, SIZE)))
    items = [(TensorL(o[:1]), TensorLab(o)) for o in lab]
    def dls(n):
        return DataLoaders(DataLoader(items*n, bs=BS, num_workers=0), DataLoader(items[:2], bs=2, num_workers=0),
                           device=device)
    return dls, [(lab[:, :1].to(device), lab.to(device))]*pairs

def fastai_gan(dls, generator, critic):
    "fastai's `GANLearner`, which needs two batches for a pair of updates"
    from fastai.optimizer import Adam
    from fastai.vision.gan import GANLearner
    from functools import partial
    warnings.filterwarnings('ignore', 'You are shadowing an attribute') # its callbacks do
    def loss_g(fake_pred, fake, lab): return bce(fake_pred, True) + LAMBDA*content(fake, lab)
    def loss_c(real_pred, fake_pred): return (bce(real_pred, True) + bce(fake_pred, False))/2
    return GANLearner(dls, generator, critic, loss_g, loss_c, lr=LR, wd=0.,
                      opt_func=partial(Adam, mom=BETAS[0], sqr_mom=BETAS[1]))

def run(quick=False):
    "One table"
    from colorize_nb.models.critics import patch_critic
    from colorize_nb.train.gan import ColorGANLearner
    from colorize_nb.models.unet import unet_generator
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    pairs = 1 if quick else 2 if device.type == 'cpu' else 30
    dls, batches = loaders(pairs, device)
    torch.manual_seed(0)
    generator, critic = unet_generator('resnet18', pretrained=False).to(device), patch_critic().to(device)
    def nets(): return deepcopy(generator), deepcopy(critic)
    def ours(channels_last):
        return trained(ColorGANLearner(dls(pairs), *nets(), lr=LR, betas=BETAS, lambda_content=LAMBDA, metrics=[],
                                       channels_last=channels_last))
    contestants = {'colorize_nb': ours(False), 'colorize_nb, channels last (its default)': ours(True),
                   'plain pix2pix loop': PlainLoop(*nets(), batches),
                   'plain pix2pix loop, channels last': PlainLoop(*nets(), batches, torch.channels_last),
                   'fastai GANLearner': trained(fastai_gan(dls(2*pairs), *nets()))}
    times = interleaved(contestants, 1 if quick else 7, 1)
    return {f'GAN, a pair of updates, batch {BS}, {SIZE} px, U-Net on ResNet-18, {device.type}':
            compare({n: [o/pairs for o in t] for n, t in times.items()})}
