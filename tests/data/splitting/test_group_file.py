"""Groups from a CSV: matched by id, refused in one line a fault."""

import codecs
import csv
import os

import numpy as np
import pytest

from medjax.config import DataConfig, ReadingConfig, TrainConfig
from medjax.config_checks import require_valid
from medjax.data.load import load
from medjax.data.splitting import splits
from medjax.data.splitting.group_file import read_groups
from medjax.data.tables import open_table
from medjax.errors import RefusedError
from tests.sample_files import parted_set, small_set, write_folder, write_tar, write_zip

IDS = np.array(["cat/0.png", "cat/1.png", "dog/0.png"])
SOUND = "id,group\ndog/0.png,P3\ncat/0.png,P1\ncat/1.png,P1\n"


@pytest.fixture
def write(tmp_path):
    def write_table(text):
        path = tmp_path / "groups.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_table


@pytest.mark.parametrize(
    "text",
    [
        SOUND,
        SOUND.replace("\n", "\r\n"),
        codecs.BOM_UTF8 + SOUND.encode(),
        SOUND + SOUND.split("\n", 1)[1],  # the same again is no contradiction
        SOUND + "\n\n",
        "age,group,id\n7,P1,cat/0.png\n,P1,cat/1.png\n9, P3 ,dog/0.png\n",
        SOUND.replace(",", ";").replace("id;", "id ;"),
        SOUND.replace(",", "\t"),
        "id;a,b,c,d;group\ncat/0.png;;P1\ncat/1.png;;P1\ndog/0.png;;P3\n",
        codecs.BOM_UTF8 + SOUND.replace(",", ";").replace("\n", "\r\n").encode(),
    ],
    ids=[
        *("plain", "windows", "byte-order-mark", "twice", "empty-lines", "other-columns"),
        *("semicolons", "tabs", "commas-in-a-name", "excel-in-german"),
    ],
)
def test_the_group_of_each_image_in_order(write, text):
    assert read_groups(write(text), IDS).tolist() == ["P1", "P1", "P3"]


