"""Give each picture of a built page that has no alternative text the heading above it. What code draws comes without
one: Quarto leaves it out, nbconvert writes the file's kind.
"""
import re

FOUND = re.compile(r'<h[1-6]\b[^>]*>(.*?)</h[1-6]>|<img\b[^>]*>', re.S)
ALT = re.compile(r'\salt="([^"]*)"')

def with_alts(text):
    "The page `text` with an alternative text for every picture"
    heading = ''
    def described(m):
        nonlocal heading
        if m[1] is not None:
            heading = ' '.join(re.sub(r'<[^>]*>', '', m[1]).replace('"', '&quot;').split())
            return m[0]
        alt = ALT.search(m[0])
        if alt and alt[1] not in ('', 'png', 'jpeg', 'svg'): return m[0]
        return '<img alt="Figure' + (f': {heading}"' if heading else '"') + ALT.sub('', m[0])[4:]
    return FOUND.sub(described, text)
