"What several tests need."
import os
import signal

import pytest
from browsers import launch

for name, value in dict(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE', MPLBACKEND='agg').items():
    os.environ.setdefault(name, value)

@pytest.fixture(scope='session')
def model(tmp_path_factory):
    "A model with random weights: what it paints does not matter"
    import torch

    from colorize_nb.models.lite import lite_generator
    from colorize_nb.models.registry import save_generator
    torch.manual_seed(0)
    return save_generator(lite_generator(), tmp_path_factory.mktemp('model')/'model.safetensors', dict(size=64))

@pytest.fixture(scope='module')
def browser():
    "Chromium; the test is skipped where there is none"
    playwright = pytest.importorskip('playwright.sync_api', reason='no playwright: pip install playwright')
    with playwright.sync_playwright() as p:
        b = launch(p)
        yield b
        b.close()

# a job in a shell's background ignores it, and its children would too
signal.signal(signal.SIGINT, signal.default_int_handler)
