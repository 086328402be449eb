"""The options of requests with a probe: which faces count, how they are seen, by which threshold."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

from faces.types import TURNS, Spectrum, Turn
from service.api.deps import StateDep
from service.errors import InvalidParameter
from service.inference.detector import LOWEST_SCORE
from service.matching.rules import Options
from service.settings import TurnChoice
from service.spaces.threshold_table import CAMERA

AskedSpectrum = Annotated[
    Literal["auto", "nir", "vis"], Query(description="`auto` recognises it from the pixels")
]
AskedFpir = Annotated[
    float | None,
    Query(
        gt=0,
        lt=1,
        description="the chance, at most, that a stranger matches anybody of the gallery as it is now",
    ),
]
MinScore = Annotated[
    float | None,
    Query(
        ge=LOWEST_SCORE,
        lt=1,
        description="the lowest detection score of a face; by default the setting's, or the detector's own",
    ),
]
WhichFaces = Annotated[Literal["largest", "all"], Query()]
AskedTurn = Annotated[
    TurnChoice | None,
    Query(
        description="degrees by which the image must be turned clockwise, where that is known; `auto` looks"
        " for it. By default what `HALFLIGHT_CAMERA_TURN` says"
    ),
]

AskedCamera = Annotated[
    str | None,
    Query(
        pattern=f"^{CAMERA}$",
        description="the name of the camera that took the probe: its own thresholds decide if it has any;"
        " events and the audit log name it",
    ),
]


def turn_of(asked: str | None, default: str = "auto") -> Turn | None:
    """The known turn; None to look for it."""
    return None if (asked or default) == "auto" else TURNS[int(asked or default) // 90]


def spectrum_of(asked: str) -> Spectrum | None:
    """Returns None for `auto`."""
    return None if asked == "auto" else Spectrum(asked)


async def identify_options(
    state: StateDep,
    top_k: Annotated[int, Query(ge=1, le=100)] = 5,
    fmr: Annotated[float | None, Query(gt=0, lt=1, description="a calibrated point")] = None,
    threshold: Annotated[float | None, Query(ge=-1, le=1)] = None,
    fpir: AskedFpir = None,
    spectrum: AskedSpectrum = "auto",
    faces: WhichFaces = "largest",
    min_detection_score: MinScore = None,
    turn: AskedTurn = None,
    camera: AskedCamera = None,
) -> Options:
    return _check_threshold(
        Options(
            fmr=fmr,
            threshold=threshold,
            fpir=fpir,
            spectrum=spectrum_of(spectrum),
            every_face=faces == "all",
            top_k=top_k,
            min_score=min_detection_score,
            turn=turn_of(turn, state.settings.camera_turn),
            camera=camera,
        )
    )


async def verify_options(
    state: StateDep,
    fmr: Annotated[float | None, Query(gt=0, lt=1, description="a calibrated point")] = None,
    threshold: Annotated[float | None, Query(ge=-1, le=1)] = None,
    spectrum: AskedSpectrum = "auto",
    min_detection_score: MinScore = None,
    turn: AskedTurn = None,
    camera: AskedCamera = None,
) -> Options:
    return _check_threshold(
        Options(
            fmr=fmr,
            threshold=threshold,
            spectrum=spectrum_of(spectrum),
            min_score=min_detection_score,
            turn=turn_of(turn, state.settings.camera_turn),
            camera=camera,
        )
    )


async def track_options(
    state: StateDep,
    fmr: Annotated[float | None, Query(gt=0, lt=1, description="a calibrated point")] = None,
    threshold: Annotated[float | None, Query(ge=-1, le=1)] = None,
    fpir: AskedFpir = None,
    spectrum: AskedSpectrum = "auto",
    min_detection_score: MinScore = None,
    turn: AskedTurn = None,
    camera: AskedCamera = None,
) -> Options:
    """Those of an identification but for the faces, of which each frame has one, and the candidates."""
    return await identify_options(
        state,
        fmr=fmr,
        threshold=threshold,
        fpir=fpir,
        spectrum=spectrum,
        min_detection_score=min_detection_score,
        turn=turn,
        camera=camera,
    )


def _check_threshold(options: Options) -> Options:
    """Raises InvalidParameter if more than one of FMR, threshold and FPIR is given."""
    asked = {"fmr": options.fmr, "threshold": options.threshold, "fpir": options.fpir}
    given = [f"`{name}`" for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise InvalidParameter(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'}")
    return options
