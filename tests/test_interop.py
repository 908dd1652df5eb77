"""Ways to other libraries: graphs of torch and ONNX, zuko, BibTeX."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
from onnx_cases import CLOSE, METHODS, compared, example_cases, flow_cases, is_close

import pushforward as pf
from pushforward.bijections import MatrixExponential
from pushforward.core.config import REGISTRY
from pushforward.distributions import StandardNormal
from pushforward.flows import FLOWS
from pushforward.interop import citation, to_export, to_onnx, to_zuko
from pushforward.interop.bibtex import ARXIV, OPTION, REFERENCE, _references
from pushforward.interop.export import _exponential, _substituted
from pushforward.interop.papers import AUTHORS
from pushforward.testing.random_parts import randomize


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


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "method"), [("real_nvp", "sample"), ("maf", "log_prob")])
def test_a_flow_is_the_same_in_onnx(name, method):
    pytest.importorskip("onnxruntime")
    assert compared(small(name, context=2), method).difference <= CLOSE


@pytest.mark.parametrize("method", ["sample", pytest.param("log_prob", marks=pytest.mark.exhaustive)])
def test_triangular_systems_are_the_same_in_onnx(method):
    """As substitution: ONNX has no operation for them, which densities or samples through linear maps need."""
    pytest.importorskip("onnxruntime")  # loading the exporter takes most of the time: once, in one worker
    name, build = next(case for case in example_cases() if case[0].startswith("LU-3-2"))
    assert compared(build(), method).difference <= CLOSE, name


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("unitriangular", [True, False])
def test_a_substitution_is_the_solution(upper, left, unitriangular):
    random = torch.Generator().manual_seed(0)
    matrix = torch.randn(2, 5, 5, generator=random, dtype=torch.float64)
    matrix = (matrix.triu() if upper else matrix.tril()) + 3 * torch.eye(5, dtype=torch.float64)
    right = torch.randn((2, 5, 3) if left else (2, 3, 5), generator=random, dtype=torch.float64)
    kinds = {"upper": upper, "left": left, "unitriangular": unitriangular}
    expected = torch.linalg.solve_triangular(matrix, right, **kinds)
    torch.testing.assert_close(_substituted(matrix, right, **kinds), expected)


@pytest.mark.parametrize("size", [0.1, 3.0, 40.0])
def test_a_squared_series_is_the_exponential(size):
    matrix = size * torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turns = matrix - matrix.mT  # whose exponentials are rotations
    torch.testing.assert_close(_exponential(turns), torch.linalg.matrix_exp(turns), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("norm", [1e-3, 1.0, 300.0, 1e4, 1e6, 1.6e7])
def test_a_squared_series_is_right_at_every_norm(norm):
    """Beside formulas: a rotation, a shrinking one, and a shear, all of this norm."""
    angle = torch.tensor(norm, dtype=torch.float64)
    c, s, one = angle.cos(), angle.sin(), torch.ones((), dtype=torch.float64)
    zero = torch.zeros_like(one)
    exponents = torch.stack([zero, angle, -angle, zero, zero, angle, zero, zero, -angle, zero, zero, -one])
    shrunk = torch.stack([(-angle).exp(), zero, zero, (-one).exp()])
    expected = torch.cat([torch.stack([c, s, -s, c, one, angle, zero, one]), shrunk])
    torch.testing.assert_close(
        _exponential(exponents.reshape(3, 2, 2)), expected.reshape(3, 2, 2), rtol=1e-7, atol=1e-7
    )


def test_exponentials_beyond_its_norm_are_refused(tmp_path):
    pytest.importorskip("onnxscript")
    flow = pf.distributions.Flow(pf.distributions.StandardNormal(2), pf.bijections.MatrixExponential(2, bound=1e9))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.copy_(torch.tensor([[0.0, 1e8], [-1e8, 0.0]]) if parameter.ndim == 2 else parameter)
    with pytest.raises(ValueError, match=r"^to_onnx: log_prob of this flow has the exponential of a matrix of norm"):
        to_onnx(flow, tmp_path / "flow.onnx")


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", [*flow_cases(), *example_cases()], ids=lambda case: case[0])
def test_everything_is_the_same_in_onnx_or_says_why_not(case, method):
    pytest.importorskip("onnxruntime")
    outcome = compared(case[1](), method)
    assert is_close(outcome), f"{case[0]}: {outcome.difference:.1e}"


def test_where_float32_differs_between_runtimes_it_differs_from_float64():
    """With wild weights: the digits are lost in float32, not in a runtime; in float64 they are there."""
    flow = pf.flows.circular_nsf(3, depth=2, hidden=(8, 8))
    flow = randomize(flow, seed=1, dtype=torch.float32, size=1.0).eval()
    x = flow.sample((2000,), generator=torch.Generator().manual_seed(1))
    narrow, wide = flow.log_prob(x).double(), copy.deepcopy(flow).double().log_prob(x.double())
    assert 1e-4 < ((narrow - wide).abs() / (1 + wide.abs())).max() < 1e-2


def test_a_graph_of_torch_takes_any_number_of_rows():
    flow = small("nsf")
    graph = to_export(flow).module()
    x = torch.rand(9, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(graph(x), flow.eval().log_prob(x))


def test_a_graph_of_samples_runs_where_gradients_are_recorded():
    flow = pf.flows.nsf(3, depth=1, hidden=(8,), mix="lu")
    z = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(to_export(flow, "sample").module()(z), flow.eval().to_data(z))


def test_what_cannot_be_exported_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"to_export: flow must be a Flow; got StandardNormal\."):
        to_export(StandardNormal(2))
    with pytest.raises(ValueError, match=r"to_export: method must be .*; got 'rsample'"):
        to_export(small("maf"), "rsample")
    with pytest.raises(ValueError, match="sample of this flow solves equations numerically"):
        to_export(small("bnaf"), "sample")
    exponential = pf.Flow(StandardNormal(3), MatrixExponential(3, context=1))
    with pytest.raises(ValueError, match=r"torch\.export cannot trace log_prob .* number of rows \(Constraints vio"):
        to_export(exponential)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ImportError, match=r"needs the package onnxscript\. Install with: pip install 'pushforward\[onnx"
    ):
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
    assert "author        = {Kingma, Diederik P. and Dhariwal, Prafulla}" in citation(pf.bijections.LU(2))


def test_a_citation_leaves_out_the_sources_of_options_that_a_model_does_not_use():
    text = pf.citation(pf.flows.nsf(2))
    assert not [
        word for word in ("Sublinear", "Reversible Residual", "Parallel Nonlinear", "Triangular") if word in text
    ]
    chain = pf.bijections.Chain([pf.bijections.Flip(2)])
    assert citation(chain) == ""
    for memory, word in (("checkpoint", "Sublinear Memory"), ("invert", "Reversible Residual")):
        cited = citation(pf.bijections.Chain([pf.bijections.Flip(2)], memory=memory))
        assert word in cited
        assert cited.count("@misc") == 1
    chain.memory = "invert"
    assert "Reversible Residual" in citation(chain)
    layer = pf.bijections.Autoregressive(pf.univariate.Affine(), 2, hidden=(4,), solver="jacobi")
    assert "author        = {Song, Yang and Meng, Chenlin and Liao, Renjie and Ermon, Stefano}" in citation(layer)


def test_options_that_references_name_are_options():
    """Of the part whose docstring names them, so that a misspelt one does not hide a source for ever."""
    count = 0
    for part in REGISTRY.values():
        for reference in _references(inspect.getdoc(part) or ""):
            if (option := OPTION.search(reference["rest"])) is not None:
                count += 1
                assert option[1] in inspect.signature(part).parameters
                ast.literal_eval(option[2])
    assert count >= 3


def test_the_authors_of_papers_begin_as_docstrings_name_them():
    used = set()
    for path in sorted((Path(pf.__file__).parent).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                for reference in _references(ast.get_docstring(node) or ""):
                    number = ARXIV.search(reference["rest"])
                    if number is None or number[1] not in AUTHORS:
                        continue
                    used.add(number[1])
                    short = re.split(r", | and ", reference["authors"].replace(" et al.", ""))
                    full = [name.partition(",")[0] for name in AUTHORS[number[1]].split(" and ")]
                    assert full[: len(short)] == short, reference[0]
                    assert (len(full) > len(short)) == ("et al." in reference["authors"]), reference[0]
    assert used == set(AUTHORS)


@pytest.mark.parametrize("name", ["maf", "nsf", "naf", "real_nvp", "bernstein", "bnaf", "sos", "residual_flow", "cnf"])
def test_all_authors_of_a_named_flow_are_cited(name):
    text = citation(pf.flows.FLOWS[name](2))
    assert "and others" not in text
    assert text.count("@misc") == len(set(re.findall(r"title +=.*", text)))


def test_every_reference_of_a_part_can_be_cited():
    for name, part in REGISTRY.items():
        section = (inspect.getdoc(part) or "").partition("References:\n")[2].partition("\n\n")[0]
        for reference in re.split(r"^\s*\| ", section, flags=re.MULTILINE)[1:]:
            assert REFERENCE.match(" ".join(reference.split())), f"{name}: {reference}"
