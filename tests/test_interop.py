"""Ways to other libraries: graphs of torch and ONNX, zuko, BibTeX."""

from __future__ import annotations

import inspect
import re
import sys

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.core.config import REGISTRY
from pushforward.distributions import StandardNormal
from pushforward.flows import FLOWS
from pushforward.interop import citation, to_export, to_onnx, to_zuko
from pushforward.interop.bibtex import REFERENCE

CLOSE = 1e-5
"""Of an ONNX runtime and torch, relative to the size of the numbers, both in float32."""


def small(name, context=0):
    """A flow of this name with weights that move points."""
    options = {"hidden": (8,)} if "hidden" in inspect.signature(FLOWS[name]).parameters else {}
    generator = torch.Generator().manual_seed(0)
    flow = FLOWS[name](3, context, **options)
    rows = torch.rand(200, 3, generator=generator)
    flow.initialize(rows, torch.randn(200, context, generator=generator) if context else None)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return flow


def differences(flow, path, method):
    """The largest difference of an ONNX runtime from torch, relative to 1 and the size of the number."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path))
    generator = torch.Generator().manual_seed(1)
    rows = torch.rand(11, 3, generator=generator)
    context = torch.randn(11, *flow.context_shape, generator=generator) if flow.context_shape else None
    with torch.no_grad():
        expected = flow.log_prob(rows, context) if method == "log_prob" else flow.to_data(rows, context)
    inputs = dict(zip((node.name for node in session.get_inputs()), (rows.numpy(), context), strict=False))
    if context is not None:
        inputs["context"] = context.numpy()
    (out,) = session.run(None, inputs)
    return np.max(np.abs(out - expected.numpy()) / (1 + np.abs(expected.numpy())))


@pytest.mark.parametrize(
    ("name", "method"), [("real_nvp", "sample"), pytest.param("maf", "log_prob", marks=pytest.mark.exhaustive)]
)
def test_a_flow_is_the_same_in_onnx(name, method, tmp_path):
    flow = small(name, context=2)
    to_onnx(flow, tmp_path / "flow.onnx", method)
    assert differences(flow, tmp_path / "flow.onnx", method) < CLOSE
    assert flow.training


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["log_prob", "sample"])
@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_the_same_in_onnx_or_says_why_not(name, method, tmp_path):
    flow = small(name)
    if (flow.log_prob_kind if method == "log_prob" else flow.sample_kind) == "iterative":
        with pytest.raises(ValueError, match="solves equations numerically, which a graph cannot hold"):
            to_onnx(flow, tmp_path / "flow.onnx", method)
        return
    to_onnx(flow, tmp_path / "flow.onnx", method)
    assert differences(flow, tmp_path / "flow.onnx", method) < CLOSE


def test_a_graph_of_torch_takes_any_number_of_rows():
    flow = small("nsf")
    graph = to_export(flow).module()
    x = torch.rand(9, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(graph(x), flow.eval().log_prob(x))


def test_what_cannot_be_exported_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"to_export: flow must be a Flow; got StandardNormal\."):
        to_export(StandardNormal(2))
    with pytest.raises(ValueError, match=r"to_export: method must be .*; got 'rsample'"):
        to_export(small("maf"), "rsample")
    with pytest.raises(ValueError, match="sample of this flow solves equations numerically"):
        to_export(small("bnaf"), "sample")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'needs the package onnxscript\. Install it with: pip install "pushforward'):
        to_onnx(small("maf"), tmp_path / "flow.onnx")
    assert not list(tmp_path.iterdir())


def test_zuko_sees_a_lazy_distribution():
    zuko = pytest.importorskip("zuko")
    flow, x, context = small("maf", context=2), torch.rand(4, 3), torch.rand(4, 2)
    lazy = to_zuko(flow)
    assert isinstance(lazy, zuko.lazy.LazyDistribution)
    torch.testing.assert_close(lazy(context).log_prob(x), flow.log_prob(x, context))
    assert set(lazy.parameters()) == set(flow.parameters())


def test_a_citation_names_each_source_once():
    text = pf.citation(pf.flows.nsf(3))
    keys = re.findall(r"@misc\{(\w+),", text)
    assert len(keys) == len(set(keys))
    assert "durkan2019neural" in keys
    assert "  eprint        = {1906.04032},\n  archivePrefix = {arXiv},\n}" in text
    assert "author        = {Kingma and Dhariwal}" in citation(pf.bijections.LU(2))


def test_every_reference_of_a_part_can_be_cited():
    for name, part in REGISTRY.items():
        section = (inspect.getdoc(part) or "").partition("References:\n")[2].partition("\n\n")[0]
        for reference in re.split(r"^\s*\| ", section, flags=re.MULTILINE)[1:]:
            assert REFERENCE.match(" ".join(reference.split())), f"{name}: {reference}"
