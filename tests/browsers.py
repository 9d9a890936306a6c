"Chromium for tests: the system's, or playwright's own; a test is skipped where there is none."
import os
import shutil
from pathlib import Path

import pytest

def launch(p, more=()):
    "A browser of the running playwright `p`, with `more` flags"
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not found and not Path(p.chromium.executable_path).exists():
        pytest.skip('no browser (chromium, chromium-browser, google-chrome): install chromium')
    root = hasattr(os, 'geteuid') and os.geteuid() == 0
    flags = ['--no-sandbox', '--disable-dev-shm-usage'] if root else []
    return p.chromium.launch(executable_path=found, args=[*flags, *more])
