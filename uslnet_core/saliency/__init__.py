"""Saliency maps from contrastive features (paper section 3.3)."""
