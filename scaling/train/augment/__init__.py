"""Augmentation of whole batches on the device: pure functions of images and a draw."""
