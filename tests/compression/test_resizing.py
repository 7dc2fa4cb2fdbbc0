import torch

from automl.compression.resizing import resized, tiled


def test_images_are_resized_where_they_are_images_of_another_size() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert resized(images, 0) is images
    assert resized(images, 16) is images
    assert resized(images, 8).shape == (2, 3, 8, 8)
    vectors = torch.rand(2, 20)
    assert resized(vectors, 8) is vectors


def test_images_are_repeated_until_they_fill_a_larger_shape() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert tiled(images, (1, 3, 4, 4)) is images
    found = tiled(images, (1, 3, 6, 9))
    assert found.shape == (2, 3, 6, 9)
    assert torch.equal(found[:, :, :4, :4], images)
    assert torch.equal(found[:, :, 4:, 4:8], images[:, :, :2])
    assert torch.equal(found[..., 8], found[..., 0])
    assert torch.equal(tiled(images, (1, 3, 2, 3)), images[:, :, :2, :3])
    assert tiled(torch.rand(2, 5, 8), (1, 7, 8)).shape == (2, 7, 8)
