"""The page: what it is given, what it tells, and that a browser shows it."""

import io
import shutil
import sys
import threading
import time

import pytest
import video_files

from ttp_jax.app import jobs as jobs_file
from ttp_jax.app.jobs import Jobs

flask = pytest.importorskip('flask', reason="the page needs pip install 'ttp_jax[app]'")

from ttp_jax.app import server

# Stands in for the program that works on a video: a copy of the video is its result.
GOOD = """
import pathlib, shutil, sys
video, folder = sys.argv[1], pathlib.Path(sys.argv[2])
folder.mkdir()
print('W1125 00:00:00 1 footage.py:3] no boxes were given')
print('decode  : 100%|####| 12/12')
print('offline :  50%|##  | 6/12', flush=True)
shutil.copy(video, folder / 'before_after.mp4')
(folder / 'keypoints.csv').write_text('frame')
(folder / 'report.html').write_text('<h1>report</h1>')
"""
BAD = "import sys; print('offline :  50%|##  | 6/12'); sys.exit('error: clip.mp4: holds no frame')"


def program(text):
    return lambda job: [sys.executable, '-c', text, str(job.video), str(job.results)]


@pytest.fixture
def film(tmp_path):
    return video_files.encode(tmp_path / 'clip.mp4', video_files.moving_square(12)).read_bytes()


def dropped(client, film, **more):
    form = {'video': (io.BytesIO(film), 'my clip.mp4'), 'schedule': 'offline'} | more
    return client.post('/jobs', data=form, content_type='multipart/form-data')


def ended(client, id):
    for _ in range(400):
        told = client.get(f'/jobs/{id}').get_json()
        if told['state'] in ('done', 'failed'):
            return told
        time.sleep(0.05)
    pytest.fail(f'still {told}')


def test_a_video_goes_in_and_its_files_come_out(tmp_path, film):
    client = server.create(Jobs(tmp_path / 'app', program(GOOD))).test_client()
    assert b'Drop a video here' in client.get('/').data
    boxes = {'boxes': (io.BytesIO(b'frame,x1,y1,x2,y2\n'), 'my boxes.csv')}
    answer = dropped(client, film, **boxes)
    assert answer.status_code == 201
    told = ended(client, answer.get_json()['id'])
    assert told['state'] == 'done' and (told['phase'], told['percent']) == ('offline', 50)
    assert told['files'] == ['before_after.mp4', 'keypoints.csv', 'report.html']
    assert told['film'] == {'frames': 12, 'rate': 10.0}
    assert told['warnings'] == ['no boxes were given'] and told['name'] == 'my_clip.mp4'
    folder = f'/jobs/{told["id"]}/files'
    part = client.get(f'{folder}/before_after.mp4', headers={'Range': 'bytes=0-99'})
    assert part.status_code == 206 and part.data == film[:100]
    assert client.get(f'{folder}/../log.txt').status_code == 404
    assert client.get('/jobs/none').status_code == 404


def test_what_went_wrong_is_told_in_one_line(tmp_path, film):
    client = server.create(Jobs(tmp_path / 'app', program(BAD))).test_client()
    told = ended(client, dropped(client, film).get_json()['id'])
    assert told['state'] == 'failed' and told['error'] == 'error: clip.mp4: holds no frame'
    for form, message in (
        ({'video': (io.BytesIO(b''), 'notes.txt')}, 'notes.txt was dropped, expected a video'),
        ({'schedule': 'never'}, "schedule is 'never'"),
    ):
        answer = dropped(client, film, **form)
        assert answer.status_code == 400 and message in answer.get_json()['error']


def test_the_program_that_works_is_started_with_what_was_dropped(tmp_path):
    job = jobs_file.Job(tmp_path, tmp_path / 'a.mp4', None, 'online')
    *_, video, boxes, workdir, schedule = jobs_file.command(job)
    assert (video, boxes, schedule) == (str(tmp_path / 'a.mp4'), '', 'online')
    assert workdir == str(tmp_path / 'run')


def test_the_program_tells_a_fault_in_one_line(tmp_path, capsys):
    from ttp_jax.app import one_video

    with pytest.raises(SystemExit, match=r'error: .*none\.mp4: no such file'):
        one_video.main(str(tmp_path / 'none.mp4'), '', str(tmp_path / 'run'), 'none')


@pytest.fixture
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='no playwright')
    with playwright.sync_playwright() as tool:
        chromium = shutil.which('chromium') or shutil.which('chromium-browser')
        try:
            found = tool.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        except playwright.Error as error:
            pytest.skip(f'no Chromium that starts: {str(error).splitlines()[0]}')
        yield found
        found.close()


def test_a_browser_shows_before_and_after_and_moves_along_the_frames(tmp_path, film, browser):
    from werkzeug.serving import make_server

    app = server.create(Jobs(tmp_path / 'app', program(GOOD)))
    serving = make_server('127.0.0.1', 0, app, threaded=True)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        page = browser.new_page(viewport={'width': 1000, 'height': 900})
        faults = []
        page.on('pageerror', lambda error: faults.append(str(error)))
        page.goto(f'http://127.0.0.1:{serving.server_port}/')
        assert page.locator('#start').is_disabled()
        page.set_input_files('#video', tmp_path / 'clip.mp4')
        page.click('#start')
        page.wait_for_selector('#result', state='visible')
        assert page.inner_text('#count') == '1 / 12'
        page.click('#on')
        page.click('#on')
        assert page.inner_text('#count') == '3 / 12'
        time_there = page.evaluate("document.getElementById('film').currentTime")
        assert time_there == pytest.approx(0.25, abs=0.06)
        assert page.locator('#files a').all_inner_texts() == [
            'before_after.mp4',
            'keypoints.csv',
            'report.html',
        ]
        with page.expect_download() as download:
            page.click('#files a >> text=keypoints.csv')
        assert download.value.suggested_filename == 'keypoints.csv'
        page.screenshot(path=tmp_path / 'page.png')
        assert not faults
    finally:
        serving.shutdown()
