"Films: FFmpeg's own decoding and conversion, packets compared byte by byte, and films whose making is known."
import json
import os
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip('av')
pytest.importorskip('cv2')
from colorize_nb.colorizer.film import Film, FilmError # noqa: E402
from colorize_nb.colorizer.video import colorize_film # noqa: E402
from colorize_nb.io.samples import sample # noqa: E402

class Tint:
    "Stands in for a model: one chroma everywhere, and no time needed."
    name, size, saturation, takes_hints = 'tint', 64, 1., False
    def __init__(self, a=25, b=-10): self.ab, self.asked = np.array([a, b], np.float32), 0
    def predict_ab(self, pictures, size=None, tta=False, **kw):
        self.asked += len(pictures)
        return [np.broadcast_to(self.ab[:, None, None], (2, 8, 12)).copy() for _ in pictures]

def texture(n, w, h, seed=0):
    "Smooth gray (n,h,w) uint8 that moves by a pixel a frame, between 60 and 190."
    rng = np.random.default_rng(seed)
    big = Image.fromarray(rng.integers(0, 256, (h//8 + 4, (w + n)//8 + 4)).astype(np.uint8))
    big = np.asarray(big.resize((big.width*8, big.height*8), Image.Resampling.BICUBIC)).astype(float)
    big = 60 + (big - big.min())*130/np.ptp(big)
    return np.stack([big[:h, i:i + w] for i in range(n)]).round().astype(np.uint8)

def write(path, gray, fmt='yuv420p', codec='ffv1', times=None, base=Fraction(1, 1000), sound=0, options=None, **tags):
    "A gray film of uint8 samples, which become `gray << 2` with 10 bits; `sound` in packets of AAC"
    deep = '10' in fmt
    with av.open(str(path), 'w') as c:
        v = c.add_stream(codec, rate=25, options=options or {})
        v.width, v.height, v.pix_fmt, v.time_base = gray.shape[2], gray.shape[1], fmt, base
        v.codec_context.time_base = base
        for k, x in tags.items(): setattr(v.codec_context, k, x)
        a = c.add_stream('aac', rate=44100) if sound else None
        for i, y in enumerate(gray):
            f = av.VideoFrame(y.shape[1], y.shape[0], fmt)
            for k, p in enumerate(f.planes):
                rows = np.frombuffer(p, np.uint16 if deep else np.uint8).reshape(p.height, -1)
                rows[:] = 512 if deep else 128
                if not k: rows[:, :p.width] = y.astype(np.uint16) << 2 if deep else y
            f.pts, f.time_base = times[i] if times else 40*i, base
            c.mux(v.encode(f))
        c.mux(v.encode(None))
        rng = np.random.default_rng(0)
        for i in range(sound):
            f = av.AudioFrame.from_ndarray(rng.normal(0, .1, (2, 1024)).astype(np.float32), 'fltp', 'stereo')
            f.sample_rate, f.pts, f.time_base = 44100, 1024*i, Fraction(1, 44100)
            c.mux(a.encode(f))
        if a: c.mux(a.encode(None))
    return path

def luma(path):
    "Luma planes and times in seconds, by PyAV alone"
    with av.open(str(path)) as c:
        for f in c.decode(video=0):
            p, dtype = f.planes[0], np.uint16 if f.format.components[0].bits > 8 else np.uint8
            rows = np.frombuffer(p, dtype).reshape(-1, p.line_size//dtype().itemsize)
            yield rows[:f.height, :f.width].copy(), f.pts*f.time_base

def rgb(path, i=0):
    "A frame as FFmpeg's swscale converts it, by its tags, (h,w,3) in [0,1]"
    with av.open(str(path)) as c: frame = list(c.decode(video=0))[i]
    return frame.to_ndarray(format='rgb24')/255

def packets(path, **which):
    with av.open(str(path)) as c: return [(bytes(p), p.pts*p.time_base) for p in c.demux(**which) if p.size]

@pytest.mark.parametrize('fmt, size', [('yuv420p', (64, 48)), ('yuv420p', (51, 33)), ('yuv420p10le', (64, 48)),
                                       ('yuv422p10le', (64, 48)), ('yuv444p', (51, 33)), ('gray', (64, 48))])
@pytest.mark.parametrize('full', [False, True])
def test_luma_is_the_sources_bit_for_bit(tmp_path, fmt, size, full):
    old = write(tmp_path/'old.mkv', texture(5, *size), fmt, color_range=2 if full else 1)
    assert colorize_film(old, tmp_path/'new.mkv', Tint()) == []
    pairs = list(zip(luma(old), luma(tmp_path/'new.mkv'), strict=True))
    assert all(np.array_equal(a, b) and s == t for (a, s), (b, t) in pairs)
    with av.open(str(tmp_path/'new.mkv')) as c:
        v = c.streams.video[0]
        assert (v.codec_context.color_range, v.codec.name) == (2 if full else 1, 'ffv1')

@pytest.mark.parametrize('matrix', [1, 5, 6])
@pytest.mark.parametrize('full', [False, True])
def test_colours_are_those_predicted(tmp_path, matrix, full):
    "swscale turns Y', Cb and Cr into RGB, scikit-image RGB into Lab: there stand the a and b that were predicted"
    skcolor = pytest.importorskip('skimage.color')
    old = write(tmp_path/'old.mkv', texture(2, 64, 48), color_range=2 if full else 1, colorspace=matrix)
    colorize_film(old, tmp_path/'new.mkv', Tint(25, -10))
    lab = skcolor.rgb2lab(rgb(tmp_path/'new.mkv', 1))
    inner = lab[4:-4, 4:-4, 1:].reshape(-1, 2)
    assert np.abs(np.median(inner, 0) - [25, -10]).max() < 1.5 # steps of 8 bits, twice
    wrong = dict(zip((1, 5, 6), (5, 1, 1)))[matrix] # another matrix would show: the test can fail
    with av.open(str(tmp_path/'new.mkv')) as c: frame = next(c.decode(video=0))
    assert frame.colorspace == matrix
    frame.colorspace = wrong
    other = skcolor.rgb2lab(frame.to_ndarray(format='rgb24')/255)[4:-4, 4:-4, 1:].reshape(-1, 2)
    assert np.abs(np.median(other, 0) - [25, -10]).max() > 1.5

def test_times_sound_and_tags_stay(tmp_path):
    times = [0, 40, 50, 130, 170, 171, 300, 420, 421, 422, 500, 700]
    old = write(tmp_path/'old.mp4', texture(12, 64, 48), codec='libx264', times=[12*t for t in times], sound=30,
                base=Fraction(1, 12000), sample_aspect_ratio=Fraction(12, 11), color_primaries=6, color_trc=6,
                colorspace=6, color_range=1, options=dict(crf='10'))
    assert colorize_film(old, tmp_path/'new.mp4', Tint(), part=5) == []
    assert [t for _, t in luma(tmp_path/'new.mp4')] == [Fraction(t, 1000) for t in times]
    assert packets(tmp_path/'new.mp4', audio=0) == packets(old, audio=0)
    with av.open(str(tmp_path/'new.mp4')) as c:
        v = c.streams.video[0]
        x = v.codec_context
        assert (v.codec.name, x.color_primaries, x.color_trc, x.colorspace, x.color_range) == ('h264', 6, 6, 6, 1)
        assert v.sample_aspect_ratio == Fraction(12, 11)

def test_subtitles_and_covers_are_copied(tmp_path):
    import zlib
    srt = tmp_path/'t.srt'
    srt.write_text('1\n00:00:00,000 --> 00:00:00,200\nThe garden\n\n2\n00:00:00,240 --> 00:00:00,400\nin May\n')
    write(tmp_path/'plain.mkv', texture(10, 64, 48), sound=20)
    with av.open(str(tmp_path/'old.mkv'), 'w') as out, av.open(str(tmp_path/'plain.mkv')) as a, av.open(str(srt)) as b:
        out.metadata['title'] = 'Garden'
        streams = {s: out.add_stream_from_template(s, opaque=True) for s in [*a.streams, *b.streams]}
        streams[b.streams[0]].metadata['language'] = 'deu'
        out.add_attachment('note.txt', 'text/plain', b'of 1958')
        for c in (a, b):
            for p in c.demux():
                if not p.size: continue
                p.stream = streams[p.stream]
                out.mux(p)
    assert colorize_film(tmp_path/'old.mkv', tmp_path/'new.mkv', Tint()) == []
    with av.open(str(tmp_path/'new.mkv')) as c:
        assert [s.type for s in c.streams] == ['video', 'audio', 'subtitle', 'attachment']
        assert (c.metadata['title'], c.streams[2].metadata['language']) == ('Garden', 'deu')
        assert zlib.crc32(c.streams[3].data) == zlib.crc32(b'of 1958')
    for kind in ('audio', 'subtitles'):
        assert packets(tmp_path/'new.mkv', **{kind: 0}) == packets(tmp_path/'old.mkv', **{kind: 0})

def test_chroma_of_a_new_shot_is_its_own(tmp_path):
    "Two shots, and a model that has another answer for each: no frame mixes them"
    a, b = texture(6, 64, 48, 1), 250 - texture(6, 64, 48, 2)//2
    old = write(tmp_path/'old.mkv', np.concatenate([a, b]))
    net = Tint()
    net.predict_ab = lambda pictures, **kw: [np.full((2, 8, 8), 30 if p.gray.mean() < 150 else -30, np.float32)
                                             for p in pictures]
    colorize_film(old, tmp_path/'new.mkv', net, steady=1)
    cr = []
    with av.open(str(tmp_path/'new.mkv')) as c:
        for f in c.decode(video=0):
            cr.append(np.frombuffer(f.planes[2], np.uint8).reshape(-1, f.planes[2].line_size)[:24, :32])
    assert all(o.min() > 128 for o in cr[:6]) and all(o.max() < 128 for o in cr[6:])

KILLED = """if True:
    import sys, time, numpy as np
    sys.path.insert(0, {tests!r})
    from test_video import Tint
    from colorize_nb.colorizer.video import colorize_film
    class Slow(Tint):
        def predict_ab(self, pictures, **kw):
            time.sleep(.05)
            i = int(pictures[0].gray.sum()) % 40 # another colour in each frame
            return [np.full((2, 8, 12), i - 20, np.float32) for _ in pictures]
    colorize_film({old!r}, {new!r}, Slow(), part=7, steady=0, progress=lambda *o: print(o[1], flush=True))"""

@pytest.mark.slow
def test_killed_film_is_taken_up_again(tmp_path):
    old = str(write(tmp_path/'old.mkv', texture(40, 64, 48)))
    def code(new): return KILLED.format(tests=os.path.dirname(__file__), old=old, new=str(tmp_path/new))
    run = subprocess.Popen([sys.executable, '-c', code('new.mkv')], stdout=subprocess.PIPE, text=True)
    for line in run.stdout:
        if int(line) >= 17:
            run.send_signal(signal.SIGKILL if hasattr(signal, 'SIGKILL') else signal.SIGTERM)
            break
    run.wait()
    run.stdout.close()
    assert not (tmp_path/'new.mkv').exists() # whole or not at all
    for new in ('new.mkv', 'whole.mkv'):
        done = subprocess.run([sys.executable, '-c', code(new)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        first = int(done.stdout.split()[0])
        assert first == (15 if new == 'new.mkv' else 1) # two parts of 7 were finished
    def decoded(path):
        with av.open(str(path)) as c: return [[bytes(p) for p in f.planes] for f in c.decode(video=0)]
    assert decoded(tmp_path/'new.mkv') == decoded(tmp_path/'whole.mkv')
    assert sorted(os.listdir(tmp_path)) == ['new.mkv', 'old.mkv', 'whole.mkv'] # no folder of parts is left

@pytest.mark.slow
def test_long_film_needs_no_more_memory():
    "Ten times as many frames take no more room: measured in a process of its own"
    pytest.importorskip('resource')
    code = """if True:
        import sys, resource, tempfile, pathlib
        sys.path.insert(0, {tests!r})
        from test_video import Tint, texture, write
        from colorize_nb.colorizer.video import colorize_film
        d = pathlib.Path(tempfile.mkdtemp())
        some = texture(8, 640, 480)
        film = write(d/'old.mkv', some[[i % 8 for i in range({n})]])
        del some
        colorize_film(film, d/'warm.mkv', Tint(), duration=.2)
        def most(): # kilobytes; Linux counts the parent's peak into `ru_maxrss`
            try: return next(int(o.split()[1]) for o in open('/proc/self/status') if o.startswith('VmHWM'))
            except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = most()
        colorize_film(film, d/'new.mkv', Tint(), part=50)
        print(most() - before)"""
    done = subprocess.run([sys.executable, '-c', code.format(tests=os.path.dirname(__file__), n=150)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60*1024 # kilobytes; the film's 150 frames have 69 MB, twice that with chroma

BAD = {'empty': b'', 'text': b'once upon a time '*200, 'zeros': bytes(9000),
       'list': b'#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n',
       'parts': b'ffconcat version 1.0\nfile /etc/passwd\n'}

@pytest.mark.parametrize('kind', BAD)
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_what_is_no_film_is_one_sentence(tmp_path, kind, suffix):
    path = tmp_path/f'{kind}{suffix}'
    path.write_bytes(BAD[kind])
    with pytest.raises(FilmError, match='cannot be read as a film') as e: Film(path)
    assert '\n' not in str(e.value) and str(path) in str(e.value)

def test_cut_films_give_what_they_have(tmp_path):
    old = write(tmp_path/'old.mkv', texture(30, 64, 48))
    data = old.read_bytes()
    for share in (.3, .6, .9):
        (tmp_path/'cut.mkv').write_bytes(data[:int(len(data)*share)])
        colorize_film(tmp_path/'cut.mkv', tmp_path/'new.mkv', Tint())
        got, want = list(luma(tmp_path/'new.mkv')), list(luma(old))
        assert abs(len(got) - 30*share) < 4
        assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(got[:-1], want))
    mp4 = write(tmp_path/'old.mp4', texture(10, 64, 48), codec='libx264')
    (tmp_path/'cut.mp4').write_bytes(mp4.read_bytes()[:-600])
    with pytest.raises(FilmError, match='cut off before its index'): Film(tmp_path/'cut.mp4')

def test_film_without_frames_is_a_sentence(tmp_path):
    with av.open(str(tmp_path/'none.mkv'), 'w') as c:
        v = c.add_stream('libx264', rate=25)
        v.width, v.height, v.pix_fmt = 64, 48, 'yuv420p'
        c.start_encoding()
    with pytest.raises(FilmError, match='no frame that can be read|cannot be read as a film'): Film(tmp_path/'none.mkv')

@pytest.mark.parametrize('cut', [False, True])
def test_avi_without_its_index(tmp_path, cut):
    "Its chunks follow each other, so nothing is missing; of one cut in the middle all that came before"
    old = write(tmp_path/'old.avi', texture(20, 64, 48), codec='mpeg4', base=Fraction(1, 25), times=list(range(20)))
    data = old.read_bytes()
    begin, end = data.index(b'movi'), data.rindex(b'idx1') # the frames lie between
    (tmp_path/'cut.avi').write_bytes(data[:(begin + end)//2 if cut else end])
    colorize_film(tmp_path/'cut.avi', tmp_path/'new.mkv', Tint(), codec='ffv1')
    got, want = list(luma(tmp_path/'new.mkv')), list(luma(old))
    assert 3 < len(got) < 15 if cut else len(got) == 20
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(got[:-1], want))

def test_packets_that_no_decoder_takes_are_said(tmp_path):
    "H.264, every frame by itself: four packets of noise in the middle; all others stay, at their times"
    old = write(tmp_path/'old.mkv', texture(12, 64, 48), codec='libx264', options=dict(qp='0', g='1', bf='0'))
    data, rng = old.read_bytes(), np.random.default_rng(0)
    for victim, _ in packets(old, video=0)[4:8]:
        at = data.index(victim)
        data = data[:at + 4] + rng.bytes(len(victim) - 4) + data[at + len(victim):]
    (tmp_path/'bad.mkv').write_bytes(data)
    notes = colorize_film(tmp_path/'bad.mkv', tmp_path/'new.mkv', Tint(), codec='ffv1')
    assert any('damaged' in o or 'could not be decoded' in o for o in notes), notes
    want, got = list(luma(old)), {t: y for y, t in luma(tmp_path/'new.mkv')}
    assert all(np.array_equal(got[t], y) for y, t in want[:4] + want[8:])

def test_damaged_frames_stay_gray_and_are_said(tmp_path):
    old = write(tmp_path/'old.mkv', texture(12, 64, 48), options=dict(level='3', g='1', slicecrc='1'))
    data, (victim, _) = old.read_bytes(), packets(old, video=0)[5]
    at = data.index(victim) + len(victim)//3
    (tmp_path/'bad.mkv').write_bytes(data[:at] + bytes([data[at] ^ 8]) + data[at + 1:])
    note, = colorize_film(tmp_path/'bad.mkv', tmp_path/'new.mkv', Tint())
    assert 'frame 5 is damaged and stays gray' in note
    with av.open(str(tmp_path/'new.mkv')) as c:
        spread = [np.frombuffer(f.planes[2], np.uint8).reshape(-1, f.planes[2].line_size)[:24, :32].max()
                  for f in c.decode(video=0)]
    assert [v == 128 for v in spread] == [i == 5 for i in range(12)]

def test_command_colours_films_among_pictures(tmp_path):
    (tmp_path/'old').mkdir()
    write(tmp_path/'old'/'a.avi', texture(4, 64, 48), codec='mpeg4')
    Image.fromarray(texture(1, 64, 48)[0]).save(tmp_path/'old'/'b.png')
    frames = tmp_path/'frames'
    frames.mkdir()
    for i, g in enumerate(texture(3, 64, 48)): Image.fromarray(g).save(frames/f'{i}.png')
    def call(*args):
        done = subprocess.run([sys.executable, '-m', 'colorize_nb', 'colorize', *map(str, args), '--json'],
                              capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout or '{}'), done.stderr
    code, report, err = call(tmp_path/'old', '--out', tmp_path/'new', '--compare')
    assert code == 0 and report['done'] == 2, err
    assert sorted(os.listdir(tmp_path/'new')) == ['a.mkv', 'a_compare.mkv', 'b.png', 'b_compare.png']
    assert len(list(luma(tmp_path/'new'/'a.mkv'))) == 4
    with av.open(str(tmp_path/'colour.mp4'), 'w') as c: # a photograph's colours, moving
        v = c.add_stream('libx264', rate=25)
        v.width, v.height, v.pix_fmt = 64, 48, 'yuv420p'
        for i in range(4):
            photo = sample('flower').resize((64, 48), box=(i, 0, 600 + i, 420))
            c.mux(v.encode(av.VideoFrame.from_image(photo)))
        c.mux(v.encode(None))
    code, report, err = call(tmp_path/'colour.mp4', '--out', tmp_path/'again')
    assert (code, report['skipped']) == (0, 1) and 'has colours already' in err and '--force' in err
    code, report, err = call(frames, '--out', tmp_path/'film.mp4', '--fps', 18, '--steady', 0)
    assert code == 0, err
    assert [t for _, t in luma(tmp_path/'film.mp4')] == [Fraction(i, 18) for i in range(3)]
    code, report, err = call(tmp_path/'old'/'a.avi', '--out', tmp_path/'y.mkv', '--sizes', '64,96')
    said = report['pictures'][0]['sentence']
    assert code == 0 and 'a.avi: sizes left out, which films do not have' in said, (said, err)
    assert not list(tmp_path.glob('*_sizes*'))
    code, report, err = call(tmp_path/'old'/'a.avi', '--out', tmp_path/'x.mp4', '--codec', 'ffv1')
    assert code == 1 and 'cannot hold ffv1' in err

def test_missing_extra_is_named(tmp_path):
    film = write(tmp_path/'a.mkv', texture(2, 64, 48))
    code = "import sys\nsys.modules['av'] = sys.modules['cv2'] = None\n" \
           "from colorize_nb.colorizer.film import Film\nFilm(sys.argv[1])"
    done = subprocess.run([sys.executable, '-c', code, str(film)], capture_output=True, text=True)
    assert 'pip install "colorize_nb[video]"' in done.stderr, done.stderr

def test_started_and_ended_by_time(tmp_path):
    old = write(tmp_path/'old.mkv', texture(30, 64, 48), sound=60, options=dict(g='6'))
    colorize_film(old, tmp_path/'new.mkv', Tint(), start=.5, duration=.4)
    got, want = list(luma(tmp_path/'new.mkv')), [y for y, t in luma(old) if .5 <= t < .9]
    assert len(got) == len(want) == 10 and all(np.array_equal(a, b) for (a, _), b in zip(got, want))
    sound = packets(tmp_path/'new.mkv', audio=0)
    inside = [b for b, t in packets(old, audio=0) if .5 <= t < .9]
    assert [b for b, _ in sound] == inside and -.03 < sound[0][1] < .03
