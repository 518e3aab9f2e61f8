"""What a violated requirement of each metric is called in SARIF, and where public taxonomies list it.

No body has published a mapping of such requirements to these taxonomies: this one is Quintain's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from quintain.report.ci.cases import CONTRADICTION, FINDING, MISMATCH, REGRESSION
from quintain.results.quantity import Metric
from quintain.results.requirements import ATTACKED_ACCURACY


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """A public list of weaknesses or attacks, in the version that its ids are taken from.

    Args:
        name: As it is called.
        version: Of the list; ids may mean something else in another.
        organization: Who publishes it.
        description: What it lists.
        tag: How tags that name its ids begin.
    """

    name: str
    version: str
    organization: str
    description: str
    tag: str


TAXONOMIES = (
    Taxonomy("CWE", "4.18", "MITRE", "Common Weakness Enumeration: weaknesses of software.", "external/cwe/"),
    Taxonomy(
        "NIST AI 100-2",
        "E2025",
        "NIST",
        "Adversarial Machine Learning: a taxonomy and terminology of attacks and mitigations.",
        "external/nist-aml/",
    ),
    Taxonomy(
        "MITRE ATLAS",
        "5.6.1",
        "MITRE",
        "Adversarial Threat Landscape for Artificial-Intelligence Systems: tactics and techniques.",
        "external/atlas/",
    ),
    Taxonomy(
        "OWASP Machine Learning Security Top Ten",
        "2023, draft 0.3",
        "OWASP",
        "Ten risks of systems that use machine learning.",
        "external/owasp-ml/",
    ),
)
"""Every taxonomy whose ids are named."""

CWE, NIST, ATLAS, OWASP = range(4)
"""Places in ``TAXONOMIES``."""

TAXA: Mapping[tuple[int, str], str] = MappingProxyType(
    {
        (CWE, "CWE-1039"): "Automated recognition that does not handle adversarial input perturbations.",
        (NIST, "NISTAML.022"): "Evasion.",
        (NIST, "NISTAML.032"): "Reconstruction of training data.",
        (NIST, "NISTAML.033"): "Membership inference.",
        (ATLAS, "AML.T0015"): "Evade AI model.",
        (ATLAS, "AML.T0024.000"): "Infer training data membership.",
        (OWASP, "ML01:2023"): "Input manipulation attack.",
        (ATLAS, "AML.T0024.001"): "Invert AI model.",
        (OWASP, "ML03:2023"): "Model inversion attack.",
        (OWASP, "ML04:2023"): "Membership inference attack.",
    }
)
"""What each id that is named stands for, by its taxonomy."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a result of one id means.

    Args:
        name: In camel case, as SARIF's viewers want it.
        summary: What is wrong where it is violated, in one sentence.
        help: What it means, and what to do.
        severity: From 0 to 10, as a string: how GitHub ranks it; empty where it is no matter of security.
        taxa: Where public taxonomies list it, as (place in ``TAXONOMIES``, id).
    """

    name: str
    summary: str
    help: str
    severity: str = ""
    taxa: tuple[tuple[int, str], ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags for those who read no taxonomies: ``external/cwe/cwe-1039``."""
        ids = tuple(f"{TAXONOMIES[place].tag}{taxon.lower().replace(':', '-')}" for place, taxon in self.taxa)
        return ("security", *ids) if self.severity else ids


EVASION = ((CWE, "CWE-1039"), (NIST, "NISTAML.022"), (ATLAS, "AML.T0015"), (OWASP, "ML01:2023"))

_UNDECIDED = (
    "An error says that the bounds prove the requirement to be violated, a warning that they do not decide "
    "it: more examples, stronger attacks or a certificate may."
)

MEMBERSHIP = ((NIST, "NISTAML.033"), (ATLAS, "AML.T0024.000"), (OWASP, "ML04:2023"))

