"""Errors that concern labels, vocabularies, calibrations and feedback."""

from sigrl.service.errors.base import TaggerError


class InvalidLabelsError(TaggerError):
    """The labels or the vocabulary cannot be used."""

    code = "invalid-labels"
    title = "The labels cannot be used"
    status = 422


class VocabularyNotFoundError(TaggerError):
    """There is no vocabulary with that name, or it does not have that version."""

    code = "vocabulary-not-found"
    title = "There is no such vocabulary"
    status = 404


class ExamplesError(TaggerError):
    """The examples cannot be used for a calibration."""

    code = "invalid-examples"
    title = "The examples cannot be used"
    status = 422


class CalibrationNotFoundError(TaggerError):
    """The vocabulary was never calibrated, or its calibration was deleted."""

    code = "calibration-not-found"
    title = "There is no such calibration"
    status = 404


class NoRecentPhotographsError(TaggerError):
    """A dry run needs recently tagged photographs, and none are remembered."""

    code = "no-recent-photographs"
    title = "There are no recent photographs"
    status = 409


class FeedbackFullError(TaggerError):
    """There is no room for more feedback."""

    code = "feedback-full"
    title = "There is no room for more feedback"
    status = 507


class FeedbackNotFoundError(TaggerError):
    """There is no feedback on that photograph."""

    code = "feedback-not-found"
    title = "There is no such feedback"
    status = 404


class ReadOnlyVocabularyError(TaggerError):
    """The request would change a vocabulary that ships with the package."""

    code = "read-only-vocabulary"
    title = "The vocabulary cannot be changed"
    status = 403
