"""Pictures of a run: its data, losses, gains, and what the model sees. One file per kind.

Contract: images are `[H, W, 3]` uint8 RGB, points `(x, y)` in the pixels of the image they belong
to, pixel centres at integers. Every function writes one PNG, makes its folder, and keeps no state.
Whether a joint is right is never decided here: it comes from `metrics`, in image pixels.
"""

from ttp_jax.results.pictures.contact_sheet import contact_sheet
from ttp_jax.results.pictures.curves import loss_curves
from ttp_jax.results.pictures.gains import gain_chart
from ttp_jax.results.pictures.hero import Pair, hero
from ttp_jax.results.pictures.person import person_picture

__all__ = ['Pair', 'contact_sheet', 'gain_chart', 'hero', 'loss_curves', 'person_picture']
