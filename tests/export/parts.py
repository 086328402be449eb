"""Small real parts: tiny networks, and a prepared set whose subjects are patterns of blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from faces.types import Pixels, Spectrum
from training.data.network_input import network_input
from training.data.prepared import PreparedSet, Refused, Row, SetInfo
from training.data.set_writer import SetWriter
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.layers import norms, route

MOBILE = BackboneConfig(side_px=32, dimension=32, width=0.125)
# A third of its layers: exported three times as fast.
SHALLOW = BackboneConfig(kind="ir-compact", side_px=32, dimension=32, width=0.25)
SIDE_PX = 112
BLOCKS = 6


def crop(subject: int, photo: int, spectrum: Spectrum, *, masked: bool) -> Pixels:
    """The subject's blocks with the photo's noise: grey and shifted in near-infrared, flat below a mask."""
    blocks = np.random.default_rng(subject).uniform(20, 235, (BLOCKS, BLOCKS, 3))
    blocks = blocks + 12 * np.random.default_rng([subject, photo, 1]).standard_normal(blocks.shape)
    if spectrum is Spectrum.NIR:
        blocks = 0.8 * np.repeat(blocks.mean(axis=2, keepdims=True), 3, axis=2) + 40
    if masked:
        blocks[BLOCKS // 2 :] = 150
    size = -(-SIDE_PX // BLOCKS)
    whole = np.repeat(np.repeat(blocks, size, axis=0), size, axis=1)[:SIDE_PX, :SIDE_PX]
    return np.ascontiguousarray(np.clip(whole, 0, 255).astype(np.uint8))


def prepared(
    root: Path,
    *,
    subjects: int,
    photos: int = 3,
    spectra: tuple[Spectrum, ...] = tuple(Spectrum),
    alignment: str = "arcface-112",
    lost: int = 0,
) -> PreparedSet:
    """Photo 0 is the reference; the others are probes in every condition, of which `lost` gave no crop."""
    info = SetInfo(
        name=root.name, alignment=alignment, side_px=SIDE_PX, made_by="a test", synthetic="blocks, not faces"
    )
    writer = SetWriter(root, info)
    for i in range(subjects):
        name = f"s{i:03d}"

        def row(photo: int, spectrum: Spectrum, masked: bool, name: str = name) -> Row:
            return Row(
                source=f"{name}/{photo}.png",
                subject=name,
                spectrum=spectrum,
                masked=masked,
                split="validation",
                role="probe" if photo else "gallery",
            )

        writer.add(row(0, Spectrum.VIS, masked=False), crop(i, 0, Spectrum.VIS, masked=False))
        for photo in range(1, photos):
            for spectrum in spectra:
                for masked in (False, True):
                    writer.add(row(photo, spectrum, masked), crop(i, photo, spectrum, masked=masked))
    for i in range(lost):
        writer.refuse(
            Refused(
                source=f"s{i:03d}/9.png",
                subject=f"s{i:03d}",
                spectrum=Spectrum.NIR,
                code="no_face",
                detail="",
                masked=True,
                split="validation",
                role="probe",
            )
        )
    return writer.close()


def tiny_net(config: BackboneConfig, *, seed: int = 0) -> nn.Module:
    """Random weights, running statistics of block patterns: of each spectrum where it is split."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = config.build()
    net.train()
    for layer in norms(net):
        layer.momentum = 1.0
    with torch.no_grad():
        for spectrum in (Spectrum.NIR, Spectrum.VIS):
            crops = np.stack([crop(s, 0, spectrum, masked=bool(s % 2)) for s in range(500, 564)])
            with route(net, spectrum):
                net(network_input(crops, config.side_px))
    return net.eval()


def checkpoint(path: Path, config: BackboneConfig, *, seed: int = 0) -> Path:
    save_encoder(path, tiny_net(config, seed=seed), config)
    return path
