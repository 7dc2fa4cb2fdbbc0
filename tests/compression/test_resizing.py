import torch

from automl.compression.resizing import resized


def test_images_are_resized_where_they_are_images_of_another_size() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert resized(images, 0) is images
    assert resized(images, 16) is images
    assert resized(images, 8).shape == (2, 3, 8, 8)
    vectors = torch.rand(2, 20)
    assert resized(vectors, 8) is vectors
