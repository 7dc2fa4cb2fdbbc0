"""A network of timm with a head for the classes of your pictures."""

try:
    import timm
except ImportError:
    raise ImportError("this example takes its network from timm: pip install timm") from None


def network(name="mobilenetv3_small_100", classes=2, pretrained=False):
    """What automl.toml names; another: model = "model.py:network('resnet18', classes=10)"."""
    return timm.create_model(name, pretrained=pretrained, num_classes=classes)
