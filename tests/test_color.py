"Colours against kornia, scikit-image, Pillow and values by hand: what the notebooks of `color` do not hold."
import subprocess
import sys
from io import BytesIO

import kornia
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage.color import lab2rgb as sk_lab2rgb, rgb2lab as sk_rgb2lab

from colorize_nb.color.bins import ab_bins, annealed_mean, bin_counts, nearest_bin, soft_encode
from colorize_nb.color.icc import SRGB, gray_to_srgb, profile_of, rgb_to_srgb, to_srgb
from colorize_nb.color.lab import (clip_gamut, gray2l, gray_lab, in_gamut, lab2rgb, lab2rgb8, rgb2lab, scale_lab,
                                   unscale_lab)
from colorize_nb.color.srgb import rgb2gray16, lab2srgb, lightness, linear2srgb, srgb2linear

# sRGB and its Lab (D65, 2 degrees) as colour charts print it
CHART = {'green': ((0, 255, 0), (87.73, -86.18, 83.18)), 'blue': ((0, 0, 255), (32.30, 79.19, -107.86)),
         'cyan': ((0, 255, 255), (91.11, -48.09, -14.13)), 'magenta': ((255, 0, 255), (60.32, 98.23, -60.82)),
         'yellow': ((255, 255, 0), (97.14, -21.55, 94.48)), 'orange': ((255, 165, 0), (74.93, 23.93, 78.95))}

def noise(*size, seed=0):
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))

@pytest.mark.parametrize('name', CHART)
def test_chart_colors(name):
    "A swapped a and b or a wrong sign would show in each of these."
    rgb, lab = CHART[name]
    got = rgb2lab(torch.tensor(rgb, dtype=torch.uint8).view(3, 1, 1)).flatten()
    np.testing.assert_allclose(got, lab, atol=.02)

def test_curves_of_numpy_agree_with_kornia():
    c = torch.linspace(0, 1, 256).view(1, 1, 1, -1).expand(-1, 3, -1, -1)
    np.testing.assert_allclose(srgb2linear(c.numpy()), kornia.color.rgb_to_linear_rgb(c), atol=1e-6)
    np.testing.assert_allclose(linear2srgb(c.numpy()), kornia.color.linear_rgb_to_rgb(c), atol=1e-6)

@pytest.mark.parametrize('size', [(1, 3, 1, 1), (1, 3, 7, 1), (2, 3, 5, 9)])
def test_lab_agrees_with_kornia(size):
    "Whose matrix and white are rounded differently: gray has a chroma of 0.02 there."
    rgb = noise(*size)
    lab = rgb2lab(rgb)
    theirs = kornia.color.rgb_to_lab(rgb/255)
    np.testing.assert_allclose(lab, theirs, atol=.05)
    np.testing.assert_allclose(lab2rgb(lab), kornia.color.lab_to_rgb(theirs), atol=2e-3)

def test_gray_has_no_chroma():
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, -1).expand(3, -1, -1)
    assert rgb2lab(ramp)[1:].abs().max() < 1e-3
    assert torch.equal(lab2rgb8(gray_lab(rgb2lab(ramp))), ramp)
    np.testing.assert_allclose(gray2l(ramp[:1])[0, 0], sk_rgb2lab(ramp.permute(1, 2, 0).numpy())[0, :, 0], atol=1e-3)

def test_scaling_by_hand():
    lab = torch.tensor([0., 110., -55.]).view(1, 3, 1, 1)
    assert scale_lab(lab).flatten().tolist() == [-1, 1, -.5]
    assert torch.equal(unscale_lab(scale_lab(lab)), lab)

def test_clip_gamut_keeps_lightness_and_hue():
    lab = torch.tensor([[50., 120, 0], [50, 0, -120], [30, -90, 90], [97, 40, -40]]).T.view(1, 3, 1, 4)
    clipped = clip_gamut(lab)
    assert not in_gamut(lab).any() and in_gamut(clipped, eps=1e-3).all()
    back = torch.from_numpy(sk_rgb2lab(sk_lab2rgb(clipped[0].permute(1, 2, 0).double().numpy()))).permute(2, 0, 1)
    np.testing.assert_allclose(back[0], lab[0, 0], atol=.05)
    hue, chroma = torch.atan2(back[2], back[1]), torch.hypot(back[1], back[2])
    np.testing.assert_allclose(hue, torch.atan2(lab[0, 2], lab[0, 1]), atol=.02)
    assert (chroma > 4).all() and (chroma < torch.hypot(lab[0, 1], lab[0, 2])).all()

