"""Convolutional cells, whose state is an image."""
