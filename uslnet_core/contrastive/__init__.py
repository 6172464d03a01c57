"""Contrastive learning: features from images alone (paper section 3.2, equation 1)."""
