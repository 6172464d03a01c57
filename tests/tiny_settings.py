"""Settings of trainings that take seconds, for fixtures and for the processes that tests start."""

TINY = {
    "images": {"count": 16, "size": 32},
    "contrastive": {  # views so alike that two steps are enough to be healthy
        "epochs": 1,
        "batch_size": 8,
        "crop": 32,
        "crop_area": (0.8, 1.0),
        "jitter": 0.0,
        "grey": 0.0,
        "learning_rate": 1e-3,
        "hidden": 128,
    },
    "saliency": {"epochs": 10, "batch_size": 8},
    "uncertainty": {"low": 0.45, "high": 0.55, "min_area": 0.005, "exclusion": 1.0},  # maps of 2 × 2 cells keep all
    "segmenter": {"width": 16, "batch_size": 8},
    "refinement": {"iterations": 2, "first_epochs": 1, "epochs": 1},
    "evaluation": {"resamples": 20},
    "compute": {"device": "cpu", "precision": "32-true"},
}
