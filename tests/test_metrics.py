"Metrics against kornia, torchmetrics, scikit-image and values by hand: what the notebooks of `metrics` do not hold."
import math
from types import SimpleNamespace

import kornia
import numpy as np
import pytest
import skimage.color
import torch
import torchmetrics.functional.image as tmi
from torch import nn

from colorize_nb.metrics.artifacts import bleeding, cast_size, color_cast, hue_name, mean_ab, off_edge_gradient
from colorize_nb.metrics.image import (ColorShare, ImageMetric, RebalancedAuC, accuracy_curve, auc,
                                       batch_colorfulness, ciede2000, colorfulness, colorfulness_abs, critic_accuracy,
                                       default_metrics, evaluate_pairs, gray_baseline, gray_rgb, psnr, rmse_lab,
                                       rmse_rgb, ssim)
from colorize_nb.metrics.perceptual import FID, weights_missing

METRICS = [psnr, ssim, rmse_rgb, rmse_lab, ciede2000, auc]

def noise(*size, seed=0):
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))

def flat(r, g, b, h=13, w=17):
    "One colour, of odd size."
    return torch.tensor([r, g, b], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, h, w).contiguous()

@pytest.fixture
def pair(): return noise(3, 3, 19, 31), noise(3, 3, 19, 31, seed=1)

@pytest.mark.parametrize('metric', METRICS)
def test_batch_companions_do_not_count(metric, pair):
    pred, targ = pair
    alone = torch.cat([metric(p[None], t[None]) for p, t in zip(pred, targ)])
    np.testing.assert_allclose(metric(pred, targ), alone, rtol=1e-4)

def test_psnr_and_ssim_agree_with_kornia(pair):
    pred, targ = pair
    for i in range(3):
        p, t = pred[i:i+1].float(), targ[i:i+1].float()
        np.testing.assert_allclose(psnr(pred, targ)[i], kornia.metrics.psnr(p, t, 255.), atol=1e-4)
        whole = kornia.metrics.ssim(p, t, 11, max_val=255.)[..., 5:-5, 5:-5].mean() # windows that lie in the image
        np.testing.assert_allclose(ssim(pred, targ)[i], whole, atol=1e-3)

def test_black_white_and_gray_by_hand():
    black, white, gray = flat(0, 0, 0), flat(255, 255, 255), flat(128, 128, 128)
    assert psnr(black, white).item() == 0 and rmse_rgb(black, white).item() == 255
    np.testing.assert_allclose(rmse_lab(black, white), 100/math.sqrt(3), atol=1e-3) # L alone of three planes
    assert auc(black, white).item() == 1 # chroma is all that it judges
    for metric in (colorfulness, colorfulness_abs): assert metric(gray).item() == 0
    assert psnr(gray, gray).item() == math.inf and ciede2000(gray, gray).item() == 0

def test_ciede2000_agrees_with_scikit_image_on_dark_and_flat_images():
    "Seams: black, gray against a colour, and blues, whose hue turns."
    for one, other in [((0, 0, 0), (3, 0, 0)), ((128, 128, 128), (128, 130, 127)), ((0, 0, 255), (40, 0, 255)),
                       ((255, 0, 10), (255, 10, 0))]:
        a, b = flat(*one), flat(*other)
        lab1, lab2 = (skimage.color.rgb2lab(np.uint8(o)) for o in (one, other))
        want = skimage.color.deltaE_ciede2000(lab2, lab1)
        np.testing.assert_allclose(ciede2000(a, b), want, atol=5e-3)

def test_colorfulness_of_a_swap():
    "By hand: blue has rg = 0 and yb = -255, so M = 0.3*255; swapped with red it would be 85.5."
    for metric in (colorfulness, colorfulness_abs):
        np.testing.assert_allclose(metric(flat(0, 0, 255)), 76.5, atol=1e-3)
    assert batch_colorfulness(flat(255, 0, 0).float()).item() == pytest.approx(.3*math.hypot(255, 127.5), abs=1e-3)

def test_luma_of_primaries_by_hand():
    "0.299, 0.587 and 0.114 of 255, and a gray is itself."
    for rgb, y in [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((77, 77, 77), 77)]:
        assert gray_rgb(flat(*rgb), luma=True).unique().tolist() == [y]
    assert gray_rgb(flat(77, 77, 77)).unique().tolist() == [77]
    pred, targ = flat(1, 2, 3), flat(255, 0, 0)
    assert torch.equal(gray_baseline(psnr)(pred, targ), psnr(gray_rgb(targ), targ)) # whatever was predicted

