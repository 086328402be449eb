"""Runs a bundle's networks: the only module of training that uses ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from faces.align import AlignError, align
from faces.bundle import Bundle, DetectorSpec, LookWindow, MaskSpec
from faces.detect import LOOKS, Placement, canvas_input, decode, letterbox
from faces.preprocess import encoder_input, mask_input, mask_probability, unit_rows
from faces.routing import encoders_of, is_single
from faces.second_look import LOWEST_AGAIN, doubtful, rescored, score_in, window_canvas
from faces.types import Condition, Face, Image, Role
from faces.verifier import judged, nobody_clear, verifier_input


def session(path: Path, *, threads: int) -> ort.InferenceSession:
    """A CPU session with a fixed number of threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class BatchRunner:
    """A network with one image input, for any number of rows. Raises ValueError for other networks.

    `input_px`: (height, width), each None if the file leaves it open.
    """

    def __init__(self, path: Path, *, threads: int = 1, output: str | None = None) -> None:
        """`output`: the name of the output that is wanted; the first if there is none."""
        self._net = session(path, threads=threads)
        inputs = self._net.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (3, None) or "float" not in inputs[0].type:
            raise ValueError(f"{path.name}: not a network of one float input [batch, 3, height, width]")
        self._input, self._output = inputs[0].name, output or self._net.get_outputs()[0].name
        batch, _, height, width = (value if isinstance(value, int) else None for value in shape)
        self._fixed_batch = batch
        self.input_px = (height, width)

    def run(self, tensors: NDArray[np.float32], *, batch: int = 32) -> NDArray[np.float32]:
        """float32 [n, 3, h, w] -> the wanted output, float32 [n, ...]; n is at least 1.

        A file with a fixed batch runs on that many rows at a time; zeros pad the last batch.
        """
        size = self._fixed_batch or batch
        done = []
        for start in range(0, len(tensors), size):
            part = tensors[start : start + size]
            rows = len(part)
            if self._fixed_batch and rows < size:
                part = np.concatenate([part, np.zeros((size - rows, *part.shape[1:]), np.float32)])
            (output,) = self._net.run([self._output], {self._input: part})
            done.append(output[:rows])
        return np.concatenate(done)


