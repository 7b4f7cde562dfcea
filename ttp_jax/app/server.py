"""What the page asks for: itself, a new job, how a job is going, and its files.

Contract: `GET /` the page; `POST /jobs` with the form's files `video` and maybe `boxes`, and
`schedule`; `GET /jobs/ID` what `Job.told` says; `GET /jobs/ID/files/NAME` a file, or a part of one,
as a browser asks for while it moves along a video. Errors are JSON `{"error": one line}`.
"""

import pathlib

import flask
from werkzeug.utils import secure_filename

from ttp_jax.app.jobs import Job, Jobs
from ttp_jax.data.video import VIDEOS

SCHEDULES = ('offline', 'online', 'none')


def create(jobs: Jobs) -> flask.Flask:
    """The application, which answers for these jobs."""
    app = flask.Flask('ttp_jax.app')

    @app.get('/')
    def page():
        return flask.send_file(pathlib.Path(__file__).with_name('page.html'))

    @app.post('/jobs')
    def new_job():
        return jobs.add(_dropped(jobs)).told(), 201

    @app.get('/jobs/<id>')
    def status(id: str):
        return _known(jobs, id).told()

    @app.get('/jobs/<id>/files/<name>')
    def file(id: str, name: str):
        return flask.send_from_directory(_known(jobs, id).results, name)

    @app.errorhandler(ValueError)
    def wrong(error: ValueError):
        return {'error': str(error)}, 400

    return app


def _known(jobs: Jobs, id: str) -> Job:
    if id not in jobs.known:
        flask.abort(404)
    return jobs.known[id]


def _dropped(jobs: Jobs) -> Job:
    """A job of what the form holds. Raises ValueError for what is no video or no schedule."""
    form, sent = flask.request.form, flask.request.files
    schedule = form.get('schedule', 'offline')
    if schedule not in SCHEDULES:
        raise ValueError(f'schedule is {schedule!r}, expected one of {", ".join(SCHEDULES)}')
    video, boxes = sent.get('video'), sent.get('boxes')
    name = secure_filename(video.filename or '') if video else ''
    if not video or not name.lower().endswith(VIDEOS):
        raise ValueError(f'{name or "nothing"} was dropped, expected a video: {" ".join(VIDEOS)}')
    folder = jobs.new_folder()
    video.save(folder / 'input' / name)
    where = None
    if boxes and boxes.filename:
        where = folder / ('boxes' + pathlib.Path(secure_filename(boxes.filename)).suffix)
        boxes.save(where)
    return Job(folder, folder / 'input' / name, where, schedule)
