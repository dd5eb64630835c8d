"""Wiring: how fast devices of an offer talk to other nodes, and how many share direct links within one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.domain.accelerator import Accelerator
from orchestrator.domain.offerbook import BoolArray, FloatArray, OfferBook

# GB/s of one device into the fabric, one way, by fabric and device or generation, else "" for the fabric. From the
# vendors' instance pages, as remembered in November 2026: the node's rate over its devices.
DEVICE_GB_S: Mapping[tuple[str, str], float] = {
    ("efa", ""): 6.25,  # p4d, p4de: 400 Gbit/s over 8; dl1 likewise; trn1 800 over 16
    ("efa", "volta"): 1.5625,  # p3dn: 100 over 8
    ("efa", "A10G"): 1.5625,  # g5.48xlarge: 100 over 8
    ("efa", "L4"): 1.5625,  # g6.48xlarge: 100 over 8
    ("efa", "L40S"): 6.25,  # g6e.48xlarge: 400 over 8
    ("efa", "hopper"): 50.0,  # p5, p5e, p5en: 3200 over 8
    ("efa", "blackwell"): 50.0,  # p6-b200: 3200 over 8
    ("efa", "Trainium2"): 25.0,  # trn2: 3200 over 16
    ("infiniband", ""): 25.0,  # HDR, one port of 200 Gbit/s a device: ND A100 v4, CoreWeave A100
    ("infiniband", "volta"): 1.5625,  # ND40rs v2: EDR, one port of 100 a node
    ("infiniband", "hopper"): 50.0,  # NDR, one port of 400 a device: ND H100 v5, CoreWeave, Nebius
    ("infiniband", "blackwell"): 50.0,
    ("infiniband", "cdna3"): 50.0,  # ND MI300X v5
    ("rdma", ""): 25.0,  # OCI BM.GPU4 and BM.GPU.A100: 1600 over 8
    ("rdma", "hopper"): 50.0,  # OCI BM.GPU.H100, GCP A3 Ultra: 3200 over 8
    ("rdma", "blackwell"): 50.0,  # OCI BM.GPU.B200, GCP A4: 3200 over 8
    ("rdma", "cdna3"): 50.0,  # OCI BM.GPU.MI300X: 3200 over 8
    ("gpudirect", ""): 12.5,  # GPUDirect-TCPX, GCP A3 High: 800 over 8; A3 Mega has twice that
    ("slingshot", ""): 25.0,  # HPE Slingshot 11: one port of 200 a device (Perlmutter, Frontier)
    ("tpu-ici", ""): 100.0,  # within a slice; far above what it is compared with
}

# Devices that direct links join, by kind of link; "" is no link of their own. Bridges join pairs of cards.
LINKED: Mapping[str, int] = {"": 1, "pcie3": 1, "pcie4": 1, "pcie5": 1, "nvlink-bridge": 2}
LINKED_DEVICE: Mapping[str, int] = {"H200-NVL": 4}  # sold with bridges of two or four


def fabric_gb_s(book: OfferBook, devices: Mapping[str, Accelerator], unknown_gbit_s: float) -> FloatArray:
    """GB/s that one node sends to others, one way, shape (n,): `unknown_gbit_s` a device where nobody says."""
    each = rates_gb_s(book.fabric.vocab, book.accelerator.vocab, devices, unknown_gbit_s)
    column: FloatArray = each[book.fabric.codes, book.accelerator.codes] * np.maximum(book.gpus, 1.0)
    return column


def rates_gb_s(
    fabrics: Sequence[str], names: Sequence[str], devices: Mapping[str, Accelerator], unknown_gbit_s: float
) -> FloatArray:
    """GB/s of one device into each fabric, shape (fabrics, names): `unknown_gbit_s` where nobody says."""
    rates = np.full((len(fabrics), len(names)), unknown_gbit_s / 8.0)
    row = {fabric: index for index, fabric in enumerate(fabrics)}
    named: dict[str, list[int]] = {"": list(range(len(names)))}
    for index, name in enumerate(names):
        for key in {name, devices[name].generation if name in devices else ""} - {""}:
            named.setdefault(key, []).append(index)
    known = frozenset(names)
    # What is said of a device goes before its generation, and that before the fabric: the last that is written stays.
    for (fabric, key), gb_s in sorted(DEVICE_GB_S.items(), key=lambda rate: (rate[0][1] in known, rate[0][1] != "")):
        if fabric in row:
            rates[row[fabric], named.get(key, [])] = gb_s
    return rates


def unknown(book: OfferBook) -> BoolArray:
    """Shape (n,): where nobody says how fast the network between nodes is."""
    known = {fabric for fabric, _ in DEVICE_GB_S}
    return ~book.fabric.isin(frozenset(known))


def linked(device: Accelerator | None) -> float:
    """How many devices of a node its direct links join: infinite for all, 1 for none."""
    if device is None:
        return 1.0
    return float(LINKED_DEVICE.get(device.name) or LINKED.get(device.link, 0) or np.inf)