def test_names_may_hold_anything_csv_can_quote(tmp_path):
    ids = ["a,b/c.png", 'q"uote/x.png', "line\r\nbreak/y.png", "é/ü.png"]
    path = tmp_path / "groups.csv"
    with open(path, "w", newline="", encoding="utf-8") as handle:
        rows = [
            ("id", "group"),
            *((id, f"g {n}") for n, id in enumerate(ids[:3])),
            ("e\u0301/u\u0308.png", "7"),
        ]
        csv.writer(handle).writerows(rows)
    assert read_groups(path, np.array(ids)).tolist() == ["g 0", "g 1", "g 2", "7"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty (name them there, such as id,group"),
        ("root:*:19000:0:99999:7:::\n", "has not two columns in its first line (name them there"),
        ("id,ward\nx,1\n", "none is known to hold the groups (patient, lesion, scan); its columns are id, ward (name the one"),
        ("id,patient,case\n", "more than one may hold the groups (patient, lesion, scan): patient, case; its columns"),
        ("id:group\ncat/0.png;P1\n", "has not two columns"),
        ("id,group,group\n", "has more than one column group; it has id, group, group"),
        (b"id,group\ncat/0.png,M\xfcller\n", "is not UTF-8 (byte 0xfc) (save it as CSV in UTF-8, or say what it is: --table-encoding"),
        (SOUND + '"open,P1\n', "is not CSV, line 5: unexpected end of data"),
        (SOUND + f"x,{'y' * 200_000}\n", "is not CSV, line 5: field larger than field limit"),
        (SOUND + "cat/0.png,P2\n", "1 images have two groups: cat/0.png (keep one line for each)"),
        (SOUND.replace("P3", " "), "1 images have an empty group: dog/0.png"),
        (SOUND + "cat/0.png,P1,more\ncat/1.png\n", "2 lines have more or fewer fields than the header: 5, 6"),
        ("id,group\ncat/0.png,P1\n", "2 images of the data have no group: cat/1.png, dog/0.png (add a line"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(write, text, reason):
    path = write(text)
    with pytest.raises(RefusedError) as refusal:
        read_groups(path, IDS)
    (line,) = refusal.value.lines()
    assert line.startswith(f"{path}: {reason}")


def test_tables_of_others_are_read_by_the_columns_that_are_named(write):
    """As HAM10000's: an id is a file name without folder and suffix."""
    ids = np.array([f"part_{1 + number % 2}/ISIC_{number}.jpg" for number in range(4)])
    path = write("lesion_id,image_id,dx\n" + "".join(f"L{n // 2},ISIC_{n},nv\n" for n in range(4)))
    named = ReadingConfig(image_column="image_id", group_column="lesion_id")
    for config in (named, ReadingConfig()):  # these names are known
        assert read_groups(path, ids, config).tolist() == ["L0", "L0", "L1", "L1"]
    with pytest.raises(RefusedError) as refusal:
        read_groups(path, ids, ReadingConfig(image_column="dx", group_column="lesion_id"))
    (line,) = refusal.value.lines()
    assert "4 images of the data have no group: part_1/ISIC_0.jpg" in line
    assert "; dx holds nv (name the column with their ids: --image-column NAME" in line


def test_an_id_that_fits_several_images_is_refused(write):
    with pytest.raises(
        RefusedError, match=r"2 images fit several lines, or .*: cat/0\.png, dog/0\.png \(give"
    ):
        read_groups(write("id,group\n0,P1\ncat/1,P2\n"), IDS)


def test_ids_in_other_folders_are_taken_with_a_warning(write):
    path = write("id,group\nimages/a.png,P1\n/data/set/cat/b.png,P2\n")
    with pytest.warns(
        UserWarning, match=r"1 ids are in other folders than their images: images/a\.png for cat/a"
    ):
        assert read_groups(path, np.array(["cat/a.png", "cat/b.png"])).tolist() == ["P1", "P2"]


def test_columns_need_a_groups_file():
    config = TrainConfig(data=DataConfig(image_column="image_id"))
    with pytest.raises(
        RefusedError, match=r"--image-column: image_id has no effect \(it needs --labels or --groups\)"
    ):
        require_valid(config)
    require_valid(TrainConfig(data=DataConfig(image_column="image_id", groups="groups.csv")))


def test_all_that_is_wrong_is_said_at_once(write):
    path = write("id,group\ncat/0.png,P1\ncat/0.png,P2\ncat/1.png,\nbroken\n")
    with pytest.raises(RefusedError) as refusal:
        read_groups(path, IDS)
    assert [problem.reason.split(" ", 1)[1] for problem in refusal.value.problems] == [
        "lines have more or fewer fields than the header: 5",
        "images have two groups: cat/0.png",
        "images have an empty group: cat/1.png",
        "images of the data have no group: dog/0.png",
    ]


def test_of_many_images_five_are_named(write):
    with pytest.raises(RefusedError, match=r"12 images .*: a00, a01, a02, a03, a04 and 7 more \("):
        read_groups(write("id,group\n"), np.array([f"a{number:02}" for number in range(12)]))


def test_ids_that_the_data_lack_are_counted(write):
    with pytest.warns(UserWarning, match=r"2 ids are not in the data: bird/0\.png, bird/1\.png"):
        found = read_groups(write(SOUND + "bird/0.png,P1\nbird/1.png,\n"), IDS)
    assert found.tolist() == ["P1", "P1", "P3"]


def test_files_that_cannot_be_read(tmp_path, write, monkeypatch):
    with pytest.raises(RefusedError, match=r"nothing.csv: cannot be read: No such file"):
        read_groups(tmp_path / "nothing.csv", IDS)
    with pytest.raises(RefusedError, match="cannot be read: Is a directory"):
        read_groups(tmp_path, IDS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RefusedError, match="cannot be read: not a regular file"):
        read_groups(tmp_path / "pipe", IDS)
    with pytest.raises(RefusedError, match=r"cannot be read: .*null"):
        read_groups(tmp_path / "a\0b", IDS)
    path = write(SOUND)
    monkeypatch.setattr(open_table, "MAX_BYTES", len(SOUND))
    read_groups(path, IDS)
    monkeypatch.setattr(open_table, "MAX_BYTES", len(SOUND) - 1)
    with pytest.raises(RefusedError, match="is larger than"):
        read_groups(path, IDS)


def test_load_reads_the_groups_of_its_settings(tmp_path, write):
    tree = small_set(6)
    path = write("id,group\n" + "".join(f"{id},P{number // 2}\n" for number, id in enumerate(sorted(tree))))
    for source in (
        write_folder(tmp_path / "set", tree),
        write_zip(tmp_path / "set.zip", tree),
        write_tar(tmp_path / "set.tar", {f"wrap/{name}": data for name, data in tree.items()}),
    ):
        for _ in range(2):  # decoded, then from the cache
            dataset = load(source, DataConfig(image_size=6, groups=str(path)))
            assert dataset.groups.tolist() == [f"P{number // 2}" for number in range(12)]
            split = splits.split(dataset)
            assert all(len(set(dataset.groups[part])) == len(part) / 2 for part in split)
        assert load(source, DataConfig(image_size=6)).groups is None


def test_ids_of_parts_are_those_of_the_data(tmp_path, write):
    tree = parted_set()
    path = write("id,group\n" + "".join(f"{id},{id.split('/')[-1]}\n" for id in tree))
    dataset = load(
        write_folder(tmp_path / "set", tree), DataConfig(image_size=6, cache=False, groups=str(path))
    )
    assert dataset.groups.tolist() == [id.split("/")[-1] for id in dataset.ids]


def test_load_refuses_with_the_data_what_is_wrong_with_the_groups(tmp_path, write):
    config = DataConfig(image_size=6, cache=False, groups=str(write(SOUND)))
    with pytest.raises(RefusedError, match=r"1 images of the data have no group: dog/1.png"):
        load(write_folder(tmp_path / "set", small_set()), config)
