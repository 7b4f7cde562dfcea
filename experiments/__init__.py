"""Studies made with ttp_jax, scripts and packages; README.md says what was found."""
