"""Each layout on a seeded random network saved in it; and every way in which a file can be wrong."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet34

from uslnet_core.encoder import MEAN, STD, Encoder
from uslnet_core.errors import ConfigError, DataError
from uslnet_core.transformer import TransformerEncoder
from uslnet_core.weights import CHECKPOINTS, LAYOUTS, load_checkpoint, load_public, set_normalised
from uslnet_core.weights.reading import BACKBONE, SHAPES, shape_of

pytestmark = pytest.mark.usefixtures("one_thread")


@torch.no_grad()
def maps_of(original: torch.nn.Module, images: torch.Tensor, normalised: bool) -> torch.Tensor:
    """The last map, computed by the authors' own network."""
    if normalised:
        images = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    if hasattr(original, "forward_features"):
        tokens = original.forward_features(images)[:, 1:]
        side = int(tokens.shape[1] ** 0.5)
        return tokens.transpose(1, 2).unflatten(2, (side, side))
    for name, child in original.named_children():
        if name == "avgpool":
            return images
        images = child(images)


@torch.no_grad()
def assert_same(network, original, normalised: bool = True) -> None:
    # a side that all patch sizes divide, and a ResNet's strides
    images = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(3))
    (found,), expected = network(images), maps_of(original, images, normalised)
    assert found.shape == expected.shape and expected.std() > 1e-3
    assert torch.allclose(found, expected, atol=1e-5 * expected.abs().max().item())
    assert not network.training


CASES = sorted({(each.layout, each.architecture) for each in CHECKPOINTS.values()})
CASES += [(name, "resnet18") for name, each in LAYOUTS.items() if "resnet18" in each.architectures]


@pytest.mark.parametrize(("layout", "architecture"), CASES)
def test_each_layout_gives_the_original_network(save, originals, tmp_path, layout, architecture):
    own = [each.file for each in CHECKPOINTS.values() if (each.layout, each.architecture) == (layout, architecture)]
    path = save(layout, architecture, (own or ["mine.pth"])[0])
    network, report = load_public(str(path), folder=tmp_path / "none", backbone=architecture)
    assert_same(network, originals[architecture], LAYOUTS[layout].normalised)
    assert isinstance(network, TransformerEncoder if "vit" in architecture else Encoder)
    assert (report.layout, report.architecture, report.source) == (layout, architecture, path.name)
    assert report.normalised == LAYOUTS[layout].normalised == (layout != "simclr")
    # every key of the file is accounted for, and only the backbone's are loaded
    prefix = LAYOUTS[layout].prefix
    weights = [name for name in originals[architecture].state_dict() if not name.startswith("fc.")]
    assert sorted(report.loaded) == sorted(prefix + name for name in weights) and report.absent == ()
    behind = [name.removeprefix(prefix) for name in report.dropped if name.startswith(prefix)]
    assert not any(BACKBONE.match(name) for name in behind)
    assert report.fraction == len(weights) / (len(weights) + len(report.dropped))
    kept = network.state_dict()
    rename = {"conv1": "stem.0", "bn1": "stem.1"}
    for name, value in originals[architecture].state_dict().items():
        if name in weights:
            first, _, rest = name.partition(".")
            ours = f"vit.{name}" if "vit" in architecture else f"{rename.get(first, first)}.{rest}"
            assert torch.equal(kept.pop(ours), value), name
    assert not kept


def test_report_lists_what_is_dropped_and_ignored(save):
    _, report = load_checkpoint(save("moco", "resnet18"))
    assert {"module.queue", "module.queue_ptr", "module.encoder_q.fc.0.weight", "module.encoder_k.conv1.weight"} < set(
        report.dropped
    )
    assert set(report.ignored) == {"epoch", "arch", "optimizer"}
    assert 0.45 < report.fraction < 0.5
    text = report.summary()
    assert "a whole resnet18" in text and "120 of the file's 248 tensors (48%)" in text
    assert "module.encoder_k.* (123)" in text and "module.queue" in text and report.sha256[:12] in text
    facts = report.facts()
    assert facts["fraction"] == report.fraction and "module.queue" in facts["dropped"] and facts["normalised"] is True
    _, report = load_checkpoint(save("vissl", "resnet18"))
    assert "classy_state_dict → base_model → model → heads" in report.ignored and "phase_idx" in report.ignored
    assert report.dropped == () and report.fraction == 1.0


