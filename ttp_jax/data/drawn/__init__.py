"""People drawn from a seed: motion, clothes, scenery, and painting them."""
