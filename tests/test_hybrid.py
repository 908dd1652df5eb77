"""`HybridLikelihood`: its value by hand, the classes it draws, and what it is for."""

import math

import pytest
import torch

import pushforward as pf
from pushforward.testing import randomize
from pushforward.train import Batch, HybridLikelihood, TrainingError

CLASSES = torch.eye(4).tolist()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def labelled(rows=60, seed=0):
    """A flow of four classes with fresh random weights, and rows of which every fifth has no label."""
    flow = randomize(pf.flows.maf(2, context=4, depth=1, hidden=(8,)).double(), seed=seed)
    labels = torch.arange(rows) % 4
    context = torch.eye(4, dtype=torch.float64)[labels]
    context[::5] = 0.0
    return flow, torch.randn(rows, 2, generator=generator(seed), dtype=torch.float64), context, labels


def log_classes(flow, x, prior=None):
    """log q(c | x) of each row and class."""
    eye = torch.eye(4, dtype=x.dtype)
    scores = torch.stack([flow.log_prob(x, c.expand(len(x), -1)) for c in eye], dim=1)
    return (scores + (0.0 if prior is None else torch.tensor(prior, dtype=x.dtype))).log_softmax(dim=1)


def test_with_all_other_classes_it_is_the_sum_of_both_terms():
    flow, x, context, labels = labelled()
    prior = [math.log(p) for p in (0.4, 0.3, 0.2, 0.1)]
    values = HybridLikelihood(CLASSES, 3.0, others=3, log_prior=prior).per_row(flow, Batch(x, context), generator())
    told = context.any(dim=1)
    by_bayes = log_classes(flow, x, prior)[range(len(x)), labels].where(told, 0.0)
    torch.testing.assert_close(values, -flow.log_prob(x, context) - 3 * by_bayes)


def test_one_other_class_at_a_time_visits_all_others_equally_and_never_the_own_one():
    flow, x, context, labels = labelled(5)
    x, context, labels = (t[1:].repeat_interleave(600, 0) for t in (x, context, labels))
    values = HybridLikelihood(CLASSES, 1.0).per_row(flow, Batch(x, context), generator())
    margins = log_classes(flow, x)
    pairs = torch.stack([margins[range(len(x)), labels], margins[range(len(x)), labels]], dim=1)
    expected = []
    for other in range(4):
        pairs[:, 1] = margins[:, other]
        expected.append(-flow.log_prob(x, context) - pairs.log_softmax(dim=1)[:, 0])
    visited = (values[:, None] - torch.stack(expected, dim=1)).abs() < 1e-9
    assert (visited.sum(dim=1) == 1).all()
    shares = torch.stack([visited[labels == c].double().mean(dim=0) for c in range(4)])
    assert (shares.diagonal() == 0).all()
    assert torch.allclose(shares + torch.eye(4) / 3, torch.full((4, 4), 1 / 3, dtype=torch.float64), atol=0.08)


def test_all_classes_of_a_row_see_the_same_noise():
    """A model that hardly uses its context finds all classes equally likely, whatever noise dequantizes the pixels."""
    flow = randomize(pf.flows.window_flow((1, 2, 2), 2, values=4, hidden=(8, 8)), seed=1)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "context" in name:
                parameter.zero_()
    x = torch.randint(4, (30, 1, 2, 2), generator=generator()).double()
    context = torch.eye(2, dtype=torch.float64)[torch.arange(30) % 2]
    once = generator()
    torch.rand(30, 2, generator=once)  # the classes are drawn first
    values = HybridLikelihood(torch.eye(2).tolist()).per_row(flow, Batch(x, context), generator())
    torch.testing.assert_close(values, -flow(x, context, generator=once) + math.log(2))


def test_a_model_that_cannot_fit_the_data_classifies_better():
    """Normals given the class, of data that are none: the likelihood alone spends them on the outliers."""
    drawn = torch.randn(2000, 1, generator=generator()) * 0.3
    labels = torch.arange(2000) % 2
    far = torch.arange(2000) % 20 < 4
    x = (
        torch.where(labels[:, None] == 0, drawn - 0.5, drawn + 0.5)
        + torch.where(far & (labels == 0), 8.0, 0.0)[:, None]
    )
    context = torch.eye(2)[labels]

    def log_loss(loss):
        flow = pf.flows.maf(1, context=2, depth=1, hidden=(8,))
        pf.fit(flow, x, context, loss=loss, steps=300, lr=2e-2, progress=False)
        scores = torch.stack([flow.log_prob(x, c.expand(len(x), -1)) for c in torch.eye(2)], dim=1)
        return torch.nn.functional.cross_entropy(scores, labels).item()

    assert log_loss(HybridLikelihood(torch.eye(2).tolist(), weight=20.0)) < log_loss(None) - 0.05


def test_its_number_is_exact_where_all_classes_and_the_model_are():
    flow, (two, all_others) = labelled()[0], (HybridLikelihood(CLASSES, others=n) for n in (2, 3))
    assert (all_others.exactness(flow), two.exactness(flow)) == ("exact", "consistent")
    assert all_others.exactness(pf.flows.window_flow((1, 2, 2), 4, values=4)) == "consistent"


MISTAKES = [
    (lambda: HybridLikelihood([0, 1]), r"classes must list the context of each class, a vector of numbers\."),
    (lambda: HybridLikelihood([[1.0], [1.0, 2.0]]), r"the contexts of all classes must be equally long\."),
    (lambda: HybridLikelihood(CLASSES, log_prior=[math.nan, 0, 0, 0]), r"log_prior must list one finite number"),
    (lambda: HybridLikelihood([[1.0]]), r"classes must be two or more contexts, each once; got 1\."),
    (lambda: HybridLikelihood([[1.0], [1.0]]), r"classes must be two or more contexts, each once; got 2\."),
    (lambda: HybridLikelihood(CLASSES, weight=0.0), r"weight must be a positive number; got 0\.0"),
    (lambda: HybridLikelihood(CLASSES, others=0), r"others must be a whole number of at least 1; got 0"),
    (lambda: HybridLikelihood(CLASSES, others=4), r"others must be below the 4 classes; got 4\."),
    (lambda: HybridLikelihood(CLASSES, log_prior=[0.0]), r"log_prior must have a number for each of 4 classes"),
    (lambda: pf.fit(pf.flows.maf(1), torch.randn(9, 1), loss=HybridLikelihood(CLASSES)), r"the classes are in the con"),
    (
        lambda: pf.fit(pf.flows.maf(1, context=3), torch.randn(9, 1), torch.ones(9, 3), loss=HybridLikelihood(CLASSES)),
        r"the context of a class must have the shape \(3,\) of a row's; got \(4,\)\.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "match"), MISTAKES, ids=[match for _, match in MISTAKES])
def test_mistakes(call, match):
    with pytest.raises((ValueError, TrainingError), match=f"^HybridLikelihood: {match}"):
        call()
