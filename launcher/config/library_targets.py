"""Names of libraries that a config may name as a `_target_`, where a whole package of theirs would be too much."""

from __future__ import annotations

# Whole packages of scikit-learn are not safe: sklearn.utils can start a process. These hold estimators and splitters.
SKLEARN = tuple(
    f"sklearn.{package}.*"
    for package in (
        "calibration", "cluster", "compose", "cross_decomposition", "decomposition", "discriminant_analysis", "dummy",
        "ensemble", "feature_extraction", "feature_selection", "gaussian_process", "impute", "isotonic",
        "kernel_approximation", "kernel_ridge", "linear_model", "mixture", "model_selection", "multiclass", "naive_bayes",
        "neighbors", "neural_network", "pipeline", "preprocessing", "random_projection", "semi_supervised", "svm", "tree",
    )
)  # fmt: skip
SCHEDULES = tuple(
    f"transformers.optimization.get_{name}"
    for name in (
        "constant_schedule", "constant_schedule_with_warmup", "cosine_schedule_with_warmup", "inverse_sqrt_schedule",
        "cosine_with_hard_restarts_schedule_with_warmup", "cosine_with_min_lr_schedule_with_warmup",
        "linear_schedule_with_warmup", "polynomial_decay_schedule_with_warmup", "wsd_schedule",
    )
)  # fmt: skip
"""Functions that cannot be marked as factories, and that do no more than make a schedule."""

SAMPLERS = tuple(f"hydra_plugins.hydra_optuna_sweeper._impl.create_{name}_sampler" for name in ("nsgaii", "nsgaiii"))
"""Functions that cannot be marked either, and that do no more than make a sampler."""
