"""What cannot be swapped is kept, said, and goes on working; what is around it is still swapped."""

import fake_hosts
import pytest
import torch
from fake_hosts import picture, pipeline
from torch import nn

from samblocks import swap_blocks
from samblocks.blocks import CXBlock, LayerNorm2d, TwoWayAttentionBlock, TwoWayTransformer


class LoraLinear(nn.Module):
    """A linear layer with a low-rank detour, as adapters put one in place of a layer."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_a = nn.Linear(base_layer.in_features, 2, bias=False)
        self.lora_b = nn.Linear(2, base_layer.out_features, bias=False)
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features

    def forward(self, x):
        return self.base_layer(x) + self.lora_b(self.lora_a(x))


LoraLinear.__module__ = "peft.tuners.lora.layer"


def kept(report):
    return {row.path: row.reason for row in report.kept}


def check(model, report, before):
    """Results are what they were, and after undoing everything is."""
    with torch.no_grad():
        assert torch.equal(model(picture()), before)
    report.undo()
    with torch.no_grad():
        assert torch.equal(model(picture()), before)


@pytest.fixture
def model():
    return pipeline()


def run(model):
    with torch.no_grad():
        return model(picture())


@pytest.mark.parametrize(
    "register", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_modules_with_hooks(model, register):
    calls = []
    getattr(model.decoder.layers[1], register)(lambda *args: calls.append(args) and None)
    before = run(model)
    report = swap_blocks(model)
    reasons = kept(report)
    assert "hooks" in reasons["decoder.layers.1"]
    assert "layers.1" in reasons["decoder"]
    assert type(model.decoder) is fake_hosts.TwoWayTransformer
    assert isinstance(model.decoder.layers[0], TwoWayAttentionBlock)
    assert type(model.decoder.layers[1]) is fake_hosts.TwoWayAttentionBlock
    assert type(model.fuser).__module__.startswith("samblocks.")
    count = len(calls)
    check(model, report, before)
    if register != "register_full_backward_hook":
        assert len(calls) > count


def test_hooks_on_a_layer_stay_with_it(model):
    calls = []
    layer = model.decoder.layers[0].self_attn.q_proj
    layer.register_forward_hook(lambda *args: calls.append(args) and None)
    before = run(model)
    calls.clear()
    report = swap_blocks(model)
    assert not calls  # finding out how the host computes runs nobody's hooks
    assert isinstance(model.decoder, TwoWayTransformer)
    assert model.decoder.layers[0].self_attn.q_proj is layer
    assert kept(report) == {
        "decoder.layers.0.self_attn.q_proj": "the layer stays in place, with its forward hooks"
    }
    check(model, report, before)
    assert len(calls) == 2


def test_hooks_that_transformers_leaves_behind_do_not_count(model):
    def record(*args):
        return None

    record.__module__ = "transformers.utils.output_capturing"
    model.fuser.register_forward_hook(record)
    assert "fuser" in {row.path for row in swap_blocks(model).swapped}


def test_subclasses_that_change_something(model):
    class Louder(fake_hosts.CXBlock):
        def forward(self, x):
            return 2 * super().forward(x)

    class Named(fake_hosts.CXBlock):
        def title(self):
            return "named"

    class Same(fake_hosts.CXBlock):
        """Nothing but a constructor of its own."""

        def __init__(self):
            super().__init__(16)

    model.fuser.layers = nn.ModuleList([Louder(16), Named(16), Same(), fake_hosts.CXBlock(16)])
    before = run(model)
    report = swap_blocks(model)
    reasons = kept(report)
    assert reasons["fuser.layers.0"].endswith("CXBlock that overrides forward")
    assert reasons["fuser.layers.1"].endswith("CXBlock that defines title")
    assert "2" not in {path.rpartition(".")[2] for path in reasons}
    assert [isinstance(layer, CXBlock) for layer in model.fuser.layers] == [False, False, True, True]
    check(model, report, before)


def test_the_search_goes_on_inside_a_subclass(model):
    class Other(fake_hosts.TwoWayTransformer):
        def forward(self, image_embedding, image_pe, point_embedding):
            return super().forward(image_embedding, image_pe, point_embedding * 2)

    other = Other(2, 16, 2, 24).eval()
    other.load_state_dict(model.decoder.state_dict())
    model.decoder = other
    before = run(model)
    report = swap_blocks(model)
    assert model.decoder is other
    assert all(isinstance(layer, TwoWayAttentionBlock) for layer in other.layers)
    check(model, report, before)


def test_replaced_methods(model, monkeypatch):
    plain = model.fuser.layers[0].forward
    model.fuser.layers[0].forward = lambda x: plain(x) + 1
    monkeypatch.setattr(fake_hosts.TwoPassNorm, "forward", lambda self, x: x * self.weight[:, None, None])
    before = run(model)
    report = swap_blocks(model)
    reasons = kept(report)
    assert reasons["fuser.layers.0"] == "its forward was replaced on the instance"
    assert "the forward of its class was replaced" in reasons["norm"]
    check(model, report, before)


def test_adapters_stay_inside_ours(model):
    wrapped = LoraLinear(model.decoder.layers[0].cross_attn_image_to_token.v_proj)
    model.decoder.layers[0].cross_attn_image_to_token.v_proj = wrapped
    before, names = run(model), list(model.state_dict())
    report = swap_blocks(model)
    path = "decoder.layers.0.cross_attn_image_to_token.v_proj"
    assert kept(report) == {path: "a LoRA-wrapped layer: it stays in place"}
    assert report.kept[0].source == "peft.tuners.lora.layer.LoraLinear"
    assert isinstance(model.decoder, TwoWayTransformer)
    assert model.get_submodule(path) is wrapped
    assert list(model.state_dict()) == names
    check(model, report, before)


def test_an_adapter_that_comes_later_survives_undoing(model):
    report = swap_blocks(model)
    wrapped = LoraLinear(model.decoder.layers[1].self_attn.q_proj)
    model.decoder.layers[1].self_attn.q_proj = wrapped
    before = run(model)
    report.undo()
    assert model.decoder.layers[1].self_attn.q_proj is wrapped
    torch.testing.assert_close(run(model), before)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantized_layers_stay_inside_ours(model):
    engines = torch.backends.quantized.supported_engines
    if not set(engines) & {"x86", "fbgemm", "qnnpack", "onednn"}:
        pytest.skip("this torch has no quantized kernels")
    names = [f"decoder.layers.{i}.mlp.lin{j}" for i in (0, 1) for j in (1, 2)]
    quantized = torch.ao.quantization.quantize_dynamic(
        model, dict.fromkeys(names, torch.ao.quantization.default_dynamic_qconfig)
    )
    before = run(quantized)
    report = swap_blocks(quantized)
    assert set(kept(report)) == set(names)
    assert all("quantized" in reason for reason in kept(report).values())
    assert isinstance(quantized.decoder, TwoWayTransformer)
    check(quantized, report, before)


def test_layers_of_somebodys_own(model):
    class Scaled(nn.Linear):
        def forward(self, x):
            return 3 * super().forward(x)

    model.decoder.layers[0].mlp.lin1 = Scaled(16, 24)
    before = run(model)
    report = swap_blocks(model)
    assert kept(report) == {"decoder.layers.0.mlp.lin1": "not a layer of torch's: it stays in place"}
    check(model, report, before)


def test_compiled_modules(model):
    model.decoder = torch.compile(model.decoder, backend="eager")
    model.fuser.layers[1].compile(backend="eager")
    report = swap_blocks(model)
    reasons = kept(report)
    assert "compiled" in reasons["decoder"]
    assert "compiled" in reasons["fuser.layers.1"]
    assert "layers.1" in reasons["fuser"]
    assert isinstance(model.fuser.layers[0], CXBlock)
    assert {row.path for row in report.swapped} == {"fuser.layers.0", "norm", "memory"}


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
def test_scripted_modules(model):
    x = torch.ones(1, 16, 4, 4)
    model.fuser.layers[0] = torch.jit.trace(model.fuser.layers[0], x)
    before = run(model)
    report = swap_blocks(model)
    assert "scripted" in kept(report)["fuser.layers.0"]
    assert isinstance(model.fuser.layers[1], CXBlock)
    check(model, report, before)


def test_sharded_modules(model):
    class FSDPModule:
        pass

    class Sharded(FSDPModule, fake_hosts.TwoWayTransformer):
        pass

    model.decoder.__class__ = Sharded
    before = run(model)
    report = swap_blocks(model)
    assert "sharded by FSDP" in kept(report)["decoder"]
    assert not any(row.path.startswith("decoder") for row in report.swapped)
    check(model, report, before)


def test_modules_that_hold_more_than_ours(model):
    model.fuser.layers[0].adapter = nn.Linear(2, 2)
    model.decoder.layers[0].mlp = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))
    before = run(model)
    report = swap_blocks(model)
    reasons = kept(report)
    assert "ours has no place for" in reasons["fuser.layers.0"]
    assert "settings cannot be read" in reasons["decoder.layers.0"]
    assert isinstance(model.decoder.layers[1], TwoWayAttentionBlock)
    check(model, report, before)


def test_unknown_attention_implementations():
    from fake_transformers import decoder

    model = decoder("flash_attention_2")
    report = swap_blocks(model)
    assert "flash_attention_2" in kept(report)["transformer"]
    assert {row.path for row in report.swapped} >= {"norm", "iou_head"}


@pytest.mark.parametrize(
    ("part", "name", "value", "reason"),
    [
        ("transformer.layers.0.self_attn", "scaling", 1.0, "it scales scores by 1.0, ours by 0.35"),
        ("transformer.layers.1.cross_attn_token_to_image", "is_causal", True, "it is causal, ours is not"),
        (
            "transformer.layers.0.mlp",
            "sigmoid_output",
            True,
            "the sigmoid of a Sam2FeedForward in it is True",
        ),
        ("transformer.layers.1.self_attn", "num_attention_heads", 4, "it scales scores by"),
    ],
)
def test_a_setting_that_somebody_changed_inside_is_no_others(part, name, value, reason):
    from fake_transformers import decoder, maps

    model = decoder()
    setattr(model.get_submodule(part), name, value)
    with torch.no_grad():
        before = model(maps())
        report = swap_blocks(model)
        after = model(maps())
    reasons = kept(report)
    assert reason in reasons["transformer"], reasons
    assert "transformer.layers.0" in {row.path for row in report.swapped} or ".layers.0" in part
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(after, before, strict=True))


def test_a_perceptron_counts_its_layers():
    host = fake_hosts.hosted("sam2.modeling.sam2_utils", "MLP")(
        type("MLP", (nn.Module,), {"forward": lambda self, x: self.layers[1](self.layers[0](x).relu())})
    )()
    host.layers = nn.ModuleList([nn.Linear(4, 8), nn.Linear(8, 4)])
    host.num_layers, host.sigmoid_output = 3, False
    model = nn.Sequential(host)
    assert "it holds 2 layers, and its num_layers is 3" in kept(swap_blocks(model, trust="names"))["0"]
    host.num_layers = 2
    assert [row.path for row in swap_blocks(model, trust="names").swapped] == ["0"]


def test_norms_of_tokens_are_not_norms_of_maps():
    from fake_transformers import decoder

    model = decoder()
    model.norm.data_format = "channels_last"
    assert "norm of tokens" in kept(swap_blocks(model))["norm"]


def test_something_else_put_in_place_cannot_be_undone(model):
    from samblocks.errors import SwapError

    report = swap_blocks(model)
    model.norm = nn.Identity()
    with pytest.raises(SwapError, match="norm is a Identity by now"):
        report.undo()


def test_forms_follow_the_instance_that_is_swapped():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.two, self.fused = fake_hosts.TwoPassNorm(16), fake_hosts.FusedNorm(16)

        def forward(self, x):
            return self.fused(self.two(x))

    model = fake_hosts.fill_(Model())
    swap_blocks(model)
    assert isinstance(model.two, LayerNorm2d)
    assert isinstance(model.fused, LayerNorm2d)
    assert (model.two.in_steps, model.fused.in_steps) == (True, False)
    decoder = pipeline()
    swap_blocks(decoder)
    assert decoder.decoder.layers[0].self_attn.implementation == "divide"
    assert decoder.memory.layers[0].self_attn.implementation == "fused"


def test_the_order_of_operations_is_asked_for_in_each_dtype():
    """A host may take the fused kernel in one dtype and write attention out in another."""

    @fake_hosts.hosted("segment_anything.modeling.transformer", "Attention")
    class Choosing(fake_hosts.Attention):
        def forward(self, q, k, v):
            q, k, v = self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))
            if q.dtype == torch.float64:
                out = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
            else:
                out = ((q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5).softmax(-1) @ v
            return self.out_proj(out.transpose(1, 2).flatten(2))

    @fake_hosts.hosted("segment_anything.modeling.common", "LayerNorm2d")
    class ChoosingNorm(fake_hosts.TwoPassNorm):
        def forward(self, x):
            host = fake_hosts.FusedNorm if x.dtype == torch.float64 else fake_hosts.TwoPassNorm
            return host.forward(self, x)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.norm = Choosing(24, 2), ChoosingNorm(24)

        def forward(self, x):
            x = self.norm(x).flatten(2).transpose(1, 2)
            return self.attention(x, x.flip(1), x)

    x = torch.linspace(-3, 3, 24 * 20).mul(7).sin().reshape(1, 24, 4, 5)
    found = {}
    for dtype in (torch.float32, torch.float64, torch.float32):
        model = fake_hosts.fill_(Model()).to(dtype).eval()
        with torch.no_grad():
            before = model(x.to(dtype))
            assert not swap_blocks(model).kept
            assert torch.equal(model(x.to(dtype)), before)
        found[dtype] = (model.attention.implementation, model.norm.in_steps)
    assert found == {torch.float32: ("divide", True), torch.float64: ("scale_scores", False)}


@fake_hosts.hosted("segment_anything.modeling.prompt_encoder", "PositionEmbeddingRandom")
class Directions(nn.Module):
    """Random directions that are kept as a plain attribute, as a buffer, or as one that is not saved."""

    def __init__(self, kept):
        super().__init__()
        directions = torch.linspace(-1, 1, 16).mul(5).cos().reshape(2, 8)
        if kept == "attribute":
            self.positional_encoding_gaussian_matrix = directions
        else:
            self.register_buffer(
                "positional_encoding_gaussian_matrix", directions, persistent=kept == "buffer"
            )

    def forward(self, size):
        height, width = size
        y, x = (torch.arange(1, 2 * side, 2) / (2 * side) for side in size)
        places = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        angles = 2 * torch.pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ("attribute", "it has no tensor positional_encoding_gaussian_matrix"),
        ("unsaved", "its state dict has nothing where ours has positional_encoding_gaussian_matrix"),
        ("buffer", ""),
    ],
)
def test_hosts_that_lack_a_buffer_of_ours(held, reason):
    model = nn.Sequential(Directions(held))
    before = model((3, 4))
    report = swap_blocks(model)
    assert kept(report) == ({"0": reason} if reason else {})
    assert (type(model[0]) is Directions) is bool(reason)
    torch.testing.assert_close(model((3, 4)), before)
    report.undo()
    assert type(model[0]) is Directions
