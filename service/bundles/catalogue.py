"""Pins every model file that the project can provision: source, digest, size and licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One pinned file. `url` is None if nobody publishes it in the form that the service runs.

    `origin` says where the file comes from in either case. `sha256` is hexadecimal, `size` in bytes.
    `remedy`: what makes the file of public ones.
    """

    name: str
    file_name: str
    sha256: str
    size: int
    licence: str
    what: str
    origin: str
    url: str | None
    remedy: str | None = None

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or self.size <= 0:
            raise ValueError(f"{self.name}: the pin is incomplete")


CATALOGUE: tuple[ModelFile, ...] = (
    ModelFile(
        name="yunet",
        file_name="yunet_n_dynamic.onnx",
        sha256="104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
        size=322906,
        licence="Apache-2.0",
        what="face detector with five landmarks",
        origin="ShiqiYu/libfacedetection.train at 0047ac24, onnx/yunet_n_dynamic.onnx",
        url="https://github.com/ShiqiYu/libfacedetection.train/raw/0047ac24/onnx/yunet_n_dynamic.onnx",
    ),
    ModelFile(
        name="face-reidentification-retail-0095",
        file_name="face-reidentification-retail-0095_256d.onnx",
        sha256="5d47a84914242d27a2d100870af07d9500b643f5bb0df8363e9e6ffbebe4e982",
        size=4445432,
        licence="Apache-2.0",
        what="embedder, 256 dimensions",
        origin="Intel Open Model Zoo, face-reidentification-retail-0095 FP16, converted to ONNX",
        url=None,
        remedy="`python -m training tools --trunk` (needs the train extra) converts what the zoo publishes",
    ),
    ModelFile(
        name="aizoo-face-mask",
        file_name="aizoo_face_mask_260.onnx",
        sha256="05367cdcf178a7922be3ac675ffba41f542dfd181d733a18de5d631466bb5276",
        size=4052339,
        licence="MIT",
        what="masked-face classifier",
        origin="AIZOOTech/FaceMaskDetection, models/face_mask_detection.tflite, converted to ONNX",
        url=None,
        remedy="`python -m training tools --mask-net FILE` (needs the train extra) converts that file",
    ),
)


# Open embedders that a bundle can be made of (`halflight models import`); pulled by name alone.
TRUNKS: tuple[ModelFile, ...] = (
    ModelFile(
        name="auraface-v1",
        file_name="auraface-v1_glintr100.onnx",
        sha256="a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
        size=260694151,
        licence="Apache-2.0",
        what="embedder, ResNet-100, 512 dimensions",
        origin="fal/AuraFace-v1 on Hugging Face, glintr100.onnx; size and digest as public projects that run"
        " this file state them, not measured here. Other files of the same name exist under other terms",
        url="https://huggingface.co/fal/AuraFace-v1/resolve/main/glintr100.onnx",
    ),
)
EVERY_MODEL = CATALOGUE + TRUNKS


def find_model(name: str) -> ModelFile:
    """Returns the file with this name or file name. Raises KeyError, which lists the known names."""
    for model in EVERY_MODEL:
        if name in (model.name, model.file_name):
            return model
    known = ", ".join(model.name for model in EVERY_MODEL)
    raise KeyError(f"no model {name}; there are {known}")
