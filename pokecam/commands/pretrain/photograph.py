"""Drawn images made to look less drawn: solid bodies, fabric, blurred or busy grounds.

For pretraining only (`pretrain`): real images show plush toys, figures, renderings
and photographs, and the scenes' own styles hold less of that. The catalogue's images are never
treated so.
"""

import random

import numpy as np
from PIL import Image, ImageFilter


def retouch(pixels: np.ndarray, labels: np.ndarray, rng: random.Random) -> np.ndarray:
    """Treat an image by lot; several of the effects, one or none of them.

    pixels  uint8 (n, n, 3)       labels  uint8 (n, n), 0 where the creature is not
    Returns uint8 (n, n, 3).
    """
    image = pixels.astype(np.float32)
    inside = labels > 0
    if rng.random() < 0.45:
        image = np.where(inside[..., None], image, _ground(image, rng))
    if rng.random() < 0.45:
        image = _solid(image, labels, rng)
    if rng.random() < 0.3:
        gain = 1 + rng.uniform(0.1, 0.5) * _clouds(len(pixels), rng, rng.uniform(0.0, 0.8))
        image = np.where(inside[..., None], image * gain, image)
    if rng.random() < 0.05:
        grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
        image += (grey[..., None] - image) * rng.uniform(0.5, 1.0)
    return np.clip(image, 0, 255).astype(np.uint8)


def _ground(image: np.ndarray, rng: random.Random) -> np.ndarray:
    """Another ground, float32 (n, n, 3) or (3,): plain, clouds of two colours, or defocused."""
    kind = rng.random()
    if kind < 0.5:
        white = np.full(3, 255, np.float32)
        return white if rng.random() < 0.75 else _colour(rng)
    if kind < 0.75:
        share = 0.5 + _clouds(len(image), rng, rng.uniform(0.3, 1.0))
        return _colour(rng) * share + _colour(rng) * (1 - share)
    blurred = Image.fromarray(image.astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(rng.uniform(2, 7))
    )
    return np.asarray(blurred, np.float32)


def _solid(image: np.ndarray, labels: np.ndarray, rng: random.Random) -> np.ndarray:
    """The creature lit as a rounded body: diffuse light, a gloss, darker seams between parts."""
    size_px = len(labels)
    bulge = np.zeros(labels.shape, np.float32)
    silhouette = Image.fromarray((labels > 0).astype(np.uint8) * 255)
    for radius in (0.015, 0.05, 0.1):
        bulge += radius * _blurred(silhouette, radius * size_px)
    steps = np.array([0, *(rng.random() for _ in range(255))], np.float32) * 120 + 100
    steps[0] = 0
    parts = Image.fromarray(steps[labels].astype(np.uint8))
    bulge += 0.02 * _blurred(parts, 0.012 * size_px)
    down, across = np.gradient(bulge * size_px / 128)
    turn = rng.uniform(-2.8, -0.3)
    light = rng.uniform(4, 14)
    lit = -(across * np.cos(turn) + down * np.sin(turn)) * light
    diffuse = 1 + rng.uniform(0.3, 0.6) * np.tanh(lit)
    gloss = rng.choice((0.0, 0.0, 150.0, 230.0)) * np.exp(-((lit - 0.7) ** 2) * 30)
    shaded = image * diffuse[..., None] + (gloss * (labels > 0))[..., None]
    return np.where((labels > 0)[..., None], shaded, image)


def _blurred(image: Image.Image, radius_px: float) -> np.ndarray:
    """Float32 (n, n), 0–1."""
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius_px)), np.float32) / 255


def _clouds(size_px: int, rng: random.Random, rough: float) -> np.ndarray:
    """Noise of several octaves, float32 (n, n, 1), about −0.5 to 0.5.

    rough  1: all octaves alike, fine grain; 0: big soft clouds
    """
    total, weights = np.zeros((size_px, size_px), np.float32), 0.0
    for octave in range(1, 7):
        side, weight = 2**octave, (0.3 + 0.7 * rough) ** octave
        grid = np.frombuffer(rng.randbytes(side * side), np.uint8).reshape(side, side)
        wide = Image.fromarray(grid).resize((size_px, size_px), Image.Resampling.BICUBIC)
        total += weight * (np.asarray(wide, np.float32) / 255 - 0.5)
        weights += weight
    return (1.6 * total / weights)[..., None]


def _colour(rng: random.Random) -> np.ndarray:
    return np.array([rng.uniform(0, 255) for _ in range(3)], np.float32)