_LESS_LEAK = "Train privately ('quintain privatize'), or require less."

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        Metric.CLEAN_ACCURACY.value: Rule(
            "CleanAccuracy",
            "The accuracy on unchanged inputs is not shown to be as high as required.",
            "Clean accuracy is the fraction of unchanged inputs that the model classifies correctly. "
            f"{_UNDECIDED}",
        ),
        Metric.ROBUST_ACCURACY.value: Rule(
            "RobustAccuracy",
            "The accuracy under the worst allowed change of inputs is not shown to be as high as required.",
            "Robust accuracy is the fraction of inputs that the model classifies correctly whatever change "
            "within the threat is made. Attacks bound it from above, certificates from below. Train with a "
            f"defense ('quintain harden'), or require less. {_UNDECIDED}",
            "7.5",
            EVASION,
        ),
        ATTACKED_ACCURACY: Rule(
            "AccuracyUnderAttack",
            "The accuracy that the attacks of the run left is not as high as required.",
            "Attacked accuracy is the fraction of inputs that none of the attacks of the run broke. Stronger "
            "attacks may break more: robust accuracy is at most as high. Train with a defense "
            "('quintain harden'), or require less. An error says that too little is left, a warning that the "
            "sample is too small to tell.",
            "7.5",
            EVASION,
        ),
        Metric.EPSILON.value: Rule(
            "PrivacyLoss",
            "The privacy loss epsilon is not shown to be as low as required.",
            "Epsilon bounds what anybody may learn from a trained model about one training record. The "
            "accountant bounds it from above, an audit from below. Train with more noise or fewer steps "
            f"('quintain privatize --plan' shows the costs), or require less. {_UNDECIDED}",
            "7.5",
            ((NIST, "NISTAML.033"), (NIST, "NISTAML.032"), (ATLAS, "AML.T0024.000"), (OWASP, "ML04:2023")),
        ),
        Metric.MEMBERSHIP_TPR.value: Rule(
            "MembershipTruePositives",
            "The fraction of training examples that attackers find is not shown to be as low as required.",
            "It is the true-positive rate of the best attack at a false-positive rate: how many of the "
            "training examples it finds while it takes so few others for them. Attacks bound it from below, "
            f"the accountant's trade-off curve from above. {_LESS_LEAK} {_UNDECIDED}",
            "7.5",
            MEMBERSHIP,
        ),
        Metric.MEMBERSHIP_ADVANTAGE.value: Rule(
            "MembershipAdvantage",
            "The advantage of attackers who tell training examples from others is not shown to be as low as "
            "required.",
            "It is the largest difference of true-positive and false-positive rate that an attack reaches. "
            f"Attacks bound it from below, the accountant's delta at epsilon 0 from above. {_LESS_LEAK} "
            f"{_UNDECIDED}",
            "7.5",
            MEMBERSHIP,
        ),
        Metric.REIDENTIFIED.value: Rule(
            "PeopleReidentified",
            "The fraction of people whom a model gives away is not shown to be as low as required.",
            "It is the fraction of the private people whose reconstruction a judge takes for nobody else, "
            f"public people included. Attacks bound it from below. {_LESS_LEAK} {_UNDECIDED}",
            "7.5",
            ((NIST, "NISTAML.032"), (ATLAS, "AML.T0024.001"), (OWASP, "ML03:2023")),
        ),
        CONTRADICTION: Rule(
            "ContradictoryBounds",
            "The lower bound of a quantity lies above its upper bound.",
            "The two bounds come from methods that share no code. If they cross, and chance does not explain "
            "it, one of them is wrong, and no number of the run can be relied on: please report it with the "
            "run folder. A warning says that chance may explain it: run again with another seed.",
        ),
        MISMATCH: Rule(
            "UnfaithfulMechanism",
            "The noise, the sampling or the clipping of private training differs from what was claimed.",
            "The accountant's epsilon holds for a mechanism that was measured to be another one, so that it "
            "is void. Do not release the model, and look for what replaced the mechanism.",
            "9.0",
            ((NIST, "NISTAML.033"), (ATLAS, "AML.T0024.000"), (OWASP, "ML04:2023")),
        ),
        FINDING: Rule(
            "OtherFinding",
            "A command did not pass, by what stands in no claim.",
            "A property of a net is violated or undecided, scores or outputs contradict a claimed epsilon, a "
            "drill did nothing, or an alarm came before there was a record. The message says which.",
        ),
        REGRESSION: Rule(
            "ClaimRegression",
            "A claim of an earlier run is worse in a later one by more than the tolerance.",
            "A bound got worse, or nothing shows that it did not: the claim is missing, is on other data, or "
            "rests on weaker attacks. Both runs need the same data, threats and attacks.",
        ),
    }
)
"""Every rule, by the id that its results name."""
