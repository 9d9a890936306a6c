"""Open every page of a built site in a browser, wide, on a phone and in the dark, and say what a reader would stumble
over.

    python tools/check_docs.py --out site; python tools/look_at_site.py site [--shots FOLDER]

needs Playwright and a Chromium. Named are: a page wider than its window, and what makes it so; a picture that is not
shown; brackets that were meant as a link; an error in the console; a request to another host; text in the dark whose
contrast with its ground is below 3 (WCAG 2's formula). `--shots` keeps a picture of each page.
"""
import argparse
import re
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WAYS = dict(wide=dict(viewport=dict(width=1366, height=768)), phone=dict(viewport=dict(width=360, height=740)),
            dark=dict(viewport=dict(width=1366, height=768), color_scheme='dark'))
CONTRAST = 3.

# what is wider than the window and does not scroll by itself
WIDE = r"""() => {
    const room = document.documentElement.clientWidth
    if (document.documentElement.scrollWidth <= room) return []
    const scrolls = e => e && e !== document.body && e !== document.documentElement &&
        (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement))
    return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > room + 1 &&
        !scrolls(e.parentElement)).slice(0, 2).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`)
}"""
RAW = r"""() => {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = []
    while (walk.nextNode()) {
        const {data, parentElement: e} = walk.currentNode
        if (data.includes('](') && !e.closest('pre,code')) found.push(data.trim().slice(0, 40))
    }
    return found.slice(0, 3)
}"""
BROKEN = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.getAttribute('src'))"
FAINT = r"""least => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
    const rgba = text => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1)
                           return [...canvas.getImageData(0, 0, 1, 1).data] }
    const linear = v => (v /= 255) <= .04045 ? v/12.92 : ((v + .055)/1.055)**2.4
    const light = c => .2126*linear(c[0]) + .7152*linear(c[1]) + .0722*linear(c[2])
    const ground = e => { for (; e; e = e.parentElement) {
        const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 127) return c }
        return [255, 255, 255] }
    const found = new Map(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim()
        if (!text || !e.getClientRects().length || e.closest('svg,script,style')) continue
        const a = light(rgba(getComputedStyle(e).color)), b = light(ground(e))
        const ratio = (Math.max(a, b) + .05)/(Math.min(a, b) + .05)
        if (ratio < least) found.set(e.tagName + e.className, `${text.slice(0, 30)} (${ratio.toFixed(1)})`)
    }
    return [...found.values()].slice(0, 3)
}"""

class Quiet(SimpleHTTPRequestHandler):
    "A server that says nothing."
    def log_message(self, *args): pass

@contextmanager
def serving(folder):
    "The site at an address of this machine."
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}'
    finally: server.shutdown()

def look(tab, address, way):
    "What is wrong with one page."
    bad, here = [], address[:address.index('/', 8)]
    def said(m):
        if m.type == 'error': bad.append(f'console: {m.text[:120]}')
    def asked(r):
        if not r.url.startswith((here, 'data:', 'blob:')): bad.append(f'asks for {r.url[:120]}')
    tab.on('console', said)
    tab.on('request', asked)
    try:
        tab.goto(address, wait_until='load')
        tab.evaluate("document.querySelectorAll('img[loading=lazy]').forEach(i => i.loading = 'eager')")
        tab.wait_for_load_state('networkidle')
        bad += [f'wider than the window: {o}' for o in tab.evaluate(WIDE)]
        bad += [f'not a link: {o}' for o in tab.evaluate(RAW)]
        bad += [f'not shown: {o}' for o in tab.evaluate(BROKEN)]
        if way == 'dark': bad += [f'faint: {o}' for o in tab.evaluate(FAINT, CONTRAST)]
    finally:
        tab.remove_listener('console', said)
        tab.remove_listener('request', asked)
    return bad

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('site', type=Path, help='folder of a built site')
    p.add_argument('--only', default='', help='pattern of the pages to open')
    p.add_argument('--shots', type=Path, help='folder for a picture of each page')
    args = p.parse_args()
    from playwright.sync_api import sync_playwright
    pages = sorted(o.relative_to(args.site).as_posix() for o in args.site.rglob('*.html'))
    failed = 0
    with serving(args.site) as here, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which('chromium') or None, args=['--no-sandbox'])
        for way, options in WAYS.items():
            tab = browser.new_context(**options).new_page()
            for page in (o for o in pages if re.search(args.only, o)):
                bad = look(tab, f'{here}/{page}', way)
                for o in bad: print(f'FAILED {page}, {way}: {o}', flush=True)
                failed += bool(bad)
                if not args.shots: continue
                shot = args.shots/way/f"{page.replace('/', '-')}.jpg"
                shot.parent.mkdir(parents=True, exist_ok=True)
                tab.screenshot(path=str(shot), full_page=True, type='jpeg', quality=60)
        browser.close()
    print(f'{len(pages)} pages, {len(WAYS)} ways: {failed} with something wrong')
    return failed > 0

if __name__ == '__main__': sys.exit(main())
