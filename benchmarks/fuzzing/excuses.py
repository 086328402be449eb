"""Which refusals of a request that fits the OpenAPI document are right: what no schema can say.

Each excuse is as narrow as it can be: a code of its own, or a part of the text of one refusal, and the path
where it is one operation's own.
"""

from __future__ import annotations

# Made-up bytes are no photo of a face, and so on.
CONTENT = frozenset(
    {
        *("no_face", "multiple_faces", "low_quality", "undecodable_image", "unsupported_media_type"),
        *("image_too_large", "image_too_costly", "wrong_spectrum", "unsure_orientation", "invalid_archive"),
        *("unsupported_fmr", "photos_disagree", "subject_mismatch", "duplicate_face", "body_too_large"),
    }
)
# It needs two fields, a clock, or what is there.
TEXTS = (
    *("is not one this service gave", "no such directory", "holds no bundle", "is past", "into itself"),
    *("give one of", "say different things", "not all", "one of them", "not both", "needs `metadata_key`"),
    *("is no base64", "is a data URL", "is empty", "give `subject_id`", "calendar", "null character"),
    *(
        "surrogate",
        "levels at most",
        "bytes at most",
        "`metadata` is no JSON",
        "`metadata` must be a JSON object",
    ),
    *("`metadata` holds a number that is too large", "`metadata`: ", "control character"),
    *("a subject_id has", "is given twice", "letters that no subject_id has"),
    *("be one file", "send 1 to", "cannot be trained"),
    # Letters are counted once they are composed.
    *("letters at most", "may not be `.`", 'need "by"', "no UTF-8 in base64"),
    *("give `consent_date`", "a day to come", "usable public key", "give `x-halflight-passphrase`"),
    *("Too many fields", "a passphrase has at least", "name a directory below"),
)
# Of one operation: what the thing that its path names allows, and what two parts of its body say together.
OF_OPERATIONS = {
    "/v1/events/{event_id}/correct": (
        "the decision names nobody: name the subject it shows",
        "the decision names this subject already",
    ),
    "/v1/admin/thresholds": (
        *("operating points go from loose to strict", "stands once at most"),
        "`default_fmr`: not every pair has a threshold there",
    ),
}
CODES_OF_OPERATIONS = {"/v1/admin/thresholds": ("invalid_thresholds",)}
NO_SUCH_SET = "there is no such uploaded data set"


def is_right(path: str, code: str, detail: str) -> bool:
    """Whether this refusal of a request that fits the document is none of its faults.

    `path`: as the document has it; `detail`: the text of the refusal.
    """
    if code in CONTENT or code in CODES_OF_OPERATIONS.get(path, ()):
        return True
    return any(text in detail for text in (*TEXTS, *OF_OPERATIONS.get(path, ())))
