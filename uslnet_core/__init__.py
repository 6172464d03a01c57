"""USL-Net: segment skin lesions in dermoscopic images with no labels at all."""

__version__ = "0.1.0"
