"""Files: every model comes back bit for bit, and nothing but an intact model file is ever loaded."""

import inspect
import json
import os
import pickle
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import pushforward as pf
from pushforward.bijections import LU, Chain, Coupling, Flip, Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.config import REGISTRY, build, configurable
from pushforward.core.distribution import Distribution
from pushforward.distributions import Flow, Normal, StandardNormal
from pushforward.io import Header, load, read_header, save
from pushforward.io import header as header_module
from pushforward.univariate import Affine


def a_flow(**options) -> Flow:
    """A small conditional flow with weights that are not those it was built with."""
    flow = pf.flows.nsf(3, 2, depth=2, hidden=[8], bins=4, data_dtype="float64", **options)
    flow.initialize(1e9 + 1e3 * torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 2, dtype=torch.float64))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return flow


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models have the same weights and buffers, passing ones included, bit for bit."""
    ours, theirs = dict(_tensors(a)), dict(_tensors(b))
    return ours.keys() == theirs.keys() and all(
        t.dtype == theirs[n].dtype and t.detach().numpy().tobytes() == theirs[n].detach().numpy().tobytes()
        for n, t in ours.items()
    )


def _tensors(model):
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.safetensors"


def rewritten(path: Path, *, tensors=None, rename=None, change=None, reseal=False) -> Path:
    """The file as another program would write it: other tensors, other names, or another document in the header."""
    stored = load_file(path) if tensors is None else tensors
    if rename is not None:
        stored = {rename.get(name, name): t for name, t in stored.items()}
    raw = path.read_bytes()
    text = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]["pushforward"]
    document = json.loads(text)
    if change is not None:
        change(document)
        if reseal:
            document["sha256"] = header_module._hash_document(document)
        text = header_module._dumps(document)
    save_file(stored, path, metadata={"pushforward": text})
    return path


# What comes back


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flow_comes_back_bit_for_bit(path, dtype):
    flow = a_flow().to(dtype)
    save(flow, path, metadata={"columns": ["a", "ä", "c"], "rows": 3, "gap": None})
    loaded = load(path)
    assert type(loaded) is Flow
    assert loaded.config == flow.config
    assert same(flow, loaded)
    assert loaded.bijection.dtype == dtype
    assert not loaded.training
    x, context = 1e9 + 1e3 * torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    assert torch.equal(flow.eval().log_prob(x, context), loaded.log_prob(x, context))


def test_standardisation_stays_in_float64_and_is_not_measured_again(path):
    flow = a_flow()
    save(flow, path)
    loaded = load(path)
    part = next(m for m in loaded.modules() if isinstance(m, Standardize))
    assert part.mean.dtype == torch.float64
    assert part.mean[0].item() > 9e8
    before = part.mean.clone()
    loaded.initialize(torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64))
    assert torch.equal(part.mean, before)


EXAMPLES = [
    {"type": name, **example}
    for name, cls in sorted(REGISTRY.items())
    if issubclass(cls, Bijection | Distribution) and cls.__module__.startswith("pushforward.")
    for example in cls.examples
]


def test_every_registered_example_comes_back(path):
    for config in EXAMPLES:
        for dtype in (torch.float32, torch.float64):
            model = build(json.loads(json.dumps(config))).to(dtype)
            save(model, path)
            loaded = load(path)
            assert type(loaded) is type(model)
            assert same(model, loaded), config
            assert loaded.config == model.config


@pytest.mark.parametrize("name", sorted(pf.flows.FLOWS))
def test_every_named_flow_comes_back(path, name):
    small = {"depth": 2, "hidden": [8]}
    accepted = inspect.signature(pf.flows.FLOWS[name]).parameters
    for features, context in ((1, 0), (3, 2)):
        flow = pf.flows.FLOWS[name](features, context, **{k: v for k, v in small.items() if k in accepted})
        save(flow, path)
        assert same(flow, load(path))


def test_half_precision_and_a_model_without_tensors(path):
    flow = pf.flows.maf(2, depth=1, hidden=[4]).to(torch.bfloat16)
    save(flow, path)
    loaded = load(path)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert all(torch.equal(p, q) for p, q in zip(flow.parameters(), loaded.parameters(), strict=True))
    save(Flow(StandardNormal(2), Flip(2)), path)
    assert load(path).event_shape == (2,)


def test_the_header_tells_what_was_saved(path):
    flow = a_flow()
    save(flow, path, metadata={"columns": ["a", "b", "c"], "numbers": (1, 2.5)})
    header = read_header(path)
    assert isinstance(header, Header)
    assert header.config == flow.config
    assert header.metadata == {"columns": ["a", "b", "c"], "numbers": [1, 2.5]}
    assert header.library_version == pf.__version__
    assert header.parameters == sum(p.numel() for p in flow.parameters())
    assert len(header.sha256) == 64


def test_the_hash_tells_models_apart(path):
    flow = a_flow()
    save(flow, path)
    first = read_header(path).sha256
    save(flow, path)
    assert read_header(path).sha256 == first
    with torch.no_grad():
        next(flow.parameters()).view(-1)[0] += 1e-6
    save(flow, path)
    assert read_header(path).sha256 != first


def test_loading_and_saving_leave_the_random_state_alone(path):
    flow = a_flow()
    before = torch.get_rng_state()
    save(flow, path)
    load(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_leaves_the_model_alone(path):
    flow = a_flow()
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    flow.train()
    save(flow, path)
    assert flow.training
    assert all(torch.equal(t, before[name]) for name, t in flow.state_dict().items())


def test_a_loaded_model_does_not_depend_on_the_file(path):
    flow = a_flow()
    save(flow, path)
    loaded = load(path)
    with path.open("r+b") as file:
        file.truncate(10)
    assert same(flow, loaded)


def test_a_user_class_comes_back_once_its_module_is_imported(path, monkeypatch):
    @configurable
    class Doubling(Bijection):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.in_shape = self.out_shape = (features,)
            self.shift = nn.Parameter(torch.ones(features))

        def _forward_and_ladj(self, x, context):
            return 2 * x + self.shift, x.new_full(x.shape[:-1], x.shape[-1] * 0.6931471805599453)

        def _inverse_and_ladj(self, y, context):
            return (y - self.shift) / 2, y.new_full(y.shape[:-1], -y.shape[-1] * 0.6931471805599453)

    save(Flow(StandardNormal(2), Chain([Doubling(2), Flip(2)])), path)
    assert load(path)(torch.zeros(1, 2)).shape == (1,)
    monkeypatch.delitem(REGISTRY, "Doubling")
    with pytest.raises(ValueError, match=r"no part is called 'Doubling' here\. Import the module that defines it"):
        load(path)


def test_a_module_in_two_places_is_one_module_again(path):
    lu = LU(3)
    with torch.no_grad():
        for parameter in lu.parameters():
            parameter.add_(0.1)
    chain = Chain([lu, Coupling(Affine(), 3, hidden=[4]), lu.inv])
    save(chain, path)
    loaded = load(path)
    assert loaded.parts[0] is loaded.parts[2].bijection
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in chain.parameters())
    assert same(chain, loaded)


def test_loading_on_a_device(path):
    save(a_flow(), path)
    assert next(load(path, device="cpu").parameters()).device.type == "cpu"
    with pytest.raises(ValueError, match=r"load: the model cannot be put on device 'elsewhere'"):
        load(path, device="elsewhere")


# What is not saved


def refuse_to_save(model, path, match, **options):
    path.write_text("old")
    with pytest.raises(ValueError, match=match):
        save(model, path, **options)
    assert path.read_text() == "old"
    assert len(list(path.parent.iterdir())) == 1


def test_a_conditioned_flow_is_refused(path):
    refuse_to_save(
        a_flow().condition(torch.zeros(2, dtype=torch.float64)),
        path,
        r"context fixed.*call condition\(\) after loading",
    )


def test_a_hand_written_module_is_refused(path):
    class Own(Distribution):
        event_shape = (1,)

        def _log_prob(self, x, context):
            return x.sum(-1)

        def _rsample(self, batch, context, generator):
            return torch.zeros(*batch, 1)

    refuse_to_save(Own(), path, r"save: Own does not record how it was built\. Put @configurable above the class")
    refuse_to_save(nn.Linear(1, 1), path, r"a Distribution or Bijection can be saved; got Linear")
    refuse_to_save(torch.compile(a_flow()), path, r"got OptimizedModule\. If it wraps a model")


def test_a_model_changed_after_it_was_built_is_refused(path):
    flow = a_flow()
    flow.base = Normal([0.0, 0.0, 0.0])
    refuse_to_save(flow, path, r"save: base is not what the config of Flow builds: it was replaced afterwards")
    flow = a_flow()
    flow.register_buffer("extra", torch.zeros(2))
    refuse_to_save(flow, path, r"the tensor extra of Flow is not what its config builds")
    normal = Normal([0.0])
    normal.loc = nn.Parameter(torch.zeros(2))
    refuse_to_save(normal, path, r"the tensor loc of Normal is not what its config builds")


def test_one_tensor_in_two_modules_is_refused(path):
    chain = Chain([LU(2), Flip(2), LU(2)])
    chain.parts[2].bias = chain.parts[0].bias
    refuse_to_save(chain, path, r"parts\.0\.bias and parts\.2\.bias are one tensor in two modules")


def test_metadata_must_be_json_and_fit(path, monkeypatch):
    refuse_to_save(a_flow(), path, r"metadata must be made of dicts, lists", metadata={"x": torch.zeros(1)})
    refuse_to_save(a_flow(), path, r"metadata must be a dict; got list", metadata=[1])
    monkeypatch.setattr(header_module, "MAX_HEADER", 10_000)
    refuse_to_save(a_flow(), path, r"at most 5000 fit in a header\. Keep less", metadata={"x": "y" * 6000})


def test_a_target_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        save(a_flow(), tmp_path / "none" / "x.safetensors")


# What is not loaded


def test_a_truncated_file_is_refused(path):
    save(a_flow(), path)
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for size in (1, 7, 8, 9, 100, header - 1, header, header + 5, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf"^{path}: (the file is cut short|not a model file)") as caught:
            load(path)
        assert "\n" not in str(caught.value)
        with pytest.raises(ValueError, match=r"cut short|not a model file"):
            read_header(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"cut short or damaged"):
        load(path)


def test_every_flipped_bit_is_refused(path):
    flow = pf.flows.maf(2, 1, depth=1, hidden=[4])
    save(flow, path, metadata={"columns": ["a", "b"], "given": ["ü"], "number": 0.1})
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    draw = random.Random(0)
    places = [
        *range(16),
        *draw.sample(range(header), 250),
        *range(header - 8, header),
        *draw.sample(range(header, len(whole)), 60),
    ]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"^{path}: "):
            load(path)
    path.write_bytes(whole)
    assert same(flow, load(path))


def test_every_changed_blank_is_refused(path):
    save(LU(2), path, metadata={"a": 1})
    whole = path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    text = whole[8:header]
    for other in (text.rstrip() + b"\n" * (len(text) - len(text.rstrip())), text.replace(b'"F32"', b'"\\u004632"')):
        if other != text:
            path.write_bytes(struct.pack("<Q", len(other)) + other + whole[header:])
            with pytest.raises(ValueError, match=r"the header is damaged or was altered"):
                load(path)


def test_a_renamed_key_is_refused(path):
    save(LU(2), path)
    first = next(iter(load_file(path)))
    rewritten(path, rename={first: "other"})
    with pytest.raises(ValueError, match=rf"it lacks the tensor {first} and it holds a tensor other"):
        load(path)


def test_a_missing_or_additional_key_is_refused(path):
    save(LU(2), path)
    tensors = load_file(path)
    first = min(tensors)
    rewritten(path, tensors={name: t for name, t in tensors.items() if name != first})
    with pytest.raises(ValueError, match=rf"does not fit its own config: it lacks the tensor {first}\."):
        load(path)
    rewritten(path, tensors={**tensors, "more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"it holds a tensor more that the model does not have"):
        load(path)


def test_a_wrong_shape_dtype_or_value_is_refused(path):
    save(LU(2), path)
    tensors = load_file(path)
    first = min(tensors)
    rewritten(path, tensors={**tensors, first: torch.zeros(7)})
    with pytest.raises(ValueError, match=rf"the tensor {first} has shape \(7,\), but the model needs"):
        load(path)
    for other in (tensors[first].double(), tensors[first] + 1):
        rewritten(path, tensors={**tensors, first: other})
        with pytest.raises(ValueError, match=r"the weights were altered after the file was written"):
            load(path)


def test_a_changed_config_or_metadata_is_refused(path):
    for change in (
        lambda d: d["metadata"].update(columns=["b", "a"]),
        lambda d: d["config"].update(features=3),
        lambda d: d.update(library_version="0.0.0"),
        lambda d: d.update(sha256="0" * 64),
        lambda d: d.update(more=1),
        lambda d: d.pop("sha256"),
    ):
        save(LU(2), path, metadata={"columns": ["a", "b"]})
        rewritten(path, change=change)
        with pytest.raises(ValueError, match=r"the header is damaged or was altered after the file was written"):
            read_header(path)
        with pytest.raises(ValueError, match=r"the header is damaged or was altered after the file was written"):
            load(path)


def test_another_version_of_the_format_is_refused(path):
    for version, library, words in (
        (
            3,
            "9.0",
            r"format version 3 was written by pushforward 9\.0, .* reads version 2\. Install a newer pushforward",
        ),
        (1, "0.0.1", r"format version 1 was written by pushforward 0\.0\.1, .* 2\. Train the model again and save it"),
    ):
        save(LU(2), path)
        rewritten(path, change=lambda d, v=version, lib=library: d.update(format_version=v, library_version=lib))
        for read in (load, read_header):  # the hash of an old document need not be that of today
            with pytest.raises(ValueError, match=words):
                read(path)


def test_a_config_of_far_more_weights_than_the_file_holds_is_refused_before_they_are_built(path):
    save(pf.flows.pixels((1, 3, 3), levels=4, hidden=(4, 4), recurrent=4), path)
    rewritten(path, change=lambda d: d["config"].update(hidden=[4] * 5_000), reseal=True)
    with pytest.raises(ValueError, match=r"the config asks for (more|larger) weights than the file holds\)\.$"):
        load(path)


def test_a_config_of_far_more_parts_than_the_file_holds_weights_for_is_refused(path):
    save(Chain([LU(2), Flip(2)]), path)
    rewritten(path, change=lambda d: d["config"].update(parts=d["config"]["parts"] * 2_000), reseal=True)
    with pytest.raises(ValueError, match=r"more parts than the weights of the file can belong to\)\.$"):
        load(path)


def test_a_config_of_a_larger_grid_than_the_file_holds_is_refused_before_it_is_built(path, monkeypatch):
    from pushforward.networks import window

    save(pf.flows.pixels((1, 3, 3), levels=4, hidden=(4, 4), recurrent=4), path)
    rewritten(path, change=lambda d: d["config"].update(shape=[3, 1_000_000]), reseal=True)
    monkeypatch.setattr(window, "cells_before", lambda *sizes: pytest.fail("the grid was built"))
    with pytest.raises(ValueError, match=r"\(ValueError: the config asks for larger weights than the file holds\)\.$"):
        load(path)


def test_headers_of_very_many_lists_are_neither_written_nor_read(path, monkeypatch):
    from pushforward.io import header

    with pytest.raises(ValueError, match=r"more than 125,000 lists and dicts\. Keep less in metadata"):
        save(LU(2), path, metadata={"rows": [[]] * 130_000})
    save(LU(2), path, metadata={"rows": [[]] * 100_000})
    monkeypatch.setattr(header, "MOST_PARTS", 50_000)
    with pytest.raises(ValueError, match="the header is damaged"):
        load(path)


def test_a_truth_value_that_is_neither_0_nor_1_is_refused(path):
    from safetensors.numpy import load_file

    save(pf.flows.real_nvp(2, depth=1, hidden=(4,)), path)
    content, name = bytearray(path.read_bytes()), "bijection.bijection.parts.0.initialized"
    size = int.from_bytes(content[:8], "little")
    start, stop = json.loads(content[8 : 8 + size])[name]["data_offsets"]
    assert stop - start == 1
    assert load_file(path)[name] == bool(content[8 + size + start])
    content[8 + size + start] = 109
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"damaged \(a truth value is neither 0 nor 1\)|weights were altered"):
        load(path)


def test_a_version_that_is_none_is_refused(path):
    for version in ("\ud800", "1\n2", "", "1" * 100, 3):
        save(LU(2), path)
        rewritten(path, change=lambda d, v=version: d.update(library_version=v), reseal=True)
        with pytest.raises(ValueError, match=r"the header is damaged"):
            load(path)


def test_an_unknown_part_is_refused(path):
    save(Chain([LU(2), Flip(2)]), path)
    rewritten(path, change=lambda d: d["config"]["parts"][1].update(type="Flop"), reseal=True)
    with pytest.raises(ValueError, match=r"no part is called 'Flop' here"):
        load(path)


def test_a_config_that_cannot_be_built_is_refused(path):
    for change, words in (
        (lambda d: d["config"].update(wings=2), r"cannot build \(ValueError: .*wings"),
        (lambda d: d["config"].update(features="two"), r"cannot build"),
        (lambda d: d.update(config={"type": "Affine"}), r"the config builds a Affine, not a distribution"),
        (lambda d: d.update(config=3), r"the header is damaged"),
        (lambda d: d.update(shared={"a.b": "c"}), r"the header shares a part that the model does not have"),
        (lambda d: d.update(dtypes={"a.b": "float32"}), r"has no buffer a\.b"),
    ):
        save(LU(2), path)
        rewritten(path, change=change, reseal=True)
        with pytest.raises(ValueError, match=words):
            load(path)


class Trap:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_other_formats_are_refused_and_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = Path("model.safetensors")
    torch.save({"trap": Trap()}, file)
    with pytest.raises(ValueError, match=r"looks like a zip archive, as torch\.save writes\. Pickles can run code"):
        load(file)
    torch.save({"trap": Trap()}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"looks like a Python pickle\. Pickles can run code"):
        load(file)
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"looks like a Python pickle"):
        load(file)
    assert not Path("trapped").exists()
    for content, words in (
        (b"a,b\n1,2\n3,4\n", "not a model file: it looks like text, such as a CSV"),
        ("ä,b,{x}\n1,2,3\n".encode(), "looks like text, such as a CSV"),
        (b'{"type": {"a": 1}, "features": 2}', "looks like text, such as a CSV"),
        (b"a,b,c,d,{1,2,3,4,5}\n", "looks like text, such as a CSV"),
        (b"PAR1" + bytes(50), "looks like a Parquet table"),
        (bytes(range(1, 40)), "looks like other binary data"),
        (b"x", "looks like text"),
        (b"", "the file is empty"),
        (struct.pack("<Q", 20) + b"{" * 40, "the header is damaged"),
        (struct.pack("<Q", 2**24) + b"{" + b"[" * 2**24, "the header is damaged"),
        (struct.pack("<Q", 2**63) + b"{" * 40, "cut short or its header is damaged"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^model\.safetensors: .*{words}"):
            load(file)


def test_a_header_beyond_the_limit_is_refused(path):
    limit = header_module.MAX_HEADER
    with path.open("wb") as file:  # a sparse file: nothing of that size is written or read
        file.write(struct.pack("<Q", limit + 1) + b"{")
        file.truncate(limit + 100)
    with pytest.raises(ValueError, match=r"cut short or its header is damaged"):
        load(path)


def test_safetensors_of_other_origin_are_refused(path):
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"a safetensors file that pushforward\.save did not write"):
        load(path)
    save_file({"weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"a safetensors file that pushforward\.save did not write"):
        load(path)
    save_file({"weight": torch.zeros(2)}, path, metadata={"format": "pushforward-checkpoint-1"})
    with pytest.raises(ValueError, match=r"a checkpoint of a training run, not a model\. Continue it with resume=True"):
        load(path)
    for text in ("no json", "[" * 100_000, "3", '{"format":"another"}'):
        save_file({"weight": torch.zeros(2)}, path, metadata={"pushforward": text})
        with pytest.raises(ValueError, match=r"the header is damaged"):
            load(path)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors: there is no such file\. Check the path\."):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match=r"that is a folder, not a model"):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"that is a device or a pipe"):
        load("/dev/null")
