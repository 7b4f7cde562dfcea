"""One HTML file that tells what was found in a video: it holds its pictures and needs no network.

Contract: text comes in as text and is escaped here; pictures come in as encoded bytes. The video is
inside the file where it is small, and else beside it.
"""

import base64
import html
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ttp_jax.data.skeletons import Skeleton
from ttp_jax.files import whole_file
from ttp_jax.results.exports import charts, stills
from ttp_jax.results.exports.keypoints import Found
from ttp_jax.results.views import Prediction, View

_LARGEST_VIDEO = 12 * 2**20  # bytes that are put into the page

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22262B; max-width: 1180px; margin: 32px auto;
       padding: 0 20px }
h1 { font-size: 24px; margin: 0 0 4px } h2 { margin: 40px 0 8px; font-size: 19px }
h3 { margin: 20px 0 6px; font-size: 15px } p { margin: 4px 0 10px } .faint { color: #6B727C }
.warning { background: #FFF3E6; border-left: 4px solid #D55E00; padding: 6px 12px; margin: 6px 0 }
table { border-collapse: collapse; margin: 8px 0 } td, th { padding: 3px 18px 3px 0;
text-align: right } td:first-child, th:first-child { text-align: left } th { color: #6B727C;
font-weight: normal; border-bottom: 1px solid #E9EBEE }
img, video { max-width: 100%; display: block }
.beside { display: flex; flex-wrap: wrap; gap: 16px } .beside > * { max-width: 570px }
"""


class Still(NamedTuple):
    """A frame that changed: `[H, W, 3]` uint8 RGB; box and joints in its pixels."""

    frame: int
    time: float
    image: np.ndarray
    box: np.ndarray  # [4]
    before: np.ndarray  # [J, 2]
    after: np.ndarray  # [J, 2]


class Story(NamedTuple):
    """What there is to tell of one person."""

    before: Found
    after: Found | None
    losses: np.ndarray  # [steps] of personalization
    stills: Sequence[Still] = ()
    views: Mapping[str, View] | None = None  # phase to one frame as its networks see it
    predictions: Mapping[str, Prediction] | None = None  # phase to the joints in that frame
    verdict: str = ''  # whether personalization helped, in words


def write(
    path: pathlib.Path,
    stories: Sequence[Story],
    *,
    title: str,
    skeleton: Skeleton,
    seconds: Mapping[str, float],
    warnings: Sequence[str] = (),
    video: pathlib.Path | None = None,
    files: Sequence[str] = (),
) -> None:
    """Writes the page.

    Args:
      path: of the HTML file.
      stories: of everyone in the video.
      title: the video's name.
      skeleton: the joints.
      seconds: phase to the seconds it took, compilation included.
      warnings: what the reader should know before they trust the numbers.
      video: the annotated one.
      files: names of the other files beside the page.
    """
    parts = [f'<h1>{html.escape(title)}</h1>', _summary(stories)]
    parts += [f'<div class="warning">{html.escape(text)}</div>' for text in warnings]
    if video is not None:
        parts += ['<h2>Before and after</h2>', _video(video, path.parent)]
    parts += ['<h2>Speed</h2>', _speed(stories, seconds)]
    for story in stories:
        parts += _person(story, skeleton)
    if files:
        links = ', '.join(f'<a href="{html.escape(f)}">{html.escape(f)}</a>' for f in files)
        parts += ['<h2>Files</h2>', f'<p>{links}</p>']
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
    )
    page += (
        f'</title><style>{_STYLE}</style></head><body>\n' + '\n'.join(parts) + '\n</body></html>\n'
    )
    with whole_file.replacing(path) as temporary:
        temporary.write_text(page, encoding='utf-8')


def _summary(stories: Sequence[Story]) -> str:
    frames = sum(len(story.before.frames) for story in stories)
    people = '1 person' if len(stories) == 1 else f'{len(stories)} people'
    adapted = sum(story.after is not None for story in stories)
    done = f'personalized to {adapted} of them' if len(stories) > 1 else 'personalized to them'
    text = f'{people}, {frames:,} frames, {done if adapted else "not personalized"}.'
    return f'<p class="faint">{text} Left limbs are amber, right limbs blue.</p>'


def _video(video: pathlib.Path, folder: pathlib.Path) -> str:
    source = str(video.relative_to(folder)) if video.is_relative_to(folder) else str(video)
    if video.stat().st_size <= _LARGEST_VIDEO:
        source = _data('video/mp4', video.read_bytes())
    return f'<video controls loop muted src="{html.escape(source)}"></video>'


def _speed(stories: Sequence[Story], seconds: Mapping[str, float]) -> str:
    frames = sum(len(story.before.frames) for story in stories)
    rows = ''.join(
        f'<tr><td>{html.escape(name)}</td><td>{taken:.1f}</td><td>{frames / taken:.1f}</td></tr>'
        for name, taken in seconds.items()
        if taken > 0
    )
    head = '<tr><th></th><th>seconds</th><th>frames per second</th></tr>'
    note = '<p class="faint">Wall clock, compilation included.</p>'
    return f'<table>{head}{rows}</table>{note}'


def _person(story: Story, skeleton: Skeleton) -> list[str]:
    before, after = story.before, story.after
    parts = [f'<h2>Person {html.escape(before.person)}</h2>']
    if story.verdict:
        parts.append(f'<p>{html.escape(story.verdict)}</p>')
    curves = [('Confidence', charts.confidence(before, after))]
    if after is not None:
        curves.append(('How far joints moved', charts.changes(before, after)))
    if np.size(story.losses):
        curves.append(('Loss while personalizing', charts.losses(story.losses)))
    figures = [f'<div><h3>{name}</h3>{_picture(charts.png(f))}</div>' for name, f in curves]
    parts.append(f'<div class="beside">{"".join(figures)}</div>')
    if story.stills:
        parts += ['<h3>Frames that changed most</h3>', _stills(story.stills, skeleton)]
    if story.views and story.predictions:
        parts += ['<h3>One frame through the model</h3>', _VIEWS_CAPTION]
        parts.append(
            _picture(stills.png(stills.seen(story.views, story.predictions, skeleton=skeleton)))
        )
    parts.append('<h3>Where each joint was</h3>')
    parts.append(_picture(charts.png(charts.trajectories(before, after, skeleton=skeleton))))
    return parts


_VIEWS_CAPTION = (
    '<p class="faint">The source lends its looks, the keypoints of the target say where everything '
    'is, and from both the target is rebuilt: what the network learned without labels. Joints are '
    'read from the keypoints that lines lead to; the wider the line, the more weight.</p>'
)


def _stills(found: Sequence[Still], skeleton: Skeleton) -> str:
    pictures = [
        stills.change(
            still.image,
            still.box,
            still.before,
            still.after,
            skeleton=skeleton,
            title=f'frame {still.frame} ({still.time:.1f} s)',
        )
        for still in found
    ]
    shown = ''.join(f'<div>{_picture(stills.jpeg(p), "image/jpeg")}</div>' for p in pictures)
    return f'<div class="beside">{shown}</div>'


def _picture(data: bytes, kind: str = 'image/png') -> str:
    return f'<img alt="" src="{_data(kind, data)}">'


def _data(kind: str, data: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'
