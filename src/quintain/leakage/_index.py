"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.leakage.attributes.posterior import AttributePosterior as AttributePosterior
    from quintain.leakage.attributes.shadow import AttributeShadow as AttributeShadow
    from quintain.leakage.audit.bayesian import audit_bayesian as audit_bayesian
    from quintain.leakage.audit.gaussian_audit import audit_gaussian as audit_gaussian
    from quintain.leakage.audit.gaussian_pair import audit_gaussian_pair as audit_gaussian_pair
    from quintain.leakage.audit.many_runs import audit_many_runs as audit_many_runs
    from quintain.leakage.audit.many_runs import audit_profile as audit_profile
    from quintain.leakage.audit.one_run import audit_one_run as audit_one_run
    from quintain.leakage.audit.trade_off import audit_gaussian_curve as audit_gaussian_curve
    from quintain.leakage.audit.trade_off import audit_plan_curve as audit_plan_curve
    from quintain.leakage.extraction.active import ActiveExtraction as ActiveExtraction
    from quintain.leakage.extraction.knockoff import Knockoff as Knockoff
    from quintain.leakage.identity.draws import InversionDraws as InversionDraws
    from quintain.leakage.identity.gradient import InversionGradient as InversionGradient
    from quintain.leakage.identity.labels import InversionLabels as InversionLabels
    from quintain.leakage.identity.scores import InversionScores as InversionScores
    from quintain.leakage.membership.label_only import LabelOnly as LabelOnly
    from quintain.leakage.membership.lira import LiRA as LiRA
    from quintain.leakage.membership.lira_offline import OfflineLiRA as OfflineLiRA
    from quintain.leakage.membership.loss_threshold import LossThreshold as LossThreshold
    from quintain.leakage.membership.quantile_regression import QuantileRegression as QuantileRegression
    from quintain.leakage.membership.rmia import RMIA as RMIA
    from quintain.leakage.memorization.calibrated import CalibratedCanaryLoss as CalibratedCanaryLoss
    from quintain.leakage.memorization.canary_loss import CanaryLoss as CanaryLoss
    from quintain.leakage.updates.dense_layer import DenseLayer as DenseLayer
    from quintain.leakage.updates.fedavg_inversion import FedAvgInversion as FedAvgInversion
    from quintain.leakage.updates.gradient_inversion import GradientInversion as GradientInversion
    from quintain.leakage.updates.imprint import ImprintLayer as ImprintLayer
    from quintain.leakage.updates.inconsistent_models import isolating_models as isolating_models
    from quintain.leakage.updates.inconsistent_recipes import isolating_recipes as isolating_recipes
    from quintain.leakage.updates.neighboring_sums import subtract_sums as subtract_sums
    from quintain.leakage.updates.participation import solve_participation as solve_participation

