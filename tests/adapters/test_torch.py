"""What the launcher asks of torch by private names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from launcher.adapters import torch as adapter


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def tensors() -> list[Tensor]:
    return [torch.tensor([-1.0, 4.0]), torch.tensor([[9.0]])]


def equal(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_lists_of_tensors_give_new_ones() -> None:
    ones = [torch.ones_like(each) for each in tensors()]
    for name, words, formula in (
        ("abs", (), torch.abs),
        ("mul", (3.0,), lambda x: x * 3),
        ("div", (2.0,), lambda x: x / 2),
        ("norm", (), torch.linalg.vector_norm),
        ("sub", (ones,), lambda x: x - 1),
        ("lerp", (ones, 0.5), lambda x: (x + 1) / 2),
    ):
        result = getattr(adapter, f"foreach_{name}")(tensors(), *words)
        assert equal(list(result), [formula(each) for each in tensors()]), name
    positive = [each.abs() for each in tensors()]
    assert equal(list(adapter.foreach_sqrt(positive)), [each.sqrt() for each in positive])
    assert equal(list(adapter.foreach_rsqrt(positive)), [each.rsqrt() for each in positive])


def test_lists_of_tensors_are_changed_in_place() -> None:
    ones = [torch.ones_like(each) for each in tensors()]
    for name, words, options, formula in (
        ("add_", (ones,), {"alpha": 2.0}, lambda x: x + 2),
        ("addcmul_", (ones, ones), {"value": 2.0}, lambda x: x + 2),
        ("clamp_", (0.0, 5.0), {}, lambda x: x.clamp(0, 5)),
        ("copy_", (ones,), {}, torch.ones_like),
        ("lerp_", (ones, 0.5), {}, lambda x: (x + 1) / 2),
        ("mul_", (torch.tensor(3.0),), {}, lambda x: x * 3),
        ("sign_", (), {}, torch.sign),
    ):
        changed = tensors()
        getattr(adapter, f"foreach_{name}")(changed, *words, **options)
        assert equal(changed, [formula(each) for each in tensors()]), name


def test_layers_of_a_kind_are_of_one_class() -> None:
    for each in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
        assert issubclass(each, adapter.BatchNorm)
        assert issubclass(each, adapter.Norm)
    assert issubclass(nn.InstanceNorm1d, adapter.Norm)
    assert not issubclass(nn.LayerNorm, adapter.Norm)
    assert all(issubclass(each, adapter.Convolution) for each in (nn.Conv1d, nn.ConvTranspose2d, nn.Conv3d))


def test_what_comes_after_a_backward_pass() -> None:
    weight = torch.ones(1, requires_grad=True)
    order: list[str] = []
    result = weight * 2
    result.register_hook(lambda _: adapter.after_backward(lambda: order.append("end")))
    weight.register_post_accumulate_grad_hook(lambda _: order.append("gradient"))
    result.sum().backward()
    assert order == ["gradient", "end"]


def test_a_scaler_notes_what_overflows() -> None:
    scaler = torch.amp.GradScaler("cpu")
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    adapter.leave_scaling_to_scaler(optimizer)
    scaler.scale(weight.sum()).backward()
    assert weight.grad is not None
    weight.grad.fill_(torch.inf)
    scaler.unscale_(optimizer)
    assert [float(each) for each in adapter.overflows(scaler, optimizer)] == [1.0]
    scaler.step(optimizer)
    assert weight.item() == 1.0
    adapter.overflows(scaler, optimizer)[0].zero_()
    assert [float(each) for each in adapter.overflows(scaler, optimizer)] == [0.0]


@pytest.mark.filterwarnings("error")
def test_a_schedule_of_an_optimizer_that_counts_as_stepped_is_silent() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    adapter.count_as_stepped(optimizer)
    schedule.step()


def test_the_units_of_this_processor() -> None:
    assert isinstance(adapter.has_matrix_units(), bool)
    assert isinstance(adapter.has_bfloat16_vectors(), bool)


def test_views_share_an_address() -> None:
    whole = torch.zeros(4)
    assert adapter.address(whole.untyped_storage()) == adapter.address(whole[:2].untyped_storage())
    assert adapter.address(whole.untyped_storage()) != adapter.address(torch.zeros(4).untyped_storage())


def test_parts_of_a_module() -> None:
    module = nn.BatchNorm1d(2)
    assert adapter.is_buffer(module, "running_mean")
    assert not adapter.is_buffer(module, "weight")
    other = nn.Parameter(torch.zeros(2))
    adapter.replace_parameter(module, "weight", other)
    assert module.weight is other
    assert next(iter(module.state_dict())) == "weight"


def test_a_mesh_is_flattened(group: None) -> None:
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("replicate", "shard"))
    assert adapter.flattened(mesh, "data").get_group().size() == 1


def test_ddp_times_its_communication(group: None) -> None:
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    assert adapter.communication_times(model)["world_size"] == 1
    assert adapter.communication_times(nn.Linear(2, 2)) is None


def test_the_attention_of_a_cpu() -> None:
    with adapter.FakeTensorMode():
        query = torch.ones(1, 1, 4, 8)
        forward, backward = adapter.cpu_attention()
        assert forward(query, query, query)[0].shape == query.shape
    assert backward.__name__ == "_scaled_dot_product_flash_attention_for_cpu_backward"


def test_tensors_without_contents() -> None:
    with adapter.FakeTensorMode():
        hollow = torch.ones(2)
        assert isinstance(hollow, adapter.FakeTensor)
        with pytest.raises(adapter.DataDependentOutputException):
            hollow.sum().item()
        with adapter.without_modes():
            assert not isinstance(torch.ones(2), adapter.FakeTensor)
    shapes: list[torch.Size] = []
    adapter.tree_map_only(Tensor, lambda each: shapes.append(each.shape), {"a": [torch.ones(3), 1]})
    assert shapes == [torch.Size([3])]
