"""Drawn images that look less drawn: solid bodies, fabric, blurred or busy backgrounds.

Real images show plush toys, figures, renderings and photographs. The styles of the scenes have less
of that. This is for pretraining only (`pretrain`): images of the catalogue are not retouched.
"""

import random

import numpy as np
from PIL import Image, ImageFilter


def retouch(pixels: np.ndarray, labels: np.ndarray, rng: random.Random) -> np.ndarray:
    """Apply each of four effects to an image, or not, at random.

    Args:
        pixels: (n, n, 3) uint8, the image.
        labels: (n, n) uint8, the parts of the creature, 0 in the background.
        rng: decides everything random.

    Returns:
        (n, n, 3) uint8.
    """
    image = pixels.astype(np.float32)
    inside = labels > 0
    if rng.random() < 0.45:
        image = np.where(inside[..., None], image, _background(image, rng))
    if rng.random() < 0.45:
        image = _shade(image, labels, rng)
    if rng.random() < 0.3:
        gain = 1 + rng.uniform(0.1, 0.5) * _noise(len(pixels), rng, rng.uniform(0.0, 0.8))
        image = np.where(inside[..., None], image * gain, image)
    if rng.random() < 0.05:
        grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
        image += (grey[..., None] - image) * rng.uniform(0.5, 1.0)
    return np.clip(image, 0, 255).astype(np.uint8)


def _background(image: np.ndarray, rng: random.Random) -> np.ndarray:
    """Return another background, float32 (n, n, 3) or (3,): plain, a noisy mixture of two colours,
    or the image out of focus."""
    number = rng.random()
    if number < 0.5:
        white = np.full(3, 255, np.float32)
        return white if rng.random() < 0.75 else _random_colour(rng)
    if number < 0.75:
        share = 0.5 + _noise(len(image), rng, rng.uniform(0.3, 1.0))
        return _random_colour(rng) * share + _random_colour(rng) * (1 - share)
    blurred = Image.fromarray(image.astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(rng.uniform(2, 7))
    )
    return np.asarray(blurred, np.float32)


def _shade(image: np.ndarray, labels: np.ndarray, rng: random.Random) -> np.ndarray:
    """Shade the creature like a rounded body, with diffuse light, gloss, and dark seams between
    parts."""
    size_px = len(labels)
    relief = np.zeros(labels.shape, np.float32)
    silhouette = Image.fromarray((labels > 0).astype(np.uint8) * 255)
    for radius in (0.015, 0.05, 0.1):
        relief += radius * _blur(silhouette, radius * size_px)
    heights = np.array([0, *(rng.random() for _ in range(255))], np.float32) * 120 + 100
    heights[0] = 0
    parts = Image.fromarray(heights[labels].astype(np.uint8))
    relief += 0.02 * _blur(parts, 0.012 * size_px)
    down, across = np.gradient(relief * size_px / 128)
    angle = rng.uniform(-2.8, -0.3)
    strength = rng.uniform(4, 14)
    light = -(across * np.cos(angle) + down * np.sin(angle)) * strength
    diffuse = 1 + rng.uniform(0.3, 0.6) * np.tanh(light)
    gloss = rng.choice((0.0, 0.0, 150.0, 230.0)) * np.exp(-((light - 0.7) ** 2) * 30)
    shaded = image * diffuse[..., None] + (gloss * (labels > 0))[..., None]
    return np.where((labels > 0)[..., None], shaded, image)


def _blur(image: Image.Image, radius_px: float) -> np.ndarray:
    """Return a blurred image, float32 (n, n), from 0 to 1."""
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius_px)), np.float32) / 255


def _noise(size_px: int, rng: random.Random, roughness: float) -> np.ndarray:
    """Return noise of several octaves, float32 (n, n, 1), from about −0.5 to 0.5.

    With roughness 1 all octaves have the same weight, which gives a fine grain. With 0 the noise
    looks like big soft clouds.
    """
    total, weights = np.zeros((size_px, size_px), np.float32), 0.0
    for octave in range(1, 7):
        side, weight = 2**octave, (0.3 + 0.7 * roughness) ** octave
        grid = np.frombuffer(rng.randbytes(side * side), np.uint8).reshape(side, side)
        upsampled = Image.fromarray(grid).resize((size_px, size_px), Image.Resampling.BICUBIC)
        total += weight * (np.asarray(upsampled, np.float32) / 255 - 0.5)
        weights += weight
    return (1.6 * total / weights)[..., None]


def _random_colour(rng: random.Random) -> np.ndarray:
    return np.array([rng.uniform(0, 255) for _ in range(3)], np.float32)
