"""Whom a run can work for: a person whose clip is no good costs nobody else anything.

Contract: people of the test split alone. What is wrong with a training clip stops the run before
anything is trained, and so does what is wrong with everybody. A label file of one person that
cannot be read counts as that person's of the test split.
"""

from collections.abc import Callable, Sequence

from ttp_jax.data import clips
from ttp_jax.data.clips import Clip

Refused = dict[str, str]  # why somebody is left out, by id


def usable(people: Sequence[Clip], *, gib: float, strict: bool) -> tuple[list[Clip], Refused]:
    """(those whose clips can be used, decoded if they all fit into memory; why the others cannot).

    Args:
      gib: the memory that decoded frames may take. Where they take more only first frames are
        decoded here, and a later one may turn out to be no good when it is used.
      strict: nobody is left out: the first clip that is no good is an error.

    Raises:
      ValueError: for an id that is no file's name, or is there twice; if nobody's clip can be used;
        with `strict` as soon as one cannot.
    """
    clips.check_ids(people)
    found, refused = sorted_out(people, gib=gib, strict=strict)
    if not found:
        several = f'none of {len(people)} people can be used, such as: ' * (len(people) > 1)
        raise ValueError(several + next(iter(refused.values()), 'nobody to personalize to'))
    return found, refused


def sorted_out(people: Sequence[Clip], *, gib: float, strict: bool) -> tuple[list[Clip], Refused]:
    """As `usable`, of a part of the people whose ids are checked: nobody may be usable."""
    found, refused = _apart(people, _checked, strict)
    if found and clips.fit_in(found, gib=gib):
        found, more = _apart(found, clips.decoded, strict)
        refused |= more
    return found, refused


def _checked(clip: Clip) -> Clip:
    """The clip, once all is known to be well that can be seen without decoding every frame."""
    clips.fit_in([clip], gib=0)
    return clip


def _apart(
    people: Sequence[Clip], make: Callable[[Clip], Clip], strict: bool
) -> tuple[list[Clip], Refused]:
    """(what is made of the clips, by id why of some nothing can be made)."""
    found, refused = [], {}
    for clip in people:
        try:
            found.append(make(clip))
        except ValueError as error:
            if strict:
                raise
            refused[clip.id] = str(error)
    return found, refused
