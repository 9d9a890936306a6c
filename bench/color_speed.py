"Colour: 16 photographs of 256x256 in 8 bits to Lab, and Lab back to sRGB, beside scikit-image and kornia."
from importlib.resources import files

import numpy as np
import torch
from PIL import Image

from timing import compare, interleaved

SOURCES = [('skimage.data', ['astronaut.png', 'chelsea.png', 'coffee.png', 'motorcycle_left.png', 'rocket.jpg',
                             'color.png']),
           ('sklearn.datasets', ['images/china.jpg', 'images/flower.jpg']),
           ('matplotlib', ['mpl-data/sample_data/grace_hopper.jpg'])]

def pictures(n=16, size=256):
    "`n` real photographs, (n,3,size,size) uint8: halves of the pictures that other packages carry"
    res = []
    for package, names in SOURCES:
        for name in names:
            with (files(package)/name).open('rb') as f: im = Image.open(f).convert('RGB')
            w, h = im.size
            halves = [(0, 0, w//2, h), (w//2, 0, w, h)] if w >= h else [(0, 0, w, h//2), (0, h//2, w, h)]
            res += [im.crop(box).resize((size, size), Image.Resampling.BICUBIC) for box in halves]
    return torch.from_numpy(np.stack([np.asarray(o) for o in res[:n]])).permute(0, 3, 1, 2).contiguous()

def run(quick=False):
    "Two tables: `rgb2lab` from 8 bits, `lab2rgb` to floats"
    from kornia.color import lab_to_rgb, rgb_to_lab
    from skimage.color import lab2rgb as sk_lab2rgb, rgb2lab as sk_rgb2lab

    from colorize_nb.color.lab import lab2rgb, rgb2lab
    rgb = pictures()
    lab, each = rgb2lab(rgb), [o for o in rgb.permute(0, 2, 3, 1).contiguous().numpy()]
    lab_each = [o for o in lab.permute(0, 2, 3, 1).contiguous().numpy()]
    rounds = 5 if quick else 31
    there = {'colorize_nb': lambda: rgb2lab(rgb), 'scikit-image': lambda: [sk_rgb2lab(o) for o in each],
             'scikit-image, converted to float32 first': lambda: [sk_rgb2lab(o.astype(np.float32)/255) for o in each],
             'kornia': lambda: rgb_to_lab(rgb/255)}
    back = {'colorize_nb': lambda: lab2rgb(lab), 'scikit-image': lambda: [sk_lab2rgb(o) for o in lab_each],
            'kornia': lambda: lab_to_rgb(lab)}
    return {'rgb2lab, 16 pictures of 256x256, uint8': compare(interleaved(there, rounds)),
            'lab2rgb, 16 pictures of 256x256, float32': compare(interleaved(back, rounds))}
