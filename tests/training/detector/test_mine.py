"""Tests the mining of hard negatives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.detector import export_detector, write_facts
from tests.training.detector.parts import TINY, dotted, empty, stored
from training.data.records import DataSetError
from training.detector.candidates import open_candidate
from training.detector.mine import mine_hard_negatives, read_hard_negatives, write_hard_negatives
from training.detector.network import DetectorNet
from training.detector.sampler import HardNegative


def eager(path: Path) -> Path:
    """A detector that takes every place for a face of two cells."""
    net = DetectorNet(TINY)
    with torch.no_grad():
        for value in net.head.values.parameters():
            value.zero_()
        bias = net.head.values.bias
        assert bias is not None
        bias[0] = 2.0
        bias[4:6] = 0.7
    export_detector(net, path)
    write_facts(path, score_threshold=0.5, nms_iou=0.4, mask_threshold=0.5)
    return path


@pytest.mark.slow
def test_detections_of_sure_or_doubtful_faces_are_no_hard_negatives(tmp_path: Path) -> None:
    worn = dotted(masked=True).model_copy(update={"source": "worn", "kind": "worn"})
    pictures = stored(tmp_path / "pictures", dotted(), dotted(masked=True, sure=False), empty(), worn)
    found = mine_hard_negatives(open_candidate(eager(tmp_path / "detector.onnx")), pictures)
    assert {place.source for place in found} == {"dots photo", "dots drawn", "field"}
    left, top, width, height = dotted().faces[0].box
    for place in found:
        if place.source == "dots drawn":
            x, y = place.box[0] + place.box[2] / 2, place.box[1] + place.box[3] / 2
            assert not (left + 5 < x < left + width - 5 and top + 5 < y < top + height - 5)


def test_a_list_of_hard_negatives_is_read_back(tmp_path: Path) -> None:
    places = (HardNegative(source="one", box=(1.0, 2.0, 3.0, 4.0), score=0.5),)
    write_hard_negatives(tmp_path / "hard.jsonl", places)
    assert read_hard_negatives(tmp_path / "hard.jsonl") == places
    (tmp_path / "other.jsonl").write_text("{}\n")
    for name in ("other.jsonl", "none.jsonl"):
        with pytest.raises(DataSetError, match="detector mine"):
            read_hard_negatives(tmp_path / name)
