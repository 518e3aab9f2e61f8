"""Words that are stored in records as text and compared as text."""

ONLY_MODEL = "model"
"""The name of the model of a run that is about one, such as that of ``quintain attack``."""

UNCHANGED = "unchanged"
"""What an example is said to be broken by that is misclassified without any change."""

CLEAN_ERRORS_ONLY = "unchanged examples"
"""The method of an upper bound for which nothing was attacked: only clean errors are counted."""

DIAGNOSTICS = "diagnostics"
"""In place of an attack's name, where the diagnostics alone broke an example."""

REPLAY_OF = "replay of "
"""How the name of an attack begins whose adversarial examples were made on another model."""

AIMED_AT = " aimed at class "
"""What stands between the name of an attack and the number of the class that it aims at, in the method of a
bound: a prediction of another class is no break.
"""

INTERVAL_BOUNDS = "interval bounds"
"""The method of a certificate by interval bound propagation."""

CROWN_BOUNDS = "linear bounds (CROWN)"
"""The method of a certificate by linear bounds, backward from each nonlinear layer."""

CROWN_IBP_BOUNDS = "linear bounds (CROWN-IBP)"
"""The method of a certificate by linear bounds over intervals of the layers before."""

BRANCH_AND_BOUND = "branch and bound"
"""The method of a certificate by linear bounds over parts of the threat."""

RANDOMIZED_SMOOTHING = "randomized smoothing"
"""The method of a certificate of the smoothed model."""

UNIFORM_SMOOTHING = "randomized smoothing by uniform noise"
"""The same under uniform noise, for L1."""

LAPLACE_SMOOTHING = "randomized smoothing by Laplace noise"
"""The same under Laplace noise, for L1."""

LIPSCHITZ_BOUNDS = "Lipschitz constants"
"""The method of a certificate by global Lipschitz constants."""

ABLATION = "derandomized smoothing"
"""The method of a certificate of the ablated model, against stickers."""

NO_ATTACK = "no attack: "
"""How the description of a picture begins that an attacker has without any update."""