def test_simclr_images_stay_as_they_are(save, tmp_path):
    path = save("simclr", "resnet50")
    network, report = load_public(f"simclr_r50:{path}", folder=tmp_path)
    assert network.mean.eq(0).all() and network.std.eq(1).all() and "no mean and deviation" in report.summary()
    set_normalised(network, True)
    assert torch.allclose(network.mean.flatten(), torch.tensor(MEAN))
    assert torch.allclose(network.std.flatten(), torch.tensor(STD))
    # the same bytes without a known name: nothing in them says which images they want
    with pytest.raises(DataError, match=r"simclr \(left in \[0, 1\]\); torchvision \(mean.*init=simclr:PATH or"):
        load_public(str(path), folder=tmp_path)
    network, report = load_public(f"torchvision:{path}", folder=tmp_path)
    assert report.normalised and network.mean.ne(0).all()


def test_counters_may_be_missing_and_nothing_else(save, originals):
    def without_counters(content):
        for name in [name for name in content if name.endswith("num_batches_tracked")]:
            del content[name]

    network, report = load_checkpoint(save("torchvision", "resnet18", change=without_counters))
    assert_same(network, originals["resnet18"])
    assert len(report.absent) == 20 and "20 counters" in report.summary()


@pytest.mark.parametrize("gone", ["bn1.running_mean", "layer4.1.bn2.running_var", "layer2.0.downsample.0.weight"])
def test_one_missing_key_is_an_error(save, gone):
    def remove(content):
        del content["state_dict"][f"module.encoder_q.{gone}"]

    path = save("moco", "resnet18", change=remove)
    with pytest.raises(DataError, match=rf"lacks 1 of 120 tensors \({gone}\).*Half a backbone"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("layout", "architecture", "old", "new"),
    [
        ("lightly", "resnet18", "backbone.conv1.weight", "backbone.conv1.wieght"),
        ("torchvision", "resnet18", "layer1.0.bn1.bias", "layer1.0.bn1.offset"),
        ("dino", "vit_s16", "blocks.5.attn.qkv.weight", "blocks.5.attn.in_proj.weight"),
        ("dinov2", "vit_s14", "blocks.0.ls1.gamma", "blocks.0.ls1.scale"),
        ("moco_v3", "vit_s16_h12", "module.base_encoder.cls_token", "module.base_encoder.class_token"),
    ],
)
def test_a_renamed_key_is_an_error(save, layout, architecture, old, new):
    def rename(content):
        tensors = content.get("state_dict", content)
        tensors[new] = tensors.pop(old)

    prefix = LAYOUTS[layout].prefix
    with pytest.raises(DataError, match=rf"lacks 1 of \d+ tensors \({old.removeprefix(prefix)}\)"):
        load_checkpoint(save(layout, architecture, change=rename))


def test_a_block_too_many_another_shape_and_wild_values(save):
    def longer(content):
        content["layer1.0.conv9.weight"] = torch.zeros(1)

    with pytest.raises(DataError, match=r"has 1 that this network does not \(layer1.0.conv9.weight\)"):
        load_checkpoint(save("torchvision", "resnet18", change=longer))

    def narrower(content):
        content["conv1.weight"] = torch.zeros(64, 3, 3, 3)

    with pytest.raises(DataError, match=r"conv1.weight is \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)"):
        load_checkpoint(save("torchvision", "resnet18", change=narrower))

    def wild(content):
        content["bn1.weight"] = content["bn1.weight"].clone()
        content["bn1.weight"][3] = float("nan")

    with pytest.raises(DataError, match=r"not finite \(bn1.weight\)"):
        load_checkpoint(save("torchvision", "resnet18", change=wild))


def test_wrong_architecture_names_both_and_the_parameter(save, tmp_path):
    path = save("moco", "resnet18")
    with pytest.raises(ConfigError, match="holds a resnet18, but backbone is resnet50. Use -p backbone=resnet18"):
        load_public(str(path), folder=tmp_path, backbone="resnet50")
    path = save("dino", "vit_s16")
    with pytest.raises(ConfigError, match="holds a vit_s16, but backbone is resnet50. Use -p backbone=vit_s16"):
        load_public(str(path), folder=tmp_path, backbone="resnet50")
    # by name it is said before a file is looked for
    with pytest.raises(ConfigError, match="moco_v2_800 holds a resnet50, but backbone is resnet18"):
        load_public("moco_v2_800", folder=tmp_path, backbone="resnet18")


def test_architectures_that_are_not_known(save, tmp_path):
    torch.save(resnet34().state_dict(), tmp_path / "other.pth")
    with pytest.raises(DataError, match="holds a resnet34, expected one of resnet18, resnet50, vit"):
        load_checkpoint(tmp_path / "other.pth")
    (tmp_path / "other.pth").unlink()
    with pytest.raises(DataError, match=r"holds a resnet18, expected resnet50\. Take another"):
        load_public(f"simclr_r50:{save('simclr', 'resnet18')}", folder=tmp_path)
    path = save("dino", "vit_s16", change=lambda content: {k: v for k, v in content.items() if "blocks.11" not in k})
    with pytest.raises(DataError, match="a transformer of 11 blocks, width 384, patch 16"):
        load_checkpoint(path)


