"""Flows in the browser are those of the library: the numbers that Python sends, evaluated by the module it ships."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.bijections import LU, Chain, Elementwise, Linear, Planar, RadialSquash, Scale
from pushforward.distributions import Flow, StandardNormal, Uniform
from pushforward.lab.maps import flow_json
from pushforward.testing import randomize
from pushforward.univariate import Affine, RationalQuadratic

MODULE = Path(pf.__file__).parent / "lab" / "static" / "lab.js"
NODE = shutil.which("node")
PROGRAM = """
const { Flow2D } = await import(process.argv[1]);
let text = ""; for await (const piece of process.stdin) text += piece;
const { flow, z } = JSON.parse(text), map = new Flow2D(flow);
const step = 1e-5, answers = z.map((point) => {
  const { x, ladj } = map.forward(point), steps = map.steps(point).map((s) => s.ladj);
  let error = 0, at = point;
  for (const layer of map.maps) for (const t of [0.3, 1]) {
    const to = (u) => layer.partly(t, u).x, right = to([at[0] + step, at[1]]), left = to([at[0] - step, at[1]]);
    const up = to([at[0], at[1] + step]), down = to([at[0], at[1] - step]);
    const det = (right[0] - left[0]) * (up[1] - down[1]) - (up[0] - down[0]) * (right[1] - left[1]);
    error = Math.max(error, Math.abs(Math.log(Math.abs(det) / (4 * step * step)) - layer.partly(t, at).ladj));
    if (t === 1) at = layer.forward(at).x;
  }
  return { x, ladj, steps, log_prob: map.logProb(x), back: map.inverse(x).x, error };
});
console.log(JSON.stringify(answers));
"""


def of(*parts):
    return lambda: Flow(StandardNormal(2), Chain(parts))


FLOWS = {
    "maf": lambda: pf.flows.maf(2, depth=2, hidden=(8, 8)),
    "nsf": lambda: pf.flows.nsf(2, depth=2, hidden=(8, 8), bins=5),
    "iaf, residual": lambda: pf.flows.iaf(2, depth=2, hidden=(8, 8), conditioner="residual", activation="gelu"),
    "real_nvp": lambda: pf.flows.real_nvp(2, depth=3, hidden=(8,), activation="silu"),
    "nsf, coupling": lambda: pf.flows.nsf(2, layer="coupling", depth=2, hidden=(8, 8), bins=4),
    "planar": lambda: pf.flows.planar(2, depth=4),
    "squash": of(RadialSquash(2)),
    "inverse planar": of(Planar(2), Planar(2).inv),
    "elementwise": of(Elementwise(RationalQuadratic(4, tails="linear"), 2), Elementwise(Affine(), 2), LU(2)),
    "reflection": of(Linear([[0.5, 2.0], [1.5, -0.2]], bias=[1.0, 2.0]), Scale(2, factor=2.0).inv),
}


@pytest.mark.skipif(NODE is None, reason="needs node, which evaluates the module of the browser")
@pytest.mark.skipif(not MODULE.exists(), reason="the browser side is not built: npm run build in web")
@pytest.mark.parametrize("name", FLOWS)
def test_the_browser_evaluates_maps_as_the_library_does(name):
    flow = randomize(FLOWS[name](), seed=3).float().eval()
    z = torch.cat([torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([[7.0, -6.0]])])
    with torch.no_grad():
        x, steps = flow.to_data(z), flow.steps(z)
        log_prob = flow.double().log_prob(x.double()) if name == "squash" else flow.log_prob(x)
    text = json.dumps({"flow": flow_json(flow.float()), "z": z.tolist()})
    command = [NODE, "--input-type=module", "-e", PROGRAM, MODULE.as_uri()]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(torch.tensor([a["x"] for a in answers]), x, **close)
    ladj = sum(step.ladj for step in steps)
    torch.testing.assert_close(torch.tensor([a["ladj"] for a in answers]), ladj.float(), **close)
    torch.testing.assert_close(torch.tensor([a["log_prob"] for a in answers]), log_prob.float(), rtol=1e-4, atol=2e-4)
    for answer, point in zip(answers, z.tolist(), strict=True):
        assert answer["back"] == pytest.approx(point, abs=1e-6)  # the inverse in the browser undoes the map there
        assert answer["error"] < 1e-4  # a share of each layer is a map with this determinant


REFUSED = {
    "three variables": lambda: pf.flows.maf(3),
    "a context": lambda: pf.flows.maf(2, context=1),
    "another base": lambda: Flow(Uniform([0.0, 0.0], [1.0, 1.0]), LU(2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_flows_are_refused(name):
    with pytest.raises(ValueError, match=r"^Flow Lab shows flows of two variables from standard normals, without cont"):
        flow_json(REFUSED[name]())


OF_OTHER_PARTS = {
    "BatchNorm": lambda: Flow(StandardNormal(2), pf.bijections.BatchNorm(2)),
    "LinearSpline": lambda: Flow(StandardNormal(2), Elementwise(pf.univariate.LinearSpline(4), 2)),
    "MaskedTransformer": lambda: pf.flows.maf(2, conditioner="transformer", depth=1),
}


@pytest.mark.parametrize("name", OF_OTHER_PARTS)
def test_parts_without_a_formula_are_named(name):
    with pytest.raises(ValueError, match=r"^Flow Lab has no formula for \w+ in the browser\."):
        flow_json(OF_OTHER_PARTS[name]())
