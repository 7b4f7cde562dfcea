"""Videos are read whatever they are, and what is wrong with one is said in one line."""

import struct
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
import video_files

from ttp_jax.data import video


def read(path, **how):
    (found,) = video.open_videos(path)
    return found, list(found.frames(**how))


def test_frames_come_in_order_with_their_times(tmp_path):
    frames = video_files.moving_square()
    found, seen = read(video_files.encode(tmp_path / 'a b.mp4', frames))
    assert (found.name, found.size, found.rate) == ('a_b', (48, 64), 10)
    assert [frame.index for frame in seen] == list(range(12))
    np.testing.assert_allclose([frame.time for frame in seen], np.arange(12) / 10, atol=1e-6)
    error = np.stack([frame.image for frame in seen]).astype(float) - frames
    assert np.abs(error).mean() < 2


def test_only_the_first_seconds(tmp_path):
    _, seen = read(video_files.encode(tmp_path / 'a.mp4', video_files.moving_square()), seconds=0.5)
    assert len(seen) == 5


@pytest.mark.parametrize('turn', [90, 180, -90])
def test_a_rotation_mark_is_obeyed(tmp_path, turn):
    frames = video_files.moving_square(4)
    found, seen = read(video_files.encode(tmp_path / 'a.mp4', frames, turn=turn))
    upright = np.rot90(frames[2], turn // 90)  # anticlockwise, as FFmpeg counts the mark
    assert found.size == upright.shape[:2]
    assert np.abs(seen[2].image.astype(float) - upright).mean() < 2


def test_another_codec_and_pixel_format(tmp_path):
    frames = video_files.moving_square()
    _, seen = read(video_files.encode(tmp_path / 'a.avi', frames, codec='mpeg4'))
    assert len(seen) == 12 and np.abs(seen[5].image.astype(float) - frames[5]).mean() < 12


def test_a_folder_of_frames_in_the_order_of_their_numbers(tmp_path):
    frames = video_files.moving_square(11)
    for t, image in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'frame{t}.png'), image[..., ::-1])
    found, seen = read(tmp_path)
    np.testing.assert_array_equal([frame.image for frame in seen], frames)
    assert len(read(str(tmp_path / 'frame?.png'))[1]) == 10
    assert found.name == tmp_path.name.replace(' ', '_')


def test_an_image_is_turned_as_its_camera_noted(tmp_path):
    frame = video_files.moving_square(4)[3]
    _, encoded = cv2.imencode('.jpg', frame[..., ::-1])
    # One entry: orientation, a short, one of them, 6: a quarter turn clockwise.
    note = b'Exif\0\0' + struct.pack('<2sHIHHHIIxxxx', b'II', 42, 8, 1, 0x0112, 3, 1, 6)
    start, rest = encoded[:2].tobytes(), encoded[2:].tobytes()
    for name in ('1.jpg', '2.jpg'):
        mark = struct.pack('>HH', 0xFFE1, len(note) + 2)
        (tmp_path / name).write_bytes(start + mark + note + rest)
    found, seen = read(tmp_path)
    shown = np.rot90(frame, -1)
    assert found.size == shown.shape[:2] and frame.shape[0] != frame.shape[1]
    assert np.abs(seen[1].image.astype(float) - shown).mean() < 4


def test_the_image_before_stands_for_one_that_cannot_be_read(tmp_path, caplog):
    frames = video_files.moving_square(5)
    for t, image in enumerate(frames):
        cv2.imwrite(str(tmp_path / f'{t}.png'), image[..., ::-1])
    (tmp_path / '2.png').write_bytes(b'half')
    _, seen = read(tmp_path)
    np.testing.assert_array_equal([frame.image for frame in seen], frames[[0, 1, 1, 3, 4]])
    assert [frame.index for frame in seen] == [0, 1, 2, 3, 4]
    assert f'{tmp_path / "2.png"}: cannot be read' in caplog.text


def test_a_folder_of_videos(tmp_path):
    for name in ('b.mp4', 'a.mp4'):
        video_files.encode(tmp_path / name, video_files.moving_square(3))
    assert [found.name for found in video.open_videos(tmp_path)] == ['a', 'b']


def test_what_decodes_of_a_damaged_video_is_kept(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    path = video_files.encode(tmp_path / 'a.ts', noise, g='5')
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    _, seen = read(path)
    assert 10 <= len(seen) < 30
    assert np.abs(seen[2].image.astype(float) - noise[2]).mean() < 12


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('none.mp4', None, 'no such file or folder'),
        ('text.mp4', b'not a video', 'cannot be read as a video'),
        ('folder', {}, 'found no video and no image among 0 files'),
        ('both', {'a.mp4': b'', 'b.jpg': b''}, '1 images and 1 videos, expected one or the other'),
        ('one', {'b.jpg': b''}, 'one image, expected a video or at least two frames'),
        ('bad', {'a.jpg': b'', 'b.jpg': b''}, 'a.jpg: cannot be read as an image'),
    ],
)
def test_faults_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
        for inner, data in content.items():
            (path / inner).write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        video.open_videos(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_file_of_sound_alone(tmp_path):
    import av

    with av.open(str(tmp_path / 'a.wav'), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000, layout='mono')
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout='mono')
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match=r'a\.wav: holds no video stream'):
        video.open_videos(tmp_path / 'a.wav')


def test_a_film_of_twenty_minutes_takes_no_more_memory_than_a_short_one(tmp_path):
    frames = 20 * 60
    path = tmp_path / 'long.mp4'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=1, options={'preset': 'ultrafast'})
        stream.width, stream.height, stream.pix_fmt = 256, 192, 'yuv420p'
        image = np.zeros((192, 256, 3), np.uint8)
        for t in range(frames):
            image[:, t % 200 : t % 200 + 50] = t % 251
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))
    program = (
        'import resource, sys\n'
        'from ttp_jax.data import video\n'
        'from ttp_jax.data.people import footage\n'
        'found = video.open_videos(sys.argv[1])[0]\n'
        'most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'footage.shots(found, seconds=20)\n'
        'first = most()\n'
        'print(footage.shots(found)[0], (most() - first) // 1024)\n'
    )
    command = [sys.executable, '-c', program, str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    decoded, more = map(int, told.split())
    assert decoded == frames == found_length(path)
    assert more < 60  # MiB; all frames together are 169


def found_length(path):
    return video.open_videos(path)[0].length()
