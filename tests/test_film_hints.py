"A person's hints in films whose motion is known: their colours by scikit-image, frames as FFmpeg converts them."
import json
import os
import subprocess
import sys

import numpy as np
import pytest

av = pytest.importorskip('av')
pytest.importorskip('cv2')
skcolor = pytest.importorskip('skimage.color')
from colorize_nb.colorizer.core import Colorizer # noqa: E402
from colorize_nb.colorizer.film import FilmError # noqa: E402
from colorize_nb.colorizer.film_hints import read_film_hints, write_film_hints # noqa: E402
from colorize_nb.colorizer.hints import Hint, Hints # noqa: E402
from colorize_nb.colorizer.video import colorize_film # noqa: E402
from colorize_nb.evaluate.films import MadeFilm # noqa: E402
from test_video import write # noqa: E402

W, H, SHOT = 192, 128, 16 # the first shot has frames 0 to 15
RED = 170, 90, 80 # of the hint

class Gray:
    "A network that answers with no colour, and takes no hints: what it says is corrected by them"
    name, meta, device, takes_hints = 'gray', dict(name='gray', size=64), 'cpu', False
    def predict(self, l, **kw): return np.zeros((len(l), 2, *l.shape[1:]), np.float32)

def disc(t):
    "Where the disc of the made film is at frame `t`: the numbers of `MadeFilm`'s description"
    return round(W*(.2 + .6*t/(SHOT - 1))), round(H*(.4 + .2*t/(SHOT - 1)))

@pytest.fixture
def film(tmp_path):
    "A disc crosses a photograph, then there is a shot of another one"
    first = MadeFilm('object', 'china', SHOT, (W, H), grain=3, other='flower').frames()
    second = MadeFilm('pan', 'chelsea', 8, (W, H), grain=3).frames()
    gray = np.stack([f.gray for f in [*first, *second]])
    return write(tmp_path/'film.mkv', gray, color_range=2, colorspace=1)

def ab_at(path, t, x, y, r=5):
    "Mean chroma around a point of a frame"
    with av.open(str(path)) as c: frame = list(c.decode(video=0))[t]
    lab = skcolor.rgb2lab(frame.to_ndarray(format='rgb24')[y - r:y + r + 1, x - r:x + r + 1]/255)
    return lab[..., 1:].mean((0, 1))

def chroma_range(path, t):
    "How far Cb and Cr of a frame are from gray, at most"
    with av.open(str(path)) as c: frame = list(c.decode(video=0))[t]
    planes = [np.frombuffer(p, np.uint8).reshape(-1, p.line_size)[:H//2, :W//2] for p in frame.planes[1:]]
    return max(np.abs(p.astype(int) - 128).max() for p in planes)

WANT = skcolor.rgb2lab(np.array(RED, float)[None, None]/255)[0, 0, 1:]

@pytest.mark.parametrize('frame', [0, 7, 15])
def test_colour_follows_the_object_and_ends_with_the_shot(film, tmp_path, frame):
    hints = [Hints((W, H), [Hint(*disc(frame), RED, 8)], frame)]
    assert colorize_film(film, tmp_path/'new.mkv', Colorizer(Gray()), hints=hints) == []
    for t in range(SHOT): assert np.abs(ab_at(tmp_path/'new.mkv', t, *disc(t)) - WANT).max() < 6, t
    x, y = disc(15)
    assert np.hypot(*ab_at(tmp_path/'new.mkv', 0, x, y)) < .7*np.hypot(*WANT) # where the disc is not yet
    assert [chroma_range(tmp_path/'new.mkv', t) for t in range(SHOT, SHOT + 8)] == [0]*8

def test_hints_of_two_shots_keep_apart(film, tmp_path):
    blue = 80, 100, 150
    hints = [Hints((W, H), [Hint(100, 60, blue, 8)], SHOT + 3), Hints((W, H), [Hint(*disc(4), RED, 8)], 4)]
    path = write_film_hints(tmp_path/'film.hints.json', hints)
    assert [h.frame for h in read_film_hints(path)] == [4, SHOT + 3]
    colorize_film(film, tmp_path/'new.mkv', Colorizer(Gray()), hints=path)
    assert ab_at(tmp_path/'new.mkv', 10, *disc(10))[0] > 20
    a, b = ab_at(tmp_path/'new.mkv', SHOT + 3, 100, 60)
    assert np.abs(skcolor.rgb2lab(np.array(blue, float)[None, None]/255)[0, 0, 1:] - [a, b]).max() < 6

def test_taken_up_again_with_its_hints(film, tmp_path):
    hints = [Hints((W, H), [Hint(*disc(7), RED, 8)], 7)]
    def call(name, **kw): return colorize_film(film, tmp_path/name, Colorizer(Gray()), hints=hints, part=6, **kw)
    done = []
    with pytest.raises(KeyboardInterrupt):
        call('again.mkv', progress=lambda *o: done.append(o), interrupted=lambda: len(done) == 9)
    with pytest.raises(KeyboardInterrupt): call('again.mkv', interrupted=lambda: True) # in the second part
    call('again.mkv')
    call('whole.mkv')
    def decoded(path):
        with av.open(str(path)) as c: return [[bytes(p) for p in f.planes] for f in c.decode(video=0)]
    assert decoded(tmp_path/'again.mkv') == decoded(tmp_path/'whole.mkv')

def test_wrong_hints_are_a_sentence_and_leave_nothing(film, tmp_path):
    def call(size, frame):
        colorize_film(film, tmp_path/'new.mkv', Colorizer(Gray()), hints=[Hints(size, [Hint(3, 3, RED)], frame)])
    with pytest.raises(FilmError, match=r'hints for frame 24, and .*film\.mkv has 24 frames'): call((W, H), 24)
    with pytest.raises(ValueError, match='for an image of 64x48 pixels, and it has 192x128'): call((64, 48), 0)
    assert os.listdir(tmp_path) == ['film.mkv']

def test_command_takes_hints_given_and_beside(film, tmp_path):
    (x, y), hint = disc(7), dict(radius=8, rgb=RED)
    text = json.dumps([dict(format=1, size=[W, H], frame=7, hints=[hint | dict(x=x, y=y)])])
    (tmp_path/'given.json').write_text(text)
    (tmp_path/'film.hints.json').write_text(text)
    for i, more in enumerate([['--hints', str(tmp_path/'given.json')], []]):
        out = tmp_path/f'new{i}'
        done = subprocess.run([sys.executable, '-m', 'colorize_nb', 'colorize', str(film), '--out', str(out), '--model',
                               'small', '--json', *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert np.abs(ab_at(out/'film.mkv', 2, *disc(2)) - WANT).max() < 10
    assert os.listdir(out) == ['film.mkv']
