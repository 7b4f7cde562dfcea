"""What happens to spoiled input: `python -m experiments.fuzz --count=1000`."""
