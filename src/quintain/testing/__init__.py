"""Test what you add to Quintain with the laws and fakes that test Quintain itself.

::

    from quintain.testing import check_attack

    def test_my_attack_keeps_the_laws():
        check_attack(MyAttack())

One function for each kind runs all laws that a thing's class variables ask for, and honors its exemptions:
``check_attack``, ``check_threat``, ``check_certifier`` and so on. The laws that they run are functions as
well: each raises an ``AssertionError`` that says what was expected and what was seen, also under
``python -O``. Beside them stand fake models, closed forms and planted bugs. No test framework is needed, nor
imported.
"""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.testing._index import EXPORTS

if TYPE_CHECKING:
    from quintain.testing.aggregation_laws import TamperingTransport as TamperingTransport
    from quintain.testing.aggregation_laws import check_aggregation as check_aggregation
    from quintain.testing.aggregation_laws import check_bad_vectors_refused as check_bad_vectors_refused
    from quintain.testing.aggregation_laws import check_silent_sites as check_silent_sites
    from quintain.testing.aggregation_laws import check_sum_exact as check_sum_exact
    from quintain.testing.aggregation_laws import check_uploads_hide as check_uploads_hide
    from quintain.testing.aggregation_laws import check_weighted_mean as check_weighted_mean
    from quintain.testing.aggregation_laws import site_vectors as site_vectors
    from quintain.testing.attack_cases import SPLITS as SPLITS
    from quintain.testing.attack_cases import example_threat as example_threat
    from quintain.testing.attack_cases import gap_shape as gap_shape
    from quintain.testing.attack_cases import gap_threat as gap_threat
    from quintain.testing.attack_cases import law_threat as law_threat
    from quintain.testing.attack_cases import threat_of_size as threat_of_size
    from quintain.testing.attack_cases import whole_space_threat as whole_space_threat
    from quintain.testing.attack_cases import with_settings as with_settings
    from quintain.testing.attack_edge_laws import check_gradient_mode as check_gradient_mode
    from quintain.testing.attack_edge_laws import check_misclassified_cost as check_misclassified_cost
    from quintain.testing.attack_edge_laws import check_nan_is_error as check_nan_is_error
    from quintain.testing.attack_edge_laws import check_nonfinite_gradient as check_nonfinite_gradient
    from quintain.testing.attack_edge_laws import check_small_batches as check_small_batches
    from quintain.testing.attack_edge_laws import check_unsupported_refused as check_unsupported_refused
    from quintain.testing.attack_edge_laws import check_wider_data_box as check_wider_data_box
    from quintain.testing.attack_edge_laws import check_zero_size as check_zero_size
    from quintain.testing.attack_laws import check_labels_suffice as check_labels_suffice
    from quintain.testing.attack_laws import check_max_queries as check_max_queries
    from quintain.testing.attack_laws import check_no_gradients as check_no_gradients
    from quintain.testing.attack_laws import check_outcomes as check_outcomes
    from quintain.testing.attack_laws import check_queries_counted as check_queries_counted
    from quintain.testing.attack_laws import check_split as check_split
    from quintain.testing.attack_laws import check_split_of as check_split_of
    from quintain.testing.attack_laws import check_targets as check_targets
    from quintain.testing.attack_laws import check_untouched as check_untouched
    from quintain.testing.attack_strength_laws import check_better_than_random as check_better_than_random
    from quintain.testing.attack_strength_laws import check_optimality_gap as check_optimality_gap
    from quintain.testing.attack_strength_laws import check_smallest_change as check_smallest_change
    from quintain.testing.attack_suite import check_attack as check_attack
    from quintain.testing.audit_laws import NULL_SCORES as NULL_SCORES
    from quintain.testing.audit_laws import all_or_nothing as all_or_nothing
    from quintain.testing.audit_laws import check_audit as check_audit
    from quintain.testing.audit_laws import check_audit_level as check_audit_level
    from quintain.testing.audit_laws import check_audit_power as check_audit_power
    from quintain.testing.audit_laws import check_guess_p_value as check_guess_p_value
    from quintain.testing.audit_laws import gaussian_scores as gaussian_scores
    from quintain.testing.audit_laws import randomized_response as randomized_response
    from quintain.testing.certifier_laws import certified_radii as certified_radii
    from quintain.testing.certifier_laws import check_certified_alone as check_certified_alone
    from quintain.testing.certifier_laws import (
        check_certified_model_untouched as check_certified_model_untouched,
    )
    from quintain.testing.certifier_laws import check_certifier as check_certifier
    from quintain.testing.certifier_laws import check_halfspace_certified as check_halfspace_certified
    from quintain.testing.certifier_laws import check_nan_not_certified as check_nan_not_certified
    from quintain.testing.certifier_laws import check_radius_at_most_exact as check_radius_at_most_exact
    from quintain.testing.certifier_laws import check_wrong_not_certified as check_wrong_not_certified
    from quintain.testing.checking import require as require
    from quintain.testing.checking import require_equal as require_equal
    from quintain.testing.checking import run_laws as run_laws
    from quintain.testing.closed_forms import CLOSED_FORMS as CLOSED_FORMS
    from quintain.testing.closed_forms import HalfSpace as HalfSpace
    from quintain.testing.closed_forms import LinearTask as LinearTask
    from quintain.testing.closed_forms import best_linear_gain as best_linear_gain
    from quintain.testing.closed_forms import half_space as half_space
    from quintain.testing.closed_forms import linear_task as linear_task
    from quintain.testing.closed_forms import smallest_linear_change as smallest_linear_change
    from quintain.testing.device_laws import check_attack_device as check_attack_device
    from quintain.testing.endpoint import FakeEndpoint as FakeEndpoint
    from quintain.testing.endpoint import brightness_scores as brightness_scores
    from quintain.testing.endpoint import running_endpoint as running_endpoint
    from quintain.testing.fake_accelerator import FAKE_DEVICE as FAKE_DEVICE
    from quintain.testing.fake_accelerator import FakeDeviceTensor as FakeDeviceTensor
    from quintain.testing.fake_accelerator import MixedDevicesError as MixedDevicesError
    from quintain.testing.fake_accelerator import fake_device as fake_device
    from quintain.testing.fake_accelerator import on_device as on_device
    from quintain.testing.models import FailingModel as FailingModel
    from quintain.testing.models import FragileNet as FragileNet
    from quintain.testing.models import InterruptedCallError as InterruptedCallError
    from quintain.testing.models import LimitedAccessModel as LimitedAccessModel
    from quintain.testing.models import MeanSparse as MeanSparse
    from quintain.testing.models import RecordingModel as RecordingModel
    from quintain.testing.models import batch_invariant_net as batch_invariant_net
    from quintain.testing.models import random_inputs as random_inputs
    from quintain.testing.outcome_laws import check_never_worse as check_never_worse
    from quintain.testing.outcome_laws import check_points_allowed as check_points_allowed
    from quintain.testing.outcome_laws import check_replayable as check_replayable
    from quintain.testing.parametric_laws import check_empty_images as check_empty_images
    from quintain.testing.parametric_laws import check_gradient_at_identity as check_gradient_at_identity
    from quintain.testing.parametric_laws import check_gradients as check_gradients
    from quintain.testing.parametric_laws import check_identity as check_identity
    from quintain.testing.parametric_laws import (
        check_nan_parameters_not_allowed as check_nan_parameters_not_allowed,
    )
    from quintain.testing.parametric_laws import check_no_images_refused as check_no_images_refused
    from quintain.testing.parametric_laws import (
        check_other_parameters_refused as check_other_parameters_refused,
    )
    from quintain.testing.parametric_laws import check_parametric_step as check_parametric_step
    from quintain.testing.parametric_laws import check_projected_parameters as check_projected_parameters
    from quintain.testing.parametric_laws import check_rendered_alike as check_rendered_alike
    from quintain.testing.parametric_laws import check_sampled_parameters as check_sampled_parameters
    from quintain.testing.planted_bugs import ATTACK_BUGS as ATTACK_BUGS
    from quintain.testing.planted_bugs import CERTIFIER_BUGS as CERTIFIER_BUGS
    from quintain.testing.planted_bugs import THREAT_BUGS as THREAT_BUGS
    from quintain.testing.planted_bugs import PlantedBug as PlantedBug
    from quintain.testing.planted_bugs import unprojected as unprojected
    from quintain.testing.privacy_laws import check_record_bounded as check_record_bounded
    from quintain.testing.privacy_laws import check_rule as check_rule
    from quintain.testing.privacy_laws import check_rule_gradients as check_rule_gradients
    from quintain.testing.privacy_laws import contributions as contributions
    from quintain.testing.sticker_laws import check_sticker_edge_cases as check_sticker_edge_cases
    from quintain.testing.sticker_laws import (
        check_stickers_break_nothing_certified as check_stickers_break_nothing_certified,
    )
    from quintain.testing.threat_laws import check_empty_batch as check_empty_batch
    from quintain.testing.threat_laws import check_nan_not_allowed as check_nan_not_allowed
    from quintain.testing.threat_laws import check_projection_idempotent as check_projection_idempotent
    from quintain.testing.threat_laws import check_projection_inside as check_projection_inside
    from quintain.testing.threat_laws import check_projection_nearest as check_projection_nearest
    from quintain.testing.threat_laws import check_sample_inside as check_sample_inside
    from quintain.testing.threat_laws import check_spec as check_spec
    from quintain.testing.threat_laws import check_steepest_step as check_steepest_step
    from quintain.testing.threat_laws import check_threat as check_threat
    from quintain.testing.training_bugs import ACCOUNTANT_BUGS as ACCOUNTANT_BUGS
    from quintain.testing.training_bugs import TRAINING_BUGS as TRAINING_BUGS
    from quintain.testing.universal_laws import check_applied_allowed as check_applied_allowed
    from quintain.testing.universal_laws import check_held_out as check_held_out
    from quintain.testing.universal_laws import check_other_threats_refused as check_other_threats_refused
    from quintain.testing.universal_laws import check_same_seed_fits_same as check_same_seed_fits_same
    from quintain.testing.universal_laws import check_universal_attack as check_universal_attack
    from quintain.testing.universal_laws import check_universal_device as check_universal_device
    from quintain.testing.universal_laws import fit_universal as fit_universal
    from quintain.testing.universal_laws import law_images as law_images
    from quintain.testing.universal_laws import law_net as law_net

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