def test_shapes_tell_all_architectures_but_the_heads_apart(originals):
    for name, original in originals.items():
        assert shape_of(original.state_dict()) == SHAPES[name]
    assert len(set(SHAPES.values())) == len(SHAPES) - 1


def test_a_layout_other_than_the_one_named(save, tmp_path):
    path = save("torchvision", "resnet18")
    with pytest.raises(DataError, match=r"not the layout.*moco: state_dict → module.encoder_q.*first keys are conv1"):
        load_public(f"moco_v2_200:{path}", folder=tmp_path)
    torch.save({"model": {"weird.0.weight": torch.zeros(2)}, "epoch": 3}, tmp_path / "weird.pth")
    with pytest.raises(DataError) as caught:
        load_public(str(tmp_path / "weird.pth"), folder=tmp_path)
    assert "model → weird.0.weight, epoch" in str(caught.value)
    assert all(f"\n  {name}: " in str(caught.value) for name in LAYOUTS)


def test_half_precision_and_the_old_file_format(save, originals):
    def halve(content):
        for name, value in content.items():
            content[name] = value.bfloat16() if value.is_floating_point() else value

    network, _ = load_checkpoint(save("dino", "vit_s16", change=halve))
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    network, report = load_checkpoint(save("moco", "resnet18", _use_new_zipfile_serialization=False))
    assert_same(network, originals["resnet18"])


@pytest.mark.parametrize(
    ("prefix", "architecture"), [("", "resnet18"), ("module.encoder_q.", "resnet18"), ("", "vit_s14")]
)
def test_safetensors(originals, tmp_path, prefix, architecture):
    weights = originals[architecture].state_dict()
    path = tmp_path / "mine.safetensors"
    save_file({prefix + name: value.contiguous() for name, value in weights.items()}, path)
    network, report = load_public(str(path), folder=tmp_path)
    assert_same(network, originals[architecture])
    assert report.dropped == tuple(sorted(f"{prefix}{name}" for name in weights if name.startswith("fc.")))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match="no whole safetensors file"):
        load_checkpoint(path)
    path.unlink()


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("left", [0.999, 0.5, 0.0002])
def test_truncated(save, modern, left):
    path = save("torchvision", "resnet18", _use_new_zipfile_serialization=modern)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(DataError, match="file.pth is damaged or cut short"):
        load_checkpoint(path)


ran = []


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return ran.append, ("ran",)


class Plain:
    """A harmless object, of a class all the same."""


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("thing", [Payload(), Plain()])
def test_a_pickled_object_is_refused_and_not_run(save, modern, thing):
    ran.clear()
    path = save(
        "moco", "resnet18", change=lambda content: {**content, "args": thing}, _use_new_zipfile_serialization=modern
    )
    with pytest.raises(DataError, match=r"more than tensors.*: a pickled (getattr|test_loading.Plain)\..*was not read"):
        load_checkpoint(path)
    assert ran == []


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"state_dict": Payload()}, protocol=2))
    with pytest.raises(DataError):
        load_checkpoint(tmp_path / "x.pth")
    assert ran == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"Dear Sir or Madam,\nthe file that you asked for", "no checkpoint: it begins with b'Dear Sir"),
        (b"<!doctype html>", "no checkpoint"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no checkpoint"),
    ],
)
def test_no_checkpoint_at_all(tmp_path, content, message):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_checkpoint(tmp_path / "x.pth")


def test_a_tensor_or_a_list_is_no_state_dict(tmp_path):
    for content in (torch.zeros(3), [torch.zeros(3)]):
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(DataError, match=r"holds a (Tensor|list), expected a dictionary"):
            load_checkpoint(tmp_path / "x.pth")
    torch.save({}, tmp_path / "x.pth")
    with pytest.raises(DataError, match="first keys are nothing at all"):
        load_checkpoint(tmp_path / "x.pth")


def test_names_and_paths_that_lead_nowhere(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean moco_v2_800"):
        load_public("moco_v2_80", folder=tmp_path)
    for path in ("nowhere.pth", str(tmp_path / "nowhere"), f"moco:{tmp_path / 'nowhere'}", str(tmp_path)):
        with pytest.raises(DataError, match="there is no such file"):
            load_public(path, folder=tmp_path)
    with pytest.raises(DataError, match="uslnet weights fetch moco_v2_800 "):
        load_public("moco_v2_800", folder=tmp_path)


def test_the_callers_random_numbers_stay_as_they_are(save):
    path = save("torchvision", "resnet18")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_checkpoint(path)
    assert torch.equal(torch.rand(3), expected)