def outputs_of(net: ort.InferenceSession, tensor: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """One input float32 [3, h, w] -> every output by name, without the batch."""
    names = [output.name for output in net.get_outputs()]
    values = net.run(names, {net.get_inputs()[0].name: tensor[None]})
    return {name: value[0] for name, value in zip(names, values, strict=True)}


class DetectorRunner:
    """A detection network, used as the service does, one image at a time.

    `path` is the file that `spec` names in its folder; the verifier, if it has one, lies in the same folder.
    """

    def __init__(self, path: Path, spec: DetectorSpec, *, threads: int = 1) -> None:
        self.spec = spec
        self._net = session(path, threads=threads)
        self._verifier: ort.InferenceSession | None = None
        if spec.verifier is not None:
            folder = path.parents[len(PurePosixPath(spec.file.path).parts) - 1]
            self._verifier = session(folder / spec.verifier.file.path, threads=threads)

    def look(self, image: Image, *, zoom: float = 1.0) -> tuple[Face, ...]:
        """Every face that one pass at one zoom finds, largest first; doubtful ones after a second look and
        the verifier's verdict."""
        faces = self.first_look(image, zoom=zoom)
        for i, face in self.looked_again(image, faces).items():
            faces[i] = face
        return tuple(face for face in faces if face.score >= self.spec.score_threshold)

    def first_look(self, image: Image, *, zoom: float = 1.0) -> list[Face]:
        """Every detection of one pass, largest first, down to the lowest that may become a face."""
        canvas, placement = letterbox(image, canvas_px=self.spec.canvas_px, zoom=zoom)
        lowest = min((self.spec.score_threshold, *(self.spec.doubt or ())))
        return list(self._pass(canvas, placement, (image.width, image.height), _from(self.spec, lowest)))

    def looked_again(self, image: Image, faces: Sequence[Face]) -> dict[int, Face]:
        """The doubtful ones of some detections by their places, after a second look and the verdict."""
        spec, chosen = self.spec, doubtful(faces, self.spec)
        done = [faces[i] for i in chosen]
        if spec.second_look is not None:
            windows = spec.second_look.windows
            done = [rescored(face, [self._again(image, face, w) for w in windows], spec) for face in done]
        if done and spec.verifier is not None and self._verifier is not None:
            crops = verifier_input(image, done, spec.verifier)
            (output,) = self._verifier.run(None, {self._verifier.get_inputs()[0].name: crops})
            done = judged(done, output[:, 0], spec, nobody_else=nobody_clear(faces, spec))
        return dict(zip(chosen, done, strict=True))

    def _again(self, image: Image, face: Face, window: LookWindow) -> float:
        side = self.spec.look_px(window)
        shown = window_canvas(image, face.box, window, side_px=side)
        seen = self._pass(shown, Placement(1.0, side), (side, side), _from(self.spec, LOWEST_AGAIN))
        return score_in(seen, face.box, window, side_px=side)

    def _pass(
        self, canvas: NDArray[np.uint8], placement: Placement, size: tuple[int, int], spec: DetectorSpec
    ) -> tuple[Face, ...]:
        outputs = outputs_of(self._net, canvas_input(canvas, spec.normalisation))
        return decode(outputs, placement, spec=spec, image_size=size)

    def faces(self, image: Image) -> tuple[Face, ...]:
        """Every face, largest first, at the zooms of `faces.detect`."""
        for zoom in LOOKS:
            if found := self.look(image, zoom=zoom):
                return found
        return ()


def _from(spec: DetectorSpec, lowest: float) -> DetectorSpec:
    return spec.model_copy(update={"score_threshold": lowest})


class BundleRunner:
    """Detects, embeds and classifies as the service does, one image at a time, on the CPU."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.manifest = bundle.manifest
        spec, mask = bundle.manifest.detector, bundle.manifest.mask
        self._detector = DetectorRunner(bundle.path(spec.file), spec, threads=threads)
        encoder = bundle.manifest.encoder
        probe = session(bundle.path(encoder.probe), threads=threads)
        single = is_single(encoder)
        reference = probe if single else session(bundle.path(encoder.reference), threads=threads)
        self._encoders = {Role.PROBE: probe, Role.REFERENCE: reference}
        self._mask: ort.InferenceSession | None = None
        if isinstance(mask, MaskSpec):
            self._mask = session(bundle.path(mask.file), threads=threads)

    def faces(self, image: Image) -> tuple[Face, ...]:
        """Every face, largest first, at the zooms of `faces.detect`."""
        return self._detector.faces(image)

    def embed(
        self, image: Image, face: Face, *, role: Role = Role.PROBE, masked: bool = False
    ) -> NDArray[np.float32]:
        """Unit float32 [dimension]; `masked`: the face's true state. Raises AlignError."""
        spec = self.manifest.encoder
        crop = align(image, face, spec.alignment)
        (name,) = encoders_of(spec, role, Condition(image.spectrum, masked))
        outputs = outputs_of(self._encoders[name], encoder_input(crop, spec))
        (output,) = outputs.values() if spec.output is None else (outputs[spec.output],)
        vector: NDArray[np.float32] = unit_rows(output[None])[0]
        return vector

    def template(
        self, image: Image, *, role: Role = Role.PROBE, masked: bool = False
    ) -> NDArray[np.float32] | None:
        """The embedding of the largest face; None if there is none."""
        found = self.faces(image)
        try:
            return self.embed(image, found[0], role=role, masked=masked) if found else None
        except AlignError:
            return None

    def masked(self, image: Image, face: Face) -> float:
        """The probability of a mask. Raises ValueError for a face that another detector found."""
        spec = self.manifest.mask
        if isinstance(spec, MaskSpec) and self._mask is not None:
            output = outputs_of(self._mask, mask_input(image, face.box, spec))[spec.output]
            return mask_probability(output, spec)
        if face.masked is None:
            raise ValueError("the detector that found this face does not tell masks")
        return face.masked
