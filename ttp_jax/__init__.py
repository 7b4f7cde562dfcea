"""Test-time personalization of human pose estimation, in JAX."""
