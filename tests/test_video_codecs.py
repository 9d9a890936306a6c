"Each codec and each kind of source: what FFmpeg itself says about the results, and luma against the source's."
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip('av')
pytest.importorskip('cv2')
from colorize_nb.colorizer.film import FilmError # noqa: E402
from colorize_nb.colorizer.video import colorize_film # noqa: E402
from test_video import Tint, luma, rgb, texture, write # noqa: E402

ENCODERS = dict(h264='libx264', hevc='libx265', vp9='libvpx-vp9', prores='prores_ks', ffv1='ffv1')

def facts(path):
    "What a file says of itself: codec, format of samples, range, matrix, order of fields, shape of pixels, rotation"
    with av.open(str(path)) as c:
        v, frame = c.streams.video[0], next(c.decode(video=0))
        x = v.codec_context
        return dict(codec=x.codec.canonical_name, format=frame.format.name, full=frame.color_range == 2,
                    matrix=int(frame.colorspace), fields=x.field_order, rotation=frame.rotation,
                    aspect=v.sample_aspect_ratio, interlaced=frame.interlaced_frame)

def in_8_bits(planes): return np.stack([p/4 if p.dtype == np.uint16 else p for p in planes]).astype(float)

@pytest.mark.parametrize('source', ['yuv420p', 'yuv420p10le'])
@pytest.mark.parametrize('codec, suffix, loss, eight, ten', [
    ('h264', '.mp4', 1.5, 'yuv420p', 'yuv420p10le'), ('hevc', '.mp4', 1.5, 'yuv420p', 'yuv420p10le'),
    ('hevc', '.mkv', 1.5, 'yuv420p', 'yuv420p10le'), ('vp9', '.webm', 2., 'yuv420p', 'yuv420p10le'),
    ('prores', '.mov', 1., 'yuv422p10le', 'yuv422p10le'), ('ffv1', '.mkv', 0., 'yuv420p', 'yuv420p10le')])
def test_each_codec_holds_the_film(tmp_path, source, codec, suffix, loss, eight, ten):
    if ENCODERS[codec] not in av.codec.codecs_available: pytest.skip(f'this FFmpeg has no {ENCODERS[codec]}')
    skcolor = pytest.importorskip('skimage.color')
    old = write(tmp_path/'old.mkv', texture(6, 96, 64), source, color_range=1, colorspace=1)
    notes = colorize_film(old, tmp_path/f'new{suffix}', Tint(25, -10), codec=codec)
    if source != 'yuv420p' and ten not in {f.name for f in av.Codec(ENCODERS[codec], 'w').video_formats}:
        ten = eight # some builds of VP9's encoder have 8 bits alone
        assert len(notes) == 1 and f'its 10 bits became 8, as many as {codec} holds' in notes[0]
    else: assert notes == []
    said = facts(tmp_path/f'new{suffix}')
    assert said['codec'] == codec and said['format'] == (eight if source == 'yuv420p' else ten)
    assert (said['full'], said['matrix']) == (False, 1)
    was, new = (list(luma(p)) for p in (old, tmp_path/f'new{suffix}'))
    assert len(new) == 6 and [float(t) for _, t in new] == pytest.approx([float(t) for _, t in was], abs=.0011)
    assert np.abs(in_8_bits([y for y, _ in was]) - in_8_bits([y for y, _ in new])).mean() <= loss # steps of 8 bits
    lab = skcolor.rgb2lab(rgb(tmp_path/f'new{suffix}', 2))[4:-4, 4:-4, 1:].reshape(-1, 2)
    assert np.abs(np.median(lab, 0) - [25, -10]).max() < 2.5

@pytest.mark.parametrize('codec, suffix', [('ffv1', '.mkv'), ('prores', '.mov'), ('h264', '.mkv')])
@pytest.mark.parametrize('fields', [2, 3]) # FFmpeg's numbers: the top, the bottom field is first
def test_interlaced_films_say_so(tmp_path, codec, suffix, fields):
    old = write(tmp_path/'old.mkv', texture(4, 96, 64), field_order=fields)
    if facts(old)['fields'] != fields: pytest.skip('this PyAV writes no order of fields')
    colorize_film(old, tmp_path/f'new{suffix}', Tint(), codec=codec)
    said = facts(tmp_path/f'new{suffix}')
    assert said['interlaced'] or said['fields'] == fields
    still = write(tmp_path/'still.mkv', texture(4, 96, 64), field_order=1)
    colorize_film(still, tmp_path/f'still_new{suffix}', Tint(), codec=codec)
    said = facts(tmp_path/f'still_new{suffix}')
    assert not said['interlaced'] and said['fields'] in (0, 1)

