"""Arrays on disk that grow row by row."""

import numpy as np
import pytest

from pokecam.data.packed.npy_rows import NpyRows

BLOCK = np.arange(24, dtype=np.float32).reshape(4, 2, 3)


def write(path, *blocks, **options):
    with NpyRows(path, (2, 3), np.float32, **options) as rows:
        for block in blocks:
            rows.append(block)
    return path


def test_the_file_is_numpys_own_to_the_byte(tmp_path):
    np.save(tmp_path / "theirs.npy", BLOCK)
    ours = write(tmp_path / "ours.npy", BLOCK[:1], BLOCK[1:])
    assert ours.read_bytes() == (tmp_path / "theirs.npy").read_bytes()


def test_no_rows_are_an_empty_array(tmp_path):
    assert np.load(write(tmp_path / "a.npy")).shape == (0, 2, 3)


def test_rows_are_dropped_in_place_and_more_may_follow(tmp_path):
    with NpyRows(tmp_path / "a.npy", (2, 3), np.float32) as rows:
        rows.append(BLOCK)
        rows.keep([1, 3])
        assert np.array_equal(rows.row(1), BLOCK[3])
        rows.append(BLOCK[:1])
    assert np.array_equal(np.load(tmp_path / "a.npy"), BLOCK[[1, 3, 0]])


def test_a_file_that_was_never_closed_goes_on_after_its_whole_rows(tmp_path):
    path = write(tmp_path / "a.npy", BLOCK)
    path.write_bytes(bytes(128) + path.read_bytes()[128:-4])  # no header yet, the last row cut
    assert NpyRows.count_rows(path, (2, 3), np.float32) == 3
    write(path, BLOCK[3:], n_keep=2)
    assert np.array_equal(np.load(path), BLOCK[[0, 1, 3]])


def test_rows_that_are_not_there_cannot_be_kept(tmp_path):
    assert NpyRows.count_rows(tmp_path / "a.npy", (2, 3)) == 0
    with pytest.raises(ValueError, match="has 4 rows, not 5"):
        write(write(tmp_path / "a.npy", BLOCK), n_keep=5)


@pytest.mark.parametrize("row", [BLOCK[:, :1], BLOCK.astype(np.float64)])
def test_rows_of_another_kind_are_refused(tmp_path, row):
    with pytest.raises(ValueError, match="of float32 are needed"):
        write(tmp_path / "a.npy", row)
