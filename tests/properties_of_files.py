"""Properties of model files: functions of ``(save, load, model, folder)`` that raise AssertionError where one fails."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from cases import inputs


def gives_back_the_model(files, model):
    """The config, every tensor with its dtype, and the numbers come back bit for bit."""
    save, load = files
    with TemporaryDirectory() as folder:
        save(model, Path(folder, "model.safetensors"))
        twin = load(Path(folder, "model.safetensors"))
    assert json.dumps(twin.config) == json.dumps(model.config), f"the config came back as {twin.config}"
    state = twin.state_dict()
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == tensor.dtype, f"{name} came back as {state[name].dtype}, not {tensor.dtype}"
        assert torch.equal(state[name], tensor), f"{name} came back with other values"
    x, context = inputs(model)
    for a, b in zip(twin.forward_and_ladj(x, context), model.forward_and_ladj(x, context), strict=True):
        assert torch.equal(a, b), "the loaded model gives other numbers"


def refuses_altered_weights(files, model):
    """A file in which one bit of the weights was flipped is refused."""
    save, load = files
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save(model, path)
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
        try:
            load(path)
        except ValueError:
            return
    raise AssertionError("altered weights were loaded without a word")


def refuses_altered_headers(files, model):
    """A file whose config was edited by hand is refused."""
    save, load = files
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save(model, path)
        data = path.read_bytes()
        assert data.count(b'swap\\":true') == 1
        path.write_bytes(data.replace(b'swap\\":true', b'swap\\":null'))
        try:
            load(path)
        except ValueError:
            return
    raise AssertionError("an edited config was loaded without a word")