@pytest.mark.parametrize('suffix', ['.mp4', '.mov'])
@pytest.mark.parametrize('turn', [90, 180, -90])
def test_rotation_and_shape_of_pixels_stay(tmp_path, suffix, turn):
    src, shape = tmp_path/f'old{suffix}', Fraction(16, 15)
    with av.open(str(src), 'w') as c:
        v = c.add_stream('libx264', rate=25)
        v.width, v.height, v.pix_fmt = 96, 64, 'yuv420p'
        v.codec_context.sample_aspect_ratio = shape
        v.set_display_rotation(turn)
        for y in texture(3, 96, 64): c.mux(v.encode(av.VideoFrame.from_ndarray(y, 'gray').reformat(format='yuv420p')))
        c.mux(v.encode(None))
    was = facts(src)
    assert was['rotation'] % 360 == turn % 360
    colorize_film(src, tmp_path/f'new{suffix}', Tint())
    assert (facts(tmp_path/f'new{suffix}')['rotation'], facts(tmp_path/f'new{suffix}')['aspect']) == \
        (was['rotation'], shape)

def deep_frames(n=3, size=(64, 48)):
    "Gray of 16 bits"
    w, h = size
    return [(y.astype(np.uint16)*257 + np.arange(w, dtype=np.uint16)) for y in texture(n, w, h)]

def save_dpx(path, gray):
    "A DPX frame of 16 bits, by FFmpeg's encoder"
    x = av.CodecContext.create('dpx', 'w')
    x.width, x.height, x.pix_fmt, x.time_base = gray.shape[1], gray.shape[0], 'rgb48le', Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.stack([gray]*3, -1), 'rgb48le')
    frame.pts = 0
    path.write_bytes(b''.join(bytes(p) for p in [*x.encode(frame), *x.encode(None)]))

def save_tiff(path, gray): pytest.importorskip('tifffile').imwrite(path, gray)

@pytest.mark.parametrize('suffix, save', [('.dpx', save_dpx), ('.tif', save_tiff)])
def test_folders_of_deep_frames(tmp_path, suffix, save):
    (tmp_path/'reel').mkdir()
    frames = deep_frames()
    for i, g in enumerate(frames): save(tmp_path/'reel'/f'frame_{i + 8}{suffix}', g) # 10 comes after 9
    assert colorize_film(tmp_path/'reel', tmp_path/'new.mkv', Tint(), fps=18) == []
    new = list(luma(tmp_path/'new.mkv'))
    assert facts(tmp_path/'new.mkv')['codec'] == 'ffv1' and facts(tmp_path/'new.mkv')['full']
    assert [float(t) for _, t in new] == pytest.approx([i/18 for i in range(3)], abs=.0006) # Matroska's milliseconds
    assert all(np.abs(y.astype(int) - g).max() <= 1 for (y, _), g in zip(new, frames))
    note, = colorize_film(tmp_path/'reel', tmp_path/'new.mp4', Tint(), fps=18, codec='h264')
    assert 'its 16 bits became 10' in note

def test_folder_of_png_frames(tmp_path):
    (tmp_path/'reel').mkdir()
    frames = texture(3, 64, 48)
    for i, g in enumerate(frames): Image.fromarray(g).save(tmp_path/'reel'/f'{i:04}.png')
    colorize_film(tmp_path/'reel', tmp_path/'new.mkv', Tint(), fps=24, codec='ffv1')
    assert all(np.array_equal(y, g) for (y, _), g in zip(luma(tmp_path/'new.mkv'), frames, strict=True))

@pytest.mark.parametrize('codec, name, why', [
    ('av1', 'new.mkv', "no codec 'av1' to write: take one of"), ('prores', 'new.mp4', 'cannot hold prores'),
    ('vp9', 'new.mov', 'cannot hold vp9'), (None, 'new.avi', 'no film .avi is written here')])
def test_what_is_not_written_is_a_sentence(tmp_path, codec, name, why):
    old = write(tmp_path/'old.mkv', texture(2, 64, 48))
    with pytest.raises(FilmError, match=why): colorize_film(old, tmp_path/name, Tint(), codec=codec)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['old.mkv']
