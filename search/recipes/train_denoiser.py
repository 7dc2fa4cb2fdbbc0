"""Train the denoiser on public-domain and rendered pictures; write its weights and its crops.

    pip install scikit-image pywavelets
    export OMP_NUM_THREADS=1
    python search/recipes/train_denoiser.py --out /tmp/whole
    python search/recipes/train_denoiser.py --start /tmp/whole/weights.pt \\
        --drop 0.7 --steps 3000 --seed 1

In the second run blocks are left out at random, so that a search can leave some out. The network is
trained on photographs of scikit-image and on rendered dead leaves. The pictures of validation and
test are never trained on, and those of the test are only read for the figures at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from automl.errors import DataError
from automl.example.data import PARTS as PARTS_IN_ORDER
from automl.example.denoiser.data import IMAGES, as_input, noisy, pack, with_noise
from automl.example.denoiser.model import Denoiser
from automl.userdata import psnr

#: Files of scikit-image's `data` folder, all CC0 or in the public domain, by what they are for.
PARTS: Final = {
    "calibration": (
        *("rocket.jpg", "camera.png", "brick.png", "grass.png", "gravel.png"),
        "retina.jpg",
    ),
    "validation": ("chelsea.png",),
    "test": ("astronaut.png", "coffee.png"),
}
#: Crops that are shipped, in all.
CALIBRATION_CROPS, VALIDATION_CROPS, TEST_CROPS = 48, 24, 40
CROP: Final = 64
#: Rendered pictures, their side in pixels, and how many leaves fall on each.
RENDERED, RENDERED_SIDE, LEAVES = 160, 256, 500
#: Radii of leaves on the canvas, which is twice as large; small ones are the most frequent.
RADII: Final = (6.0, 200.0)
#: How often a training crop is of a rendered picture.
RENDERED_SHARE: Final = 0.6

Pixels = NDArray[np.uint8]


def read_picture(folder: Path, name: str) -> Pixels:
    """A picture as uint8 [h, w, 3]; those of more than 800 pixels a side at half the size."""
    from PIL import Image

    path = folder / name
    if not path.is_file():
        raise DataError(f"{path}: not found (pip install scikit-image)")
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if max(picture.size) > 800:
        picture = picture.reduce(2)
    return np.array(picture)


def palette_of(pictures: Sequence[Pixels]) -> Pixels:
    """Colours of pictures [n, 3], half as colourful."""
    colours = np.concatenate([picture.reshape(-1, 3)[::97] for picture in pictures])
    return ((colours.astype(np.float32) + colours.mean(1, keepdims=True)) / 2).astype(np.uint8)


def render(palette: Pixels, generator: np.random.Generator) -> Pixels:
    """Dead leaves: discs that hide one another, small ones many, each with a shade and a texture.

    Colours are drawn from the palette [n, 3]. uint8 [side, side, 3]. The model of natural pictures
    is Lee, Mumford, Huang 2001 (occlusion models, section 3); that denoisers learn from it:
    Achddou, Gousseau, Ladjal 2021 (Synthetic images as a regularity prior). What differs: shades.
    """
    side = 2 * RENDERED_SIDE
    canvas = np.empty((side, side, 3), dtype=np.float32)
    canvas[:] = palette[generator.integers(len(palette))]
    low, high = RADII
    # density r^-3 between the two radii
    draws = generator.random(LEAVES)
    radii = (low**-2 - draws * (low**-2 - high**-2)) ** -0.5
    for radius in radii:
        _fall(canvas, float(radius), palette[generator.integers(len(palette))], generator)
    small = canvas.reshape(RENDERED_SIDE, 2, RENDERED_SIDE, 2, 3).mean((1, 3))
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _fall(
    canvas: NDArray[np.float32], radius: float, colour: Pixels, generator: np.random.Generator
) -> None:
    """Draw one leaf: a colour, a slope of brightness across it, and a grain or waves."""
    side = len(canvas)
    y, x = generator.uniform(-radius / 2, side + radius / 2, 2)
    top, left = max(0, int(y - radius)), max(0, int(x - radius))
    rows = np.arange(top, min(side, int(y + radius) + 2), dtype=np.float32)[:, None] - y
    columns = np.arange(left, min(side, int(x + radius) + 2), dtype=np.float32)[None] - x
    if not rows.size or not columns.size:
        return
    inside = rows**2 + columns**2 <= radius**2
    angle, turn, slope = generator.uniform(0, 2 * np.pi), generator.uniform(0.05, 1.2), 0.0
    slope = generator.normal(0, 25) / radius
    across = np.cos(angle) * rows + np.sin(angle) * columns
    shade = slope * across
    if generator.random() < 0.4:
        shade = shade + generator.uniform(2, 25) * np.sin(turn * across)
    elif generator.random() < 0.4:
        grain = generator.normal(0, generator.uniform(2, 20), shade.shape)
        shade = shade + grain.astype(np.float32)
    leaf = colour + shade[..., None]
    part = canvas[top : top + len(rows), left : left + columns.shape[1]]
    part[inside] = leaf[inside]


def crops_of(picture: Pixels, count: int, generator: np.random.Generator) -> Pixels:
    """So many crops [count, 64, 64, 3] that do not overlap, at places of a grid that are drawn."""
    rows, columns = (extent // CROP for extent in picture.shape[:2])
    places = generator.permutation(rows * columns)[:count]
    if len(places) < count:
        raise DataError(f"a picture of {picture.shape[:2]} has no {count} crops of {CROP} pixels")
    return np.stack(
        [
            picture[CROP * row : CROP * (row + 1), CROP * column : CROP * (column + 1)]
            for row, column in (divmod(int(place), columns) for place in places)
        ]
    )


def shares(pictures: Sequence[Pixels], count: int, generator: np.random.Generator) -> Pixels:
    """Crops of all pictures, as equally many as can be."""
    each, more = divmod(count, len(pictures))
    return np.concatenate(
        [
            crops_of(picture, each + (number < more), generator)
            for number, picture in enumerate(pictures)
            if each + (number < more)
        ]
    )


class Crops:
    """Random crops of pictures, turned, mirrored, and their colours changed."""

    def __init__(
        self, photographs: Sequence[Pixels], rendered: Sequence[Pixels], seed: int
    ) -> None:
        self._photographs, self._rendered = photographs, rendered
        self._generator = np.random.default_rng(seed)

    def batch(self, count: int) -> Pixels:
        """uint8 [count, 64, 64, 3]."""
        return np.stack([self._one() for _ in range(count)])

    def _one(self) -> Pixels:
        generator = self._generator
        rendered = generator.random() < RENDERED_SHARE
        pictures = self._rendered if rendered else self._photographs
        picture = pictures[generator.integers(len(pictures))]
        row, column = (int(generator.integers(extent - CROP + 1)) for extent in picture.shape[:2])
        crop = picture[row : row + CROP, column : column + CROP]
        crop = np.rot90(crop, int(generator.integers(4)))
        crop = crop[:, ::-1] if generator.random() < 0.5 else crop
        crop = crop[..., generator.permutation(3)]
        if generator.random() < 0.5:  # another light: photographs in grey get a colour by it
            crop = np.clip(crop * generator.uniform(0.6, 1.2, 3), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(crop)


def passed(model: Denoiser, frames: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """What the network makes of frames with some of its blocks left out, a share of at most `most`.

    The share is drawn anew for each batch (LayerDrop: Fan, Grave, Joulin 2020, arXiv:1909.11556,
    section 3.2, where it is fixed).
    """
    share, *draws = torch.rand(1 + len(model.body), generator=generator).tolist()
    maps = model.head(frames)
    for block, draw in zip(model.body, draws, strict=True):
        maps = maps if draw < most * share else block(maps)
    return frames - model.tail(maps)


def train(model: Denoiser, crops: Crops, args: argparse.Namespace) -> None:
    """Train in place: Adam on the squared error, one cycle of the rate."""
    generator = torch.Generator().manual_seed(args.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.rate)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.rate, total_steps=args.steps, pct_start=0.1
    )
    started, losses = time.perf_counter(), 0.0
    model.train()
    for step in range(args.limit or args.steps):
        clean = as_input(crops.batch(args.batch))
        shown = noisy(clean, torch.randn(clean.shape, generator=generator))
        clean, shown = (
            each.to(args.device, memory_format=torch.channels_last) for each in (clean, shown)
        )
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
            outputs = passed(model, shown, args.drop, generator)
        loss = functional.mse_loss(outputs.float(), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.step()
        losses += loss.item()
        if (step + 1) % 250 == 0:
            seconds, decibels = time.perf_counter() - started, -10 * np.log10(losses / 250)
            print(f"step {step + 1}, {seconds:.0f} s: {decibels:.2f} dB", flush=True)
            losses = 0.0


@torch.inference_mode()
def decibels(model: Callable[[Tensor], Tensor], pictures: Iterable[Tensor], seed: int) -> float:
    """Mean PSNR of pictures [3, h, w] after noise and model, in dB; cut to an even size."""
    generator, values = torch.Generator().manual_seed(seed), []
    for picture in pictures:
        clean = picture[None, :, : picture.shape[1] // 2 * 2, : picture.shape[2] // 2 * 2]
        found = model(noisy(clean, torch.randn(clean.shape, generator=generator)))
        values.append(-10 * float(torch.log10((found - clean).square().mean())))
    return float(np.mean(values))


def classical(validation: Sequence[Tensor], test: Sequence[Tensor], seed: int) -> dict[str, float]:
    """PSNR on the test pictures of filters without training, at the best strength on validation."""
    from skimage import restoration

    def through(filtered: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> Callable:
        def shown(frames: Tensor) -> Tensor:
            found = filtered(frames[0].permute(1, 2, 0).numpy())
            return torch.from_numpy(found.astype(np.float32)).permute(2, 0, 1)[None]

        return shown

    filters: dict[str, list[Callable]] = {
        "total_variation": [
            through(lambda frame, w=w: restoration.denoise_tv_chambolle(frame, w, channel_axis=2))
            for w in (0.08, 0.1, 0.12, 0.15)
        ],
        "non_local_means": [
            through(
                lambda frame, h=h: restoration.denoise_nl_means(
                    frame, 5, 6, h * 25 / 255, sigma=25 / 255, channel_axis=2
                )
            )
            for h in (0.5, 0.6, 0.8)
        ],
        "wavelets": [
            through(
                lambda frame, mode=mode: restoration.denoise_wavelet(
                    frame, 25 / 255, mode=mode, convert2ycbcr=True, channel_axis=2
                )
            )
            for mode in ("soft", "hard")
        ],
    }
    found = {}
    for name, strengths in filters.items():
        best = max(strengths, key=lambda one: decibels(one, validation, seed))
        found[name] = decibels(best, test, seed)
    return found


def scores(
    model: nn.Module, read: dict[str, list[Pixels]], args: argparse.Namespace
) -> dict[str, float]:
    """PSNR on whole pictures that were not trained on: with their noise, by model, by filters."""
    model = model.cpu().to(memory_format=torch.contiguous_format).eval()
    model.load_state_dict({name: each.half() for name, each in model.state_dict().items()})
    validation, test = (
        [as_input(picture[None])[0] for picture in read[part]] for part in ("validation", "test")
    )
    found = {
        "noisy_validation": decibels(lambda shown: shown, validation, args.seed),
        "validation": decibels(model, validation, args.seed),
        "noisy_test": decibels(lambda shown: shown, test, args.seed),
        "test": decibels(model, test, args.seed),
    }
    others = {} if args.no_classical else classical(validation, test, args.seed)
    return {name: round(value, 3) for name, value in (found | others).items()}


def crop_scores(model: nn.Module, crops: Pixels) -> dict[str, float]:
    """PSNR on the shipped test crops, with the noise that `loaders` gives them."""
    test = with_noise(as_input(crops), PARTS_IN_ORDER.index("test"))
    found = {"noisy_test_crops": psnr(nn.Identity(), test), "test_crops": psnr(model, test)}
    return {name: round(value, 3) for name, value in found.items()}


def saved(write: Callable[[io.BytesIO], None]) -> bytes:
    """What was written into a buffer."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def deliver(folder: Path, model: nn.Module, parts: dict[str, Pixels], report: object) -> None:
    """Write the weights in fp16, the crops, their checksums, and the report; each file whole."""
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    packed = {name: pack(pixels) for name, pixels in parts.items()}
    contents = {
        "images.npz": saved(lambda buffer: np.savez_compressed(buffer, **packed)),
        "weights.pt": saved(lambda buffer: torch.save(weights, buffer)),
    }
    sums = [f"{hashlib.sha256(raw).hexdigest()}  {name}\n" for name, raw in contents.items()]
    contents["SHA256SUMS"] = "".join(sums).encode()
    contents["training.json"] = (json.dumps(report, indent=2) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.write_bytes(content)
        os.replace(temporary, folder / name)


def pictures_folder() -> Path:
    """Where scikit-image keeps its pictures; it is not needed where a folder is given."""
    import skimage

    return Path(skimage.__file__).with_name("data")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings; the defaults are those of the first run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=Path, help="folder of scikit-image's pictures")
    parser.add_argument("--out", type=Path, default=IMAGES.parent, help="folder to write into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=7_000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--drop", type=float, default=0.0, help="most blocks to leave out, a share")
    parser.add_argument("--limit", type=int, default=0, help="stop after so many steps (0: never)")
    parser.add_argument("--no-classical", action="store_true", help="do not run other filters")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read and render pictures, train, score, write."""
    args = parse(arguments)
    folder = args.pictures or pictures_folder()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    drawing = np.random.default_rng(args.seed)
    read = {part: [read_picture(folder, name) for name in names] for part, names in PARTS.items()}
    palette = palette_of(read["calibration"])
    rendered = [render(palette, drawing) for _ in range(RENDERED)]
    shipped = {
        "calibration": shares(
            [*read["calibration"], *rendered[: len(read["calibration"])]],
            CALIBRATION_CROPS,
            drawing,
        ),
        "validation": shares(read["validation"], VALIDATION_CROPS, drawing),
        "test": shares(read["test"], TEST_CROPS, drawing),
    }
    model = Denoiser()
    if args.start is not None:
        model.load_state_dict(torch.load(args.start, weights_only=True))
    model = model.to(args.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    wall, cpu = time.perf_counter(), time.process_time()
    train(model, Crops(read["calibration"], rendered, args.seed), args)
    report = {
        "settings": {
            key: value
            for key, value in vars(args).items()
            if key not in ("pictures", "out", "start", "no_classical")
        },
        "torch": torch.__version__,
        "wall_seconds": round(time.perf_counter() - wall),
        "cpu_seconds": round(time.process_time() - cpu),
        "decibels": scores(model, read, args),
    }
    report["decibels"] |= crop_scores(model, shipped["test"])
    deliver(args.out, model.cpu().to(memory_format=torch.contiguous_format), shipped, report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
