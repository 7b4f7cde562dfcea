"""A page in the browser for who would rather look than type: `python -m ttp_jax.app`."""
