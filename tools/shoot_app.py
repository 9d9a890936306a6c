"""Make the screenshots of the tutorial "Correct a photograph by hand" again: the page in a real browser, a plate of
1910, the five colours of its hints file set by the mouse.

    python tools/shoot_app.py

needs Playwright and a Chromium, and writes nbs/images/app/*.jpg. It fails if the page did not store the very hints.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLATE = ROOT/'nbs'/'results'/'plates'/'00106-green.jpg'
WIDE, PHONE = dict(width=1200, height=800), dict(width=360, height=740)

@contextmanager
def serving(model):
    "The page as a process; its address"
    cmd = [sys.executable, '-m', 'colorize_nb', 'app', '--no-browser', '--port', '0', '--model', model]
    env = os.environ | {'PYTHONPATH': str(ROOT), 'PYTHONUTF8': '1'}
    run = subprocess.Popen(cmd, env=env, stderr=subprocess.PIPE, text=True, encoding='utf-8')
    try:
        line = run.stderr.readline()
        found = re.search(r'http://127\.0\.0\.1:\d+/', line)
        if not found: raise SystemExit(line + run.stderr.read())
        yield found[0]
    finally:
        run.terminate()
        run.wait(30)

def wait_until(page, expression):
    "Wait for something in the page, which forbids the `eval` of Playwright's own function"
    for _ in range(600):
        if page.evaluate(expression): return
        page.wait_for_timeout(100)
    raise SystemExit(f'waited a minute for {expression}')

def settle(page):
    "Wait until the newest preview is shown"
    wait_until(page, "document.getElementById('color').naturalWidth > 0 && "
                     "document.getElementById('stage').getAttribute('aria-busy') === 'false'")
    page.evaluate("document.getElementById('color').decode()")

def stored_hints(page):
    "The hints that the server has"
    return page.evaluate("""async () => {
        const s = sessionStorage.getItem('colorize-nb')
        return (await (await fetch(`s/${s}`)).json()).pictures[0].settings.hints }""")

def open_plate(browser, url, size, **kw):
    "A tab with the plate in it"
    page = browser.new_context(viewport=size, device_scale_factor=1, **kw).new_page()
    page.goto(url)
    page.wait_for_selector('body[data-ready]')
    page.set_input_files('#choose', [str(PLATE)])
    wait_until(page, "document.getElementById('batch').hidden")
    settle(page)
    return page

def set_color(page, hint, width, height):
    "Click on a place and give it the hint's colour"
    box = page.locator('#stage').bounding_box()
    at = dict(x=(hint['x'] + .5)/width*box['width'], y=(hint['y'] + .5)/height*box['height'])
    before = page.locator('.hint').count()
    page.click('#stage', position=at)
    wait_until(page, f"document.querySelectorAll('.hint').length === {before + 1}")
    page.fill('#own', '#' + ''.join(f'{v:02x}' for v in hint['rgb']))
    page.dispatch_event('#own', 'change')
    settle(page)

def shoot(browser, url, out):
    "All pictures"
    wanted = json.loads(PLATE.with_suffix('.hints.json').read_text(encoding='utf-8'))
    size, hints = wanted['size'], wanted['hints']
    def keep(page, name): page.screenshot(path=out/f'{name}.jpg', type='jpeg', quality=65)
    page = open_plate(browser, url, WIDE, color_scheme='light')
    page.fill('#slider', '45')
    keep(page, 'automatic')
    page.fill('#slider', '0')
    for i, h in enumerate(hints):
        set_color(page, h, *size)
        if not i: keep(page, 'first_color')
    page.keyboard.press('Escape')
    settle(page)
    keep(page, 'five_colors')
    if (got := stored_hints(page)) != hints: raise SystemExit(f'the page stored {got}, expected {hints}')
    phone = open_plate(browser, url, PHONE, color_scheme='dark', has_touch=True)
    set_color(phone, hints[0], *size)
    phone.evaluate('scrollTo(0, 0)')
    keep(phone, 'phone')

def main():
    from playwright.sync_api import sync_playwright
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('--model', default='default', help='packaged name or file')
    args.add_argument('--out', type=Path, default=ROOT/'nbs'/'images'/'app')
    args = args.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with serving(args.model) as url, sync_playwright() as p:
        found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
        root = hasattr(os, 'geteuid') and os.geteuid() == 0
        browser = p.chromium.launch(executable_path=found, args=['--no-sandbox'] if root else [])
        shoot(browser, url, args.out)
        browser.close()
    for f in sorted(args.out.glob('*.jpg')): print(f'{f.name}: {f.stat().st_size/1000:.0f} kB')

if __name__ == '__main__': main()
