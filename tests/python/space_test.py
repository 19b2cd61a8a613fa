"""intrinsic_dimension and context_reach against numpy: the same figures from vectors and logits that `activations` writes, on a GPT-2 and a T5."""
import os
import pathlib
import subprocess

import h5py
import numpy as np
import pytest

PROGRAM, SOURCE = os.environ["WAYFARER"], pathlib.Path(os.environ["WAYFARER_SOURCE"])
MODELS = {"gpt2": ("tests/data/gpt2-odd", 11, 28, "blocks.*.hook_resid_post"), "t5": ("tests/data/t5-relu", 40, 31, "encoder.*.hook_resid_post")}


def items_of(count, length, vocabulary):
    draw = np.random.default_rng(3)
    return [" ".join(str(t) for t in draw.integers(2, vocabulary, length)) for _ in range(count)]


def run(folder, text):
    path = folder / "p.yaml"
    path.write_text(text)
    result = subprocess.run([PROGRAM, "run", path, "--out", folder / "r.h5", "--force"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return h5py.File(folder / "r.h5", "r")


@pytest.mark.parametrize("family", MODELS)
def test_dimension_is_that_of_numpy(family, tmp_path):
    where, length, vocabulary, hooks = MODELS[family]
    ids = ", ".join(f'"{item}"' for item in items_of(30, length, vocabulary))
    result = run(tmp_path, f"""
nodes:
  items: {{source: tokens, ids: [{ids}]}}
  model: {{model: {family}, path: {SOURCE / where}}}
  vectors: {{probe: activations, model: model, source: items, hooks: ["{hooks}"]}}
  room: {{probe: intrinsic_dimension, model: model, source: items, hooks: ["{hooks}"], sample: 5000}}
""")
    layers = [name.decode() if isinstance(name, bytes) else name for name in result["room/layer"][()]]
    assert len(layers) >= 2
    for layer, hook in enumerate(layers):
        x = result["vectors"][hook][()].astype(np.float64)
        x = x.reshape(-1, x.shape[-1])
        x = x[np.isfinite(x).all(axis=1)]
        assert len(x) == 30 * length == result["room/sampled"][()]
        _, first = np.unique(x, axis=0, return_index=True)
        kept = x[np.sort(first)]
        away = np.sort(np.sqrt(((kept[:, None] - kept[None]) ** 2).sum(axis=2)), axis=1)
        ratios = np.sort(np.log(away[:, 2] / away[:, 1]))
        k = int(np.ceil(0.9 * len(ratios)))
        dimension = (k - 1) / (ratios[:k].sum() + (len(ratios) - k) * ratios[k - 1])
        centred = x - x.mean(axis=0)
        values = np.linalg.svd(centred, compute_uv=False)
        shares = values / values.sum()
        cosine = lambda y: ((u := y / np.linalg.norm(y, axis=1)[:, None]) @ u.T).sum()
        expected = {
            "two_nn": dimension,
            "two_nn_standard_error": dimension / np.sqrt(k - 2),
            "duplicates": 1 - len(kept) / len(x),
            "participation_ratio": (values**2).sum() ** 2 / (values**4).sum(),
            "effective_rank": np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
            "mean_cosine": (cosine(x) - len(x)) / (len(x) * (len(x) - 1)),
            "mean_cosine_centred": (cosine(centred) - len(x)) / (len(x) * (len(x) - 1)),
            "mean_share": (x.mean(axis=0) ** 2).sum() / (x**2).sum(axis=1).mean(),
        }
        for name, value in expected.items():
            assert result["room"][name][layer] == pytest.approx(value, rel=1e-6, abs=1e-9), (hook, name)
        assert result["room/variance_share"][layer] == pytest.approx(values**2 / (values**2).sum(), abs=1e-9)


def test_reach_is_that_of_numpy(tmp_path):
    texts, hidden = items_of(20, 11, 28), 4
    whole = ", ".join(f'"{item}"' for item in texts)
    cut = ", ".join('"' + " ".join(item.split()[hidden:]) + '"' for item in texts)
    result = run(tmp_path, f"""
nodes:
  items: {{source: tokens, ids: [{whole}]}}
  near: {{source: tokens, ids: [{cut}]}}
  model: {{model: gpt2, path: {SOURCE / "tests/data/gpt2-odd"}}}
  full: {{probe: activations, model: model, source: items, hooks: [logits]}}
  cut: {{probe: activations, model: model, source: near, hooks: [logits]}}
  reach: {{probe: context_reach, model: model, source: items, hidden: {hidden}}}
""")

    def laws(logits):
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return p / p.sum(axis=-1, keepdims=True)

    p = laws(result["full/logits"][()].astype(np.float64))[:, hidden:-1]
    q = laws(result["cut/logits"][()].astype(np.float64))[:, :-1]
    middle = (p + q) / 2
    divergence = ((p * np.log(p / middle)).sum(axis=2) + (q * np.log(q / middle)).sum(axis=2)) / 2
    ids = np.array([[int(t) for t in item.split()] for item in texts])[:, hidden + 1:, None]
    loss = -np.log(np.take_along_axis(q, ids, axis=2))[..., 0]
    reach = result["reach"]
    assert reach["divergence_hidden"][()] == pytest.approx(divergence.mean(axis=0), abs=1e-7)
    assert reach["divergence_hidden_standard_error"][()] == pytest.approx(divergence.std(axis=0, ddof=1) / np.sqrt(20), abs=1e-6)
    assert reach["loss_hidden"][()] == pytest.approx(loss.mean(axis=0), abs=1e-5)
    assert reach["loss_hidden_standard_error"][()] == pytest.approx(loss.std(axis=0, ddof=1) / np.sqrt(20), abs=1e-5)