EXPORTS: dict[str, str] = {
    "ActiveExtraction": "quintain.leakage.extraction.active",
    "AttributePosterior": "quintain.leakage.attributes.posterior",
    "AttributeShadow": "quintain.leakage.attributes.shadow",
    "Auditor": "quintain.leakage.audit.auditor",
    "BlackBoxTraining": "quintain.leakage.black_box",
    "CalibratedCanaryLoss": "quintain.leakage.memorization.calibrated",
    "CanaryLoss": "quintain.leakage.memorization.canary_loss",
    "CanaryNet": "quintain.leakage.canaries",
    "CanaryRun": "quintain.leakage.canaries",
    "Candidates": "quintain.leakage.attack",
    "DenseLayer": "quintain.leakage.updates.dense_layer",
    "EpsilonAudit": "quintain.leakage.audit.result",
    "EpsilonDelta": "quintain.leakage.judges.trade_off",
    "Experiment": "quintain.leakage.audit.experiment",
    "FedAvgInversion": "quintain.leakage.updates.fedavg_inversion",
    "GaussianAudit": "quintain.leakage.audit.gaussian_audit",
    "GradientInversion": "quintain.leakage.updates.gradient_inversion",
    "Guess": "quintain.leakage.attack",
    "HiddenAttribute": "quintain.leakage.hidden_attribute",
    "ImprintLayer": "quintain.leakage.updates.imprint",
    "InPlaceTrainer": "quintain.leakage.shadow_models",
    "InversionDraws": "quintain.leakage.identity.draws",
    "InversionGradient": "quintain.leakage.identity.gradient",
    "InversionLabels": "quintain.leakage.identity.labels",
    "InversionResult": "quintain.leakage.updates.gradient_inversion",
    "InversionScores": "quintain.leakage.identity.scores",
    "Knockoff": "quintain.leakage.extraction.knockoff",
    "Knowledge": "quintain.leakage.knowledge",
    "LabelOnly": "quintain.leakage.membership.label_only",
    "LeakJudgment": "quintain.leakage.attack",
    "LeakageAttack": "quintain.leakage.attack",
    "LiRA": "quintain.leakage.membership.lira",
    "LocalSteps": "quintain.leakage.local_steps",
    "LossThreshold": "quintain.leakage.membership.loss_threshold",
    "ModelView": "quintain.leakage.view",
    "OfflineLiRA": "quintain.leakage.membership.lira_offline",
    "OneRunAudit": "quintain.leakage.audit.one_run",
    "ProfileFamily": "quintain.leakage.audit.profiles",
    "QuantileRegression": "quintain.leakage.membership.quantile_regression",
    "RMIA": "quintain.leakage.membership.rmia",
    "ReconstructionAttack": "quintain.leakage.protocols",
    "ShadowModels": "quintain.leakage.shadow_models",
    "UpdateView": "quintain.leakage.update_view",
    "audit_bayesian": "quintain.leakage.audit.bayesian",
    "audit_gaussian": "quintain.leakage.audit.gaussian_audit",
    "audit_gaussian_curve": "quintain.leakage.audit.trade_off",
    "audit_gaussian_pair": "quintain.leakage.audit.gaussian_pair",
    "audit_many_runs": "quintain.leakage.audit.many_runs",
    "audit_one_run": "quintain.leakage.audit.one_run",
    "audit_plan_curve": "quintain.leakage.audit.trade_off",
    "audit_profile": "quintain.leakage.audit.many_runs",
    "block_attribute": "quintain.leakage.hidden_attribute",
    "coordinate_measurements": "quintain.leakage.coordinates",
    "feature_attribute": "quintain.leakage.hidden_attribute",
    "insert_canaries": "quintain.leakage.canary_rows",
    "invert_gradient": "quintain.leakage.updates.gradient_inversion",
    "isolating_models": "quintain.leakage.updates.inconsistent_models",
    "isolating_recipes": "quintain.leakage.updates.inconsistent_recipes",
    "joint_bound": "quintain.leakage.audit.repeats",
    "judge_membership": "quintain.leakage.judges.membership",
    "max_auditable_epsilon": "quintain.leakage.audit.one_run",
    "patch_attribute": "quintain.leakage.hidden_attribute",
    "plant_imprint": "quintain.leakage.updates.imprint",
    "read_imprint": "quintain.leakage.updates.imprint",
    "read_scores": "quintain.leakage.audit.score_files",
    "repetitions": "quintain.leakage.audit.repeats",
    "solve_participation": "quintain.leakage.updates.participation",
    "subtract_sums": "quintain.leakage.updates.neighboring_sums",
    "train_shadows": "quintain.leakage.shadow_models",
    "train_with_canaries": "quintain.leakage.canaries",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "leak",
        "attribute-posterior",
        "quintain.leakage.attributes.posterior:AttributePosterior",
        "a hidden attribute: the value at which the model is surest of the label",
        guarantee="a guess: what it finds beyond an imputer is what the model gives away",
        facts=(
            ("goal", "attributes"),
            ("access", "scores"),
            ("needs", "public attribute"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "leak",
        "attribute-shadow",
        "quintain.leakage.attributes.shadow:AttributeShadow",
        "a hidden attribute, by the answers' weight on a model of the attacker's own",
        guarantee="a guess: what it finds beyond an imputer is what the model gives away",
        facts=(
            ("goal", "attributes"),
            ("access", "scores"),
            ("needs", "public attribute"),
            ("default_rank", "2"),
        ),
    ),
    Entry(
        "leak",
        "active-extraction",
        "quintain.leakage.extraction.active:ActiveExtraction",
        "a copy of the model, which chooses in rounds what to query next",
        guarantee="a witness: the copy agrees with the model on as many held-out examples",
        facts=(
            ("goal", "agreement"),
            ("access", "scores"),
            ("needs", "public"),
            ("default_rank", "2"),
        ),
    ),
    Entry(
        "leak",
        "knockoff",
        "quintain.leakage.extraction.knockoff:Knockoff",
        "a copy of the model, trained on its answers to random public examples",
        guarantee="a witness: the copy agrees with the model on as many held-out examples",
        facts=(
            ("goal", "agreement"),
            ("access", "labels"),
            ("needs", "public"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "leak",
        "inversion-draws",
        "quintain.leakage.identity.draws:InversionDraws",
        "the face of a class (model inversion), as the best of random draws: a reference",
        guarantee=(
            "a witness: a person that a judge knows again has leaked; what it does not find may leak all "
            "the same"
        ),
        facts=(
            ("goal", "identity"),
            ("access", "scores"),
            ("needs", "public"),
            ("default_rank", "4"),
        ),
    ),
    Entry(
        "leak",
        "inversion-gradient",
        "quintain.leakage.identity.gradient:InversionGradient",
        "the face of a class (model inversion), by gradient ascent among pictures like public ones",
        guarantee=(
            "a witness: a person that a judge knows again has leaked; what it does not find may leak all "
            "the same"
        ),
        facts=(
            ("goal", "identity"),
            ("access", "gradients"),
            ("needs", "public"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "leak",
        "inversion-labels",
        "quintain.leakage.identity.labels:InversionLabels",
        "the face of a class (model inversion), by labels alone: the middle of its region",
        guarantee=(
            "a witness: a person that a judge knows again has leaked; what it does not find may leak all "
            "the same"
        ),
        facts=(
            ("goal", "identity"),
            ("access", "labels"),
            ("needs", "public"),
            ("default_rank", "3"),
        ),
    ),
    Entry(
        "leak",
        "inversion-scores",
        "quintain.leakage.identity.scores:InversionScores",
        "the face of a class (model inversion), by scores: CMA-ES among likely pictures",
        guarantee=(
            "a witness: a person that a judge knows again has leaked; what it does not find may leak all "
            "the same"
        ),
        facts=(
            ("goal", "identity"),
            ("access", "scores"),
            ("needs", "public"),
            ("default_rank", "2"),
        ),
    ),
    Entry(
        "leak",
        "label-only",
        "quintain.leakage.membership.label_only:LabelOnly",
        "membership by how often changed copies keep their label",
        guarantee="a witness: members rank above others as often as measured; other attacks may find more",
        facts=(
            ("goal", "membership"),
            ("access", "labels"),
            ("default_rank", "3"),
        ),
    ),
    Entry(
        "leak",
        "lira",
        "quintain.leakage.membership.lira:LiRA",
        "membership by the likelihood ratio over shadow models with and without it",
        guarantee="a witness: members rank above others as often as measured; other attacks may find more",
        facts=(
            ("goal", "membership"),
            ("access", "scores"),
            ("needs", "shadows"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "leak",
        "lira-offline",
        "quintain.leakage.membership.lira_offline:OfflineLiRA",
        "membership by how unusual the confidence is among shadow models without it",
        guarantee="a witness: members rank above others as often as measured; other attacks may find more",
        facts=(
            ("goal", "membership"),
            ("access", "scores"),
            ("needs", "shadows"),
        ),
    ),
    Entry(
        "leak",
        "loss-threshold",
        "quintain.leakage.membership.loss_threshold:LossThreshold",
        "membership by the loss alone",
        guarantee="a witness: members rank above others as often as measured; other attacks may find more",
        facts=(
            ("goal", "membership"),
            ("access", "scores"),
            ("default_rank", "2"),
        ),
    ),
    Entry(
        "leak",
        "quantile-regression",
        "quintain.leakage.membership.quantile_regression:QuantileRegression",
        "membership by a confidence that is high for such an example, by public examples",
        guarantee="a witness: members rank above others as often as measured; other attacks may find more",
        facts=(
            ("goal", "membership"),
            ("access", "scores"),
            ("needs", "public"),
        ),
    ),
    Entry(
        "leak",
        "rmia",
        "quintain.leakage.membership.rmia:RMIA",
        "membership by the likelihood ratio against that of public examples",
        guarantee="a witness: members rank above others as often as measured; other attacks may find more",
        facts=(
            ("goal", "membership"),
            ("access", "scores"),
            ("needs", "public shadows"),
        ),
    ),
    Entry(
        "leak",
        "calibrated-canary-loss",
        "quintain.leakage.memorization.calibrated:CalibratedCanaryLoss",
        "canaries among unused patterns, by the loss beyond that of the attacker's own net",
        guarantee="a guess: canaries before unused patterns of the same law were memorized",
        facts=(
            ("goal", "exposure"),
            ("access", "scores"),
            ("needs", "public"),
            ("default_rank", "2"),
        ),
    ),
    Entry(
        "leak",
        "canary-loss",
        "quintain.leakage.memorization.canary_loss:CanaryLoss",
        "canaries among patterns that were not used, by the loss of their labels",
        guarantee="a guess: canaries before unused patterns of the same law were memorized",
        facts=(
            ("goal", "exposure"),
            ("access", "scores"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "leak",
        "dense-layer",
        "quintain.leakage.updates.dense_layer:DenseLayer",
        "pictures behind an update of a net that begins with a linear layer, in closed form",
        guarantee="exact for one example and one step; else a witness of what it finds",
        facts=(
            ("goal", "pictures"),
            ("access", "update"),
            ("default_rank", "2"),
        ),
    ),
    Entry(
        "leak",
        "fedavg-inversion",
        "quintain.leakage.updates.fedavg_inversion:FedAvgInversion",
        "pictures behind several local steps, by unrolling the site's training",
        guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
        facts=(
            ("goal", "pictures"),
            ("access", "update"),
        ),
    ),
    Entry(
        "leak",
        "gradient-inversion",
        "quintain.leakage.updates.gradient_inversion:GradientInversion",
        "pictures behind an update, from its first linear layer and by gradient matching",
        guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
        facts=(
            ("goal", "pictures"),
            ("access", "update"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "leak",
        "imprint-layer",
        "quintain.leakage.updates.imprint:ImprintLayer",
        "pictures out of a sum of updates, by a layer that a malicious server sends",
        guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
        facts=(
            ("goal", "pictures"),
            ("access", "sum"),
            ("needs", "public"),
            ("default_rank", "3"),
        ),
    ),
    Entry(
        "leak",
        "inconsistent-models",
        "quintain.leakage.updates.inconsistent_models:isolating_models",
        (
            "one site's update as the sum, since all others get a net with dead units (a malicious server)"
        ),
        guarantee="a witness: but for the output layer the sum is the target's update",
        facts=(
            ("goal", "updates"),
            ("access", "sum"),
        ),
    ),
    Entry(
        "leak",
        "inconsistent-recipes",
        "quintain.leakage.updates.inconsistent_recipes:isolating_recipes",
        (
            "one site's update as the sum, since all others get a learning rate of 1e-9 (a malicious "
            "server)"
        ),
        guarantee="a witness: the sum is the target's update, up to what the others move by",
        facts=(
            ("goal", "updates"),
            ("access", "sum"),
        ),
    ),
    Entry(
        "leak",
        "neighboring-sums",
        "quintain.leakage.updates.neighboring_sums:subtract_sums",
        "one site's update from two sums that differ in it (what a server sees of two rounds)",
        guarantee="a witness: exact over one model; over two it is off by what the other updates changed by",
        facts=(
            ("goal", "updates"),
            ("access", "sum"),
        ),
    ),
    Entry(
        "leak",
        "participation-matrix",
        "quintain.leakage.updates.participation:solve_participation",
        "mean updates of single sites from the sums of many rounds and who was in each",
        guarantee="a witness: exact if sites send the same in all rounds; off by what their updates change",
        facts=(
            ("goal", "updates"),
            ("access", "sum"),
        ),
    ),
    Entry(
        "audit",
        "bayesian",
        "quintain.leakage.audit.bayesian:audit_bayesian",
        "a credible lower limit of epsilon from many training runs with one canary each",
        guarantee="credible with probability confidence under a Jeffreys prior; no promise of coverage",
        facts=(
            ("scores_of", "runs"),
            ("rests_on_assumption", "yes"),
        ),
    ),
    Entry(
        "audit",
        "gaussian",
        "quintain.leakage.audit.gaussian_audit:audit_gaussian",
        "a lower bound on epsilon from one run, for independent scores with a Gaussian trade-off",
        guarantee=(
            "exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are "
            "fair and independent, and so are the scores, with a Gaussian's trade-off curve"
        ),
        facts=(
            ("rests_on_assumption", "yes"),
        ),
    ),
    Entry(
        "audit",
        "gaussian-curve",
        "quintain.leakage.audit.trade_off:audit_gaussian_curve",
        "a test of Gaussian trade-off curves, by the canaries of one training run",
        guarantee=(
            "exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are "
            "fair and independent and the trade-off curve of each canary is a Gaussian's"
        ),
        facts=(
            ("rests_on_assumption", "yes"),
        ),
    ),
    Entry(
        "audit",
        "gaussian-pair",
        "quintain.leakage.audit.gaussian_pair:audit_gaussian_pair",
        "an estimate of epsilon from white-box scores, as two Gaussians of one variance",
        guarantee=(
            "an estimate: exceeds the true epsilon with probability at most 1 - confidence if scores are "
            "independent and exactly normal with one variance"
        ),
        facts=(
            ("rests_on_assumption", "yes"),
        ),
    ),
    Entry(
        "audit",
        "many-runs",
        "quintain.leakage.audit.many_runs:audit_many_runs",
        "a lower bound on epsilon from many training runs with one canary each",
        guarantee=(
            "exceeds the true epsilon with probability at most 1 - confidence, if the runs are independent"
        ),
        facts=(
            ("scores_of", "runs"),
        ),
    ),
    Entry(
        "audit",
        "one-run",
        "quintain.leakage.audit.one_run:audit_one_run",
        "a lower bound on epsilon from the canaries of one training run",
        guarantee=(
            "exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are "
            "fair and independent"
        ),
        facts=(
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "audit",
        "plan-curve",
        "quintain.leakage.audit.trade_off:audit_plan_curve",
        "a test of the plan's own trade-off curve, by the canaries of one training run",
        guarantee=(
            "crosses a true claim with probability at most 1 - confidence, if the inclusion coins are fair "
            "and independent; below the claim its value is that of the plan with more noise"
        ),
        facts=(
            ("needs", "profiles"),
        ),
    ),
    Entry(
        "audit",
        "profile",
        "quintain.leakage.audit.many_runs:audit_profile",
        "a test of a privacy profile, by many independent scores such as those of single steps",
        guarantee=(
            "crosses a true claim with probability at most 1 - confidence, if the scores are independent; "
            "below the claim its value is that of the plan with more noise"
        ),
        facts=(
            ("scores_of", "runs"),
            ("needs", "profiles"),
        ),
    ),
)
