"""One run of the whole job: built from its config, phase by phase, resumed where it stopped."""