def test_files_and_tensors_agree():
    "The NumPy path colours files, the torch path trains: the same colours from both."
    rgb = noise(3, 33, 21, seed=1)
    lab = rgb2lab(rgb)
    by_numpy = lab2srgb(lab[0].flatten().numpy(), lab[1:].flatten(1).numpy())
    np.testing.assert_allclose(by_numpy*255, rgb.flatten(1), atol=.02)
    np.testing.assert_allclose(lightness(rgb2gray16(rgb.permute(1, 2, 0).numpy())), lab[0], atol=.02)

def test_rgb2gray16_of_16_bits():
    "A row, a single pixel, and 16 bits: scikit-image's lightness."
    rng = np.random.default_rng(0)
    for size in ((1, 1, 3), (1, 50, 3), (50, 1, 3)):
        rgb = rng.integers(0, 65536, size, dtype=np.uint16)
        np.testing.assert_allclose(lightness(rgb2gray16(rgb)), sk_rgb2lab(rgb/65535)[..., 0], atol=.02)

def test_bins_under_the_meta_device():
    "In a process of its own, where no bins have been computed yet; each function with bins of another step."
    program = '''import torch
with torch.device('meta'):
    from colorize_nb.color.bins import *
    bins = ab_bins()
    nearest = nearest_bin(torch.tensor([62., -88], device='cpu').view(1, 2, 1, 1), step=20)
    mean = annealed_mean(torch.zeros(1, len(ab_bins(25)), 1, 1, device='cpu'), step=25)
assert bins.shape == (313, 2) and bins[0].tolist() == [-90, 50], bins
assert ab_bins(20)[nearest.item()].tolist() == [60, -80], nearest
assert mean.isfinite().all()'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_bins_know_a_from_b():
    bins = ab_bins()
    ab = torch.tensor([[62., -88], [-31, 52]]).view(2, 2, 1, 1)
    assert bins[nearest_bin(ab).flatten()].tolist() == [[60, -90], [-30, 50]]
    i, w = soft_encode(ab, k=1)
    assert bins[i.flatten()].tolist() == [[60, -90], [-30, 50]] and w.flatten().tolist() == [1, 1]
    logits = torch.full((1, 313, 1, 1), -50.)
    logits[0, nearest_bin(ab)[0, 0, 0]] = 50
    np.testing.assert_allclose(annealed_mean(logits).flatten(), [60, -90], atol=1e-3)

def test_gray_image_falls_into_one_bin():
    gray = torch.arange(0, 256, 3, dtype=torch.uint8).view(1, 1, 1, -1).expand(1, 3, 5, -1)
    counts = bin_counts(rgb2lab(gray)[:, 1:])
    assert counts.shape == (1, 313) and counts[0, nearest_bin(torch.zeros(1, 2, 1, 1))[0, 0, 0]] == 5*86

def test_srgb_profile_changes_nothing():
    im = Image.fromarray(noise(6, 7, 3).numpy())
    assert to_srgb(im, SRGB) == (im, '')
    back = ImageCms.profileToProfile(im, BytesIO(SRGB), ImageCms.createProfile('sRGB'))
    assert np.abs(np.asarray(back).astype(int) - np.asarray(im)).max() <= 1

def test_broken_profiles_leave_pixels_alone():
    "What cannot be read leaves all as it is, and says so."
    for size in ((1, 1, 3), (1, 9, 3)):
        rgb = np.full(size, 30000, np.uint16)
        out, note = rgb_to_srgb(rgb, b'no profile', 'scan.tif')
        assert out is rgb and note.startswith('scan.tif has a colour profile that cannot be used')
    gray = np.zeros((1, 1), np.uint8)
    assert gray_to_srgb(gray, SRGB) == (gray, '')

def test_png_gamma_of_one_is_linear_light():
    "By hand: half of the light is 188 of 255 on sRGB's curve (0.7354)."
    from PIL.PngImagePlugin import PngInfo
    info, f = PngInfo(), BytesIO()
    info.add(b'gAMA', (100000).to_bytes(4, 'big'))
    Image.new('RGB', (3, 2), (128, 128, 128)).save(f, 'PNG', pnginfo=info)
    with Image.open(f) as im: out, note = to_srgb(im, profile_of(im))
    assert note == '' and np.abs(np.asarray(out).astype(int) - 188).max() <= 1
