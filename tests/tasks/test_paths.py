"""Which files a path names, which classes their folders are, and what is told of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.errors import ConfigError
from launcher.tasks.data.files import Files


def rows(path: Path, first: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"a,target\n{first},x\n{first + 1},y\n")
    return path


def pictures(root: Path, **counts: int) -> None:
    """So many pictures in each folder, whose name may hold `__` for a slash."""
    for folder, count in counts.items():
        place = root / folder.replace("__", "/")
        place.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(np.full((4, 4), 30 * number, dtype=np.uint8)).save(place / f"test_{number}.png")


@pytest.mark.parametrize("name", ["run [12]", "v?", "a*", "it's", "eq=1,2", "100%", "hash#1", "Übung ö", ".hidden"])
def test_a_path_that_exists_is_no_pattern(tmp_path: Path, name: str) -> None:
    for number, other in enumerate(("run 1", "v1", "ab")):
        rows(tmp_path / other / "rows.csv", 10 * number)
    path = rows(tmp_path / name / "rows.csv", 100)
    for given in (path, path.parent, path.parent / "*.csv"):
        assert Files(str(given)).table().X["a"].tolist() == [100.0, 101.0]


def test_hidden_files_are_no_rows(tmp_path: Path) -> None:
    rows(tmp_path / "data" / "rows.csv", 1)
    rows(tmp_path / "data" / ".ipynb_checkpoints" / "rows-checkpoint.csv", 1)
    files = Files(str(tmp_path / "data"))
    assert len(files.table().y) == 2
    assert files.notes[0] == "read: 2 rows; left out: 1 hidden"


def read(root: Path) -> tuple[dict[str, int], str]:
    files = Files(str(root), size=4, channels=1)
    found = files.images()
    counts = {name: int((found.labels == number).sum()) for number, name in enumerate(found.classes)}
    return counts, files.notes[0]


def test_names_of_splits_among_classes_and_files(tmp_path: Path) -> None:
    pictures(tmp_path, bus=3, car=4, train=5)
    assert read(tmp_path) == ({"bus": 3, "car": 4, "train": 5}, "read: 12 pictures: bus 3, car 4, train 5")


def test_the_class_is_the_folder_of_the_first_level(tmp_path: Path) -> None:
    pictures(tmp_path, cat__anna=2, cat__ben=1, dog__anna=3)
    assert read(tmp_path)[0] == {"cat": 3, "dog": 3}
    pictures(tmp_path / "deeper" / "archive", cat=1, dog=2)
    assert read(tmp_path / "deeper")[0] == {"cat": 1, "dog": 2}
    for name, counts in (("neg", (2, 1)), ("pos", (1, 1))):
        for month, count in enumerate(counts):
            folder = tmp_path / "texts" / name / f"2024-{month}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.txt").write_text(f"{name} {number}")
    (tmp_path / "texts" / "pos" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "texts" / "pos" / ".ipynb_checkpoints" / "1.txt").write_text("a copy")
    files = Files(str(tmp_path / "texts"))
    assert np.bincount(files.texts().labels).tolist() == [3, 2]
    assert files.notes == ["read: 5 texts from 5 files; left out: 1 hidden", "classes: neg 3, pos 2"]


def test_splits_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, train__cat=3, train__dog=2, test__cat=1, test__dog=1)
    counts, said = read(tmp_path)
    assert counts == {"cat": 3, "dog": 2}
    assert said == "read: 5 pictures: cat 3, dog 2; left out: 2 in test/, which is a split beside train/"
    (tmp_path / "train").rename(tmp_path / "val")
    with pytest.raises(ConfigError, match="holds the splits test, val, and not one that is for training"):
        read(tmp_path)


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, cat=2, dog=2)
    (tmp_path / "bird").mkdir()
    for name in ("cat/Thumbs.db", "cat/._1.png", ".DS_Store", "readme.txt", "metadata.csv"):
        (tmp_path / name).write_text("file_name,caption\ncat/test_0.png,a cat\n")
    Image.new("L", (4, 4)).save(tmp_path / "loose.png")
    counts, said = read(tmp_path)
    assert counts == {"cat": 2, "dog": 2}
    assert said.endswith("left out: 3 hidden, 1 .csv, 1 .txt, 1 in no folder of a class, empty: bird")


def test_a_list_beside_the_pictures_gives_the_labels(tmp_path: Path) -> None:
    pictures(tmp_path, all=3)
    (tmp_path / "metadata.csv").write_text("file_name,label\nall/test_2.png,01\nall/test_0.png,02\nall/test_1.png,01\n")
    found = Files(str(tmp_path), size=4, channels=1).images()
    assert found.classes == ["01", "02"]
    assert found.labels.tolist() == [0, 1, 0]
    np.testing.assert_allclose(np.asarray(found.pixels[np.arange(3)])[:, 0, 0, 0], np.array([60, 0, 30]) / 255)
    (tmp_path / "metadata.csv").write_text("file_name,label\nall/none.png,1\n")
    with pytest.raises(ConfigError, match=r"metadata\.csv:2: there is no file 'all/none\.png'"):
        read(tmp_path)


@pytest.mark.parametrize(("top", "dtype"), [(1.0, np.float32), (255.0, np.float32), (65535.0, np.float32)])
def test_pictures_of_floats(tmp_path: Path, top: float, dtype: type) -> None:
    for name, low, high in (("dark", 0.0, 0.25), ("bright", 0.5, 1.0)):
        (tmp_path / name).mkdir()
        values = np.linspace(low, high, 16, dtype=np.float64).reshape(4, 4) * top
        Image.fromarray(values.astype(dtype)).save(tmp_path / name / "0.tif")
    found = Files(str(tmp_path), size=4, channels=1).images()
    expected = np.stack([np.linspace(0.5, 1.0, 16), np.linspace(0.0, 0.25, 16)]).reshape(2, 1, 4, 4)
    np.testing.assert_allclose(np.asarray(found.pixels[np.arange(2)]), expected, atol=0.5 / 255 + 1e-6)


def test_pictures_of_other_floats_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, cat=1)
    (tmp_path / "dog").mkdir()
    Image.fromarray(np.full((4, 4), -1, dtype=np.float32)).save(tmp_path / "dog" / "0.tif")
    with pytest.raises(ConfigError, match=r"dog/0\.tif: a picture of floats from -1 to -1; expected 0 to 1"):
        read(tmp_path)


@pytest.mark.parametrize("size", [4, 2300], ids=["in memory", "on the way"])
def test_pictures_that_are_cut_short_are_named_before_training(tmp_path: Path, size: int) -> None:
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            pixels = noise.integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.jpg")
    for name in ("cat/1.jpg", "dog/0.jpg"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ConfigError, match=r"2 pictures can not be read, the first is .*cat/1\.jpg: can not be .*data\.broken=leave_out"
    ):
        Files(str(tmp_path), size=size, channels=1).images()
    files = Files(str(tmp_path), size=size, channels=1, broken="leave_out")
    found = files.images()
    assert found.pixels.shape == (2, 1, size, size)
    assert isinstance(found.pixels, np.ndarray) == (size == 4)
    assert found.labels.tolist() == [0, 1]
    assert files.notes[0] == "read: 2 pictures: cat 1, dog 1"
    assert len(files.notes) == 3