def test_accuracy_knows_a_from_b():
    "The distance in ab by scikit-image: its next whole number is the first threshold that both are within."
    one, other = (230, 80, 40), (40, 80, 230)
    a, b = (skimage.color.rgb2lab(np.uint8(o))[1:] for o in (one, other))
    d = np.linalg.norm(a - b)
    curve = accuracy_curve(flat(*one), flat(*other))[0]
    assert curve[:math.ceil(d)].sum() == 0 and (curve[math.ceil(d):] == 1).all()

def test_rebalanced_accuracy_of_one_pixel():
    m = RebalancedAuC()
    m.update(flat(9, 200, 30, 1, 1), flat(9, 200, 30, 1, 1))
    assert m.compute() == 1 and m.compute(np.array([[1], [3]])).tolist() == [1, 1]

def test_learner_metrics_on_gray_and_on_the_truth():
    "Scaled Lab as in training: a perfect prediction has infinite PSNR, gray has no colour."
    lab = torch.tensor([.2, .3, -.4]).view(1, 3, 1, 1).expand(2, 3, 16, 15).contiguous()
    gray = lab*torch.tensor([1., 0, 0]).view(3, 1, 1)
    perfect, share = ImageMetric(psnr), ColorShare()
    share.reset()
    perfect.accumulate(SimpleNamespace(pred=lab, yb=(lab,)))
    share.accumulate(SimpleNamespace(pred=gray, yb=(lab,)))
    assert perfect.value is None and perfect.n_inf == 2 and share.value < .05 # gray is within rounding
    assert [m.name for m in default_metrics()] == ['psnr', 'psnr_gray', 'color_share']

def test_evaluate_pairs_of_gray_truth():
    targ = flat(90, 90, 90)
    res = evaluate_pairs([(flat(90, 90, 90), targ), (flat(100, 90, 90)[0], targ[0])])
    assert res['n'] == 2 and res['n_inf_psnr'] == 1 and res['n_inf_psnr_gray'] == 2
    assert res['psnr'] == pytest.approx(20*math.log10(255/math.sqrt(100/3)), abs=1e-4)
    assert res['psnr_gain'] is None and res['colorfulness_share'] is None

def test_critic_accuracy_at_the_middle():
    assert critic_accuracy(torch.tensor([.6, .4]), torch.tensor([.5]), middle=.5) == (.5, 1)

def test_cast_is_a_first_then_b():
    "A gray ramp with 5 units of -a and 2 of b by scikit-image: a greenish cast."
    lab = np.zeros((5, 60, 3))
    lab[..., 0] = np.linspace(25, 85, 60)
    def image(lab):
        rgb = (skimage.color.lab2rgb(lab)*255).round().astype(np.uint8)
        return torch.from_numpy(rgb).permute(2, 0, 1)[None]
    pred, targ = image(lab + [0, -5, 2]), image(lab)
    np.testing.assert_allclose(color_cast(pred, targ), [[-5, 2]], atol=.15)
    np.testing.assert_allclose(cast_size(pred, targ), math.hypot(5, 2), atol=.15)
    np.testing.assert_allclose(mean_ab(pred), [[-5, 2]], atol=.15)
    assert hue_name(*color_cast(pred, targ)[0]) == 'green'

def test_bleeding_of_gray_is_unknown():
    for im in (flat(0, 0, 0), flat(130, 130, 130, 1, 1), gray_rgb(noise(1, 3, 33, 47))):
        assert bleeding(im).isnan().all()
    assert off_edge_gradient(flat(40, 90, 200)).item() < 1e-2 # flat colour: no gradient

class Means(nn.Module):
    "Three features: the means of red, green and blue."
    num_features = 3
    def forward(self, x): return x.float().mean((2, 3))

def test_fid_by_hand():
    "Moving all features by (1, 2, 2) leaves the covariance alone: the distance is 1 + 4 + 4."
    targ = torch.cat([flat(100 + 10*i, 50 + i*i, 90 - 7*i, 32, 32) for i in range(6)])
    pred = targ + torch.tensor([1, 2, 2], dtype=torch.uint8).view(3, 1, 1)
    fid = FID(feature=Means())
    fid.update(pred[:5], targ[:5])
    fid.update(pred[5:], targ[5:])
    assert fid.compute() == pytest.approx(9, abs=1e-2) and fid.n == 6

def test_ssim_of_flat_images():
    "By hand only the luminance term is left; on flat images torchmetrics' border is as the rest."
    a, b = flat(0, 0, 0, 32, 32), flat(3, 3, 3, 32, 32)
    assert ssim(a, b).item() == pytest.approx((.01*255)**2/(9 + (.01*255)**2), abs=1e-4)
    border = tmi.structural_similarity_index_measure(a.float(), b.float(), data_range=255.)
    assert border.item() == pytest.approx(ssim(a, b).item(), abs=1e-4)

def test_unknown_kind_of_weights():
    with pytest.raises(ValueError, match="expected 'fid', 'alex', 'vgg', 'squeeze', got 'dists'"):
        weights_missing('dists')
