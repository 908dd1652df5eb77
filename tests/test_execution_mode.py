"""The scope of execution settings: nested, in threads, in graphs, and in backward passes."""

import copy
import threading

import pytest
import torch
from cases import generator, needs_compiler, randomize
from torch import nn

import pushforward as pf
from pushforward.bijections import Autoregressive, Chain, Coupling
from pushforward.core.dispatch import Kernel, accelerated, register
from pushforward.core.execution_mode import Execution, current_execution, execution, resume
from pushforward.univariate import Affine


def test_scopes_nest_and_none_leaves_a_setting_as_it_is():
    assert current_execution() == Execution()
    with execution(kernels=True, memory="checkpoint"):
        with execution(matmul_dtype="bf16", kernels=False):
            assert current_execution() == Execution(False, "bf16", "checkpoint", None)
        with resume(Execution(memory="invert")):
            assert current_execution() == Execution(memory="invert")
        assert current_execution() == Execution(kernels=True, memory="checkpoint")
    with pytest.raises(KeyError), execution(kernels=True):
        raise KeyError
    assert current_execution() == Execution()


def test_a_scope_belongs_to_its_thread():
    seen = []
    with execution(kernels=True):
        thread = threading.Thread(target=lambda: seen.append(current_execution()))
        thread.start()
        thread.join()
    assert seen == [Execution()]


def test_mistakes():
    with pytest.raises(ValueError, match=r"execution: matmul_dtype must be one of 'bf16'; got 'fp8'"):
        execution(matmul_dtype="fp8")
    with pytest.raises(ValueError, match=r"execution: memory must be one of .*'invert'; got 'little'"):
        execution(memory="little")


class Half(nn.Module):
    @accelerated()
    def forward(self, x):
        return x.sin() / 2


@register(Half.forward, Half)
class HalfKernel(Kernel):
    def supports(self, part, x):
        return x.dtype == torch.float32

    def run(self, part, x):
        return x.cos() / 2  # another function, so that the test can tell


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=[pytest.mark.slow, needs_compiler])])
def test_graphs_follow_the_scope(backend):
    torch.compiler.reset()
    x, half = torch.linspace(0, 1, 5), Half()

    def inside(x):
        with execution(kernels=True):
            return half(x)

    compiled = torch.compile(half, fullgraph=True, backend=backend)
    for _ in range(2):
        torch.testing.assert_close(compiled(x), x.sin() / 2)
        with execution(kernels=True):
            torch.testing.assert_close(compiled(x), x.cos() / 2)
            torch.testing.assert_close(compiled(x.double()), x.double().sin() / 2)
    torch.testing.assert_close(torch.compile(inside, fullgraph=True, backend=backend)(x), x.cos() / 2)
    exported = torch.export.export(Half(), (x,)).module()
    with execution(kernels=True):
        torch.testing.assert_close(exported(x), x.sin() / 2)
    torch.compiler.reset()


class Watching(Affine):
    """An affine map that notes the settings under which it is asked for values."""

    seen: list

    def _note(self):
        type(self).seen.append(current_execution().kernels)

    def forward(self, x, params):
        self._note()
        return super().forward(x, params)

    def inverse_value(self, y, params):
        self._note()
        return super().inverse_value(y, params)


def watched(layer):
    layer.univariate.__class__ = Watching
    return layer


LAYERS = {
    "checkpoint": lambda: Chain([Coupling(Affine(), 4, hidden=(8,))], memory="checkpoint"),
    "invert": lambda: Chain([Coupling(Affine(), 4, hidden=(8,))], memory="invert"),
    "sweep": lambda: Autoregressive(Affine(), 4, hidden=(8,)).inv,
}


@pytest.mark.parametrize("name", LAYERS)
def test_backward_passes_run_under_the_settings_of_their_forward_pass(name):
    layer = randomize(LAYERS[name]())
    for part in layer.modules():
        if hasattr(part, "univariate"):
            watched(part)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    for forward, backward in ((True, None), (False, True)):
        Watching.seen = []
        with execution(kernels=forward):
            y, ladj = layer.forward_and_ladj(x)
        count = len(Watching.seen)
        with execution(kernels=backward):
            thread = threading.Thread(target=(y.sum() + ladj.sum()).backward)  # as backward passes on GPUs
            thread.start()
            thread.join()
        assert len(Watching.seen) > count
        assert set(Watching.seen) == {forward}


def dropping():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        flow = pf.flows.nsf(3, layer="coupling", depth=2, hidden=(16,), bins=4, dropout=0.4)
        for parameter in flow.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return flow.train()


def gradients(flow, seed, memory=None):
    x = torch.randn(40, 3, generator=generator(1))
    with execution(generator=generator(seed), memory=memory):
        value = flow.log_prob(x)
    return [value, *torch.autograd.grad(value.sum(), list(flow.parameters()))]


def test_dropout_is_drawn_by_the_generator_of_the_scope():
    flow = dropping()
    before = torch.get_rng_state()
    first, again, other = (gradients(flow, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])
    assert all(map(torch.equal, gradients(flow, 1, "checkpoint"), first))
    for got, expected in zip(gradients(flow, 1, "invert"), first, strict=True):
        assert (got - expected).norm() <= 1e-3 * expected.norm()  # other masks would make other numbers


def test_dropout_keeps_the_mean_and_the_share():
    from pushforward.networks.trunk import dropped

    with execution(generator=generator(4)):
        kept = dropped(torch.ones(100_000), 0.3)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert kept.mean().item() == pytest.approx(1.0, abs=0.01)


def test_two_threads_with_different_settings_do_not_disturb_each_other():
    flow = dropping()
    alone = [gradients(copy.deepcopy(flow), seed) for seed in (5, 6)]
    both = [None, None]

    def run(k):
        for _ in range(5):
            both[k] = gradients(flow, 5 + k, "checkpoint" if k else None)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, expected in zip(both, alone, strict=True):
        assert all(map(torch.equal, got, expected))
