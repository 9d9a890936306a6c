"""Remove the scripts of other servers from the built site, and describe its pictures. Quarto puts require.js and jQuery
from a CDN into each page with a table of pandas; no page of ours needs them. Quarto calls this after rendering:
`post-render` in _quarto.yml.
"""
import os
import re
import sys
from pathlib import Path

from alt_texts import with_alts

FOREIGN = re.compile(r'<script\b[^>]*\bsrc="https?://[^>]*></script>\s*'
                     r"|<script\b[^>]*>define\('jquery'.*?</script>\s*", re.S)

def clean(page):
    "Rewrite the HTML file `page` without such scripts, with alternative texts; whether there were any such scripts"
    text = page.read_text(encoding='utf-8')
    own = FOREIGN.sub('', text)
    new = with_alts(own)
    if new != text: page.write_text(new, encoding='utf-8', newline='\n')
    return own != text

if __name__ == '__main__':
    out = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ['QUARTO_PROJECT_OUTPUT_DIR'])
    n = sum(map(clean, sorted(out.rglob('*.html'))))
    print(f'no_cdn: {n} pages had scripts of other servers')
