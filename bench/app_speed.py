"""The page: milliseconds from a click on a picture to its new colours, at the size of a preview: what the server
computes for a click (suggestions and preview), and what a person waits in a real browser, where there is one. On a
machine that has more to do than cores, waiting tells nothing of the page, and the processor's time alone is kept."""
import os
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

SIZE = 3000, 2000 # a scan's, pixels; its preview has 1024x683
MODEL = 'default'

def scan():
    "A gray picture with things in it"
    from PIL import Image

    from colorize_nb.io.samples import sample
    return sample('china').convert('L').resize(SIZE, Image.Resampling.BICUBIC)

def places(n):
    "Where a person clicks, shares of the picture"
    draw = Random(0)
    return [(draw.uniform(.05, .95), draw.uniform(.05, .95)) for _ in range(n)]

def server_times(path, model, n):
    "Seconds of each click on the server, suggestions and then the preview, and of the processor for it"
    from colorize_nb.app.sessions import AppLimits, StoredPicture
    from colorize_nb.app.work import Models, Previews, inspect_picture, suggest_colors
    models = Models(model)
    previews = Previews(models)
    stored = inspect_picture(StoredPicture('bench', path), AppLimits())
    previews(stored, stored.settings) # it is open already when somebody clicks
    times, own = [], []
    for x, y in places(n):
        start, begin = time.perf_counter(), time.process_time()
        colors = suggest_colors(stored, previews, x*SIZE[0], y*SIZE[1])
        hint = dict(x=x*SIZE[0], y=y*SIZE[1], radius=30, rgb=colors[0]['rgb'] if colors else [150, 60, 60])
        stored.settings = replace(stored.settings, hints=(*stored.settings.hints, hint))
        previews(stored, stored.settings)
        times.append(time.perf_counter() - start)
        own.append(time.process_time() - begin)
    return {'server': times, 'server, of the processor': own}

@contextmanager
def served(model):
    "The page, served from here; its address"
    import uvicorn

    from colorize_nb.app.server import create_app
    app = create_app(model)
    run = uvicorn.Server(uvicorn.Config(app, port=0, log_level='warning', lifespan='off'))
    thread = threading.Thread(target=run.run, daemon=True)
    thread.start()
    while not run.started: time.sleep(.05)
    try: yield f'http://127.0.0.1:{run.servers[0].sockets[0].getsockname()[1]}/'
    finally:
        run.should_exit = True
        thread.join(30)
        app.state.close()

def open_browser(playwright):
    "Chromium, or None"
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not found and not Path(playwright.chromium.executable_path).exists(): return None
    root = hasattr(os, 'geteuid') and os.geteuid() == 0
    return playwright.chromium.launch(executable_path=found, args=['--no-sandbox'] if root else [])

# from a click to the moment at which the preview of it can be painted
CLICK = """async ([x, y]) => {
    const stage = document.getElementById('stage'), color = document.getElementById('color')
    const r = stage.getBoundingClientRect(), before = +stage.dataset.version, start = performance.now()
    const at = {clientX: r.left + x*r.width, clientY: r.top + y*r.height, bubbles: true}
    stage.dispatchEvent(new MouseEvent('click', at))
    while (+stage.dataset.version <= before || stage.getAttribute('aria-busy') === 'true')
        await new Promise(done => setTimeout(done, 1))
    await color.decode()
    return (performance.now() - start)/1000 }"""

def browser_times(path, model, n):
    "Seconds of each click in a browser; none where there is no browser"
    try: from playwright.sync_api import sync_playwright
    except ImportError: return {}
    with served(model) as url, sync_playwright() as p:
        if (browser := open_browser(p)) is None: return {}
        page = browser.new_page(viewport=dict(width=1280, height=900))
        page.goto(url)
        page.wait_for_selector('body[data-ready]')
        page.set_input_files('#choose', [str(path)])
        page.wait_for_selector('#stage[aria-busy=false][data-version]', timeout=60_000)
        times = [page.evaluate(CLICK, list(at)) for at in places(n)]
        browser.close()
        return {'browser': times}

def is_busy():
    "Whether more wants to run than there are cores; False where nobody knows"
    return hasattr(os, 'getloadavg') and os.getloadavg()[0] > os.cpu_count()

def run(quick=False):
    "One table of median milliseconds"
    rows, busy = {}, is_busy()
    with TemporaryDirectory() as tmp:
        for measure in [server_times] if busy and not quick else [server_times, browser_times]:
            folder = Path(tmp)/measure.__name__/'original'
            folder.mkdir(parents=True)
            scan().save(folder/'scan.png')
            for name, times in measure(folder/'scan.png', MODEL, 3 if quick else 21).items():
                if quick or not busy or 'processor' in name: rows[name] = dict(ms=round(1e3*median(times), 1))
    return {'a click on the page, {}x{} pixels'.format(*SIZE): rows}
