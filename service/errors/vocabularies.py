"""Labels, vocabularies, and what is told of photographs."""

from sigrl.service.errors.base import TaggerError


class InvalidLabelsError(TaggerError):
    """Labels or a vocabulary that cannot be used."""

    code = "invalid-labels"
    title = "The labels cannot be used"
    status = 422


class VocabularyNotFoundError(TaggerError):
    """No vocabulary of that name, or not in that version."""

    code = "vocabulary-not-found"
    title = "There is no such vocabulary"
    status = 404


class ExamplesError(TaggerError):
    """Examples from which nothing can be learned."""

    code = "invalid-examples"
    title = "The examples cannot be used"
    status = 422


class CalibrationNotFoundError(TaggerError):
    """A vocabulary that was never calibrated, or is not any more."""

    code = "calibration-not-found"
    title = "There is no such calibration"
    status = 404


class NoRecentPhotographsError(TaggerError):
    """Something is to be tried on photographs tagged lately, and none are remembered."""

    code = "no-recent-photographs"
    title = "There are no photographs to try it on"
    status = 409


class FeedbackFullError(TaggerError):
    """There is no room for more feedback."""

    code = "feedback-full"
    title = "There is no room for more feedback"
    status = 507


class FeedbackNotFoundError(TaggerError):
    """No feedback on that photograph."""

    code = "feedback-not-found"
    title = "There is no such feedback"
    status = 404


class ReadOnlyVocabularyError(TaggerError):
    """A change of a vocabulary that ships with the package."""

    code = "read-only-vocabulary"
    title = "The vocabulary cannot be changed"
    status = 403
