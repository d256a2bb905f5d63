"""Embeddings of files, searches in them, and what a linear map reads off them."""

from __future__ import annotations

import csv
import json
import os
import shutil

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import generate
from datasets.cutouts.export import export
from datasets.errors import UserError
from datasets.survey import Survey
from tests.support import REAL_DATA, needs_real_data
from utils import embed, search
from utils.evaluation.linear_probe import probe
from utils.generation import similar
from utils.generation.embeddings import nearest, read_index, write_index
from utils.generation.neighbour_graph import NeighbourGraph


@pytest.fixture(scope="module")
def index(tiny_survey, tiny_towers, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "index.fits"
    arguments = [str(tiny_survey), "--weights", str(tiny_towers), "--output", str(path)]
    assert embed.main([*arguments, "--device", "cpu"]) == 0
    return path


def run_search(index, tiny_towers, *more):
    return search.main([str(index), *more, "--weights", str(tiny_towers), "--device", "cpu"])


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_survey_gives_a_table_that_astropy_opens(index, tiny_survey):
    survey, table = Survey(tiny_survey), Table.read(index)
    assert len(table) == 2 * len(survey)
    assert list(table["identifier"][: len(survey)]) == survey.catalogue["identifier"].tolist()
    np.testing.assert_allclose(np.linalg.norm(table["embedding"], axis=1), 1, rtol=1e-5)


def test_what_is_read_is_what_was_written(index, tmp_path):
    first = read_index(index)
    first["source"] = ["Übung\\" + os.fsdecode(b"\xe9")] * len(first)
    write_index(first, tmp_path / "again.fits")
    again = read_index(tmp_path / "again.fits")
    assert again.colnames == first.colnames and again.meta["TOWERS"] == first.meta["TOWERS"]
    for name in first.colnames:
        np.testing.assert_array_equal(again[name], first[name])
    (tmp_path / "other.fits").write_text("no table")
    with pytest.raises(UserError, match=r"python -m utils\.embed"):
        read_index(tmp_path / "other.fits")


def test_the_search_is_exact():
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(700, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found, similarity = nearest(vectors, vectors[:300], 5)
    expected = np.argsort(-(vectors[:300] @ vectors.T), axis=1)[:, :5]
    np.testing.assert_array_equal(found, expected)
    assert (found[:, 0] == np.arange(300)).all() and np.all(np.diff(similarity) <= 0)


def test_a_graph_of_neighbours_finds_almost_all_of_them(tmp_path):
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(5000, 6)) @ generator.normal(size=(6, 32))
    vectors += 0.1 * generator.normal(size=vectors.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    path = tmp_path / "index.fits.all.usearch"
    found, similarity = NeighbourGraph(path, vectors).nearest(vectors[:200], 10)
    products = vectors[:200] @ vectors.T
    exact = np.argsort(-products, axis=1)[:, :10]
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)]
    assert np.mean(shares) > 0.98
    expected = np.take_along_axis(products, found, axis=1)
    np.testing.assert_allclose(similarity, expected, atol=1e-5)
    before = path.stat().st_mtime_ns  # kept
    again, _ = NeighbourGraph(path, vectors).nearest(vectors[:200], 10)
    np.testing.assert_array_equal(again, found)
    assert path.stat().st_mtime_ns == before
    others = vectors[::-1].copy()  # as many, but others: the graph is made again
    found, _ = NeighbourGraph(path, others).nearest(others[:200], 1)
    assert np.mean(found[:, 0] == np.arange(200)) > 0.98 and path.stat().st_mtime_ns != before
    few, missing = NeighbourGraph(tmp_path / "few", vectors[:3]).nearest(vectors[:2], 5)
    assert few.shape == (2, 3) and np.isfinite(missing).all()
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="delete it"):
        NeighbourGraph(path, vectors)


def test_the_approximate_search_finds_the_same(index, tiny_towers, tmp_path):
    given = ["--names", *read_index(index)["name"][:4].tolist(), "--find", "spectra"]
    for name, options in (("exact", []), ("graph", ["--approximate"])):
        output = ["--output", str(tmp_path / f"{name}.csv")]
        assert run_search(index, tiny_towers, *given, *options, *output) == 0
    exact, graph = (rows_of(tmp_path / f"{name}.csv") for name in ("exact", "graph"))
    assert [row["name"] for row in graph] == [row["name"] for row in exact]
    assert index.with_name(f"{index.name}.spectrum.usearch").exists()


def test_an_image_finds_spectra_and_its_own_image(index, tiny_survey, tiny_towers, tmp_path):
    export(Survey(tiny_survey), tmp_path / "cutouts", "test", 3)
    given = [str(tmp_path / "cutouts"), "--count", "4", "--output"]
    assert run_search(index, tiny_towers, *given, str(tmp_path / "a.csv"), "--find", "spectra") == 0
    rows = rows_of(tmp_path / "a.csv")
    assert len(rows) == 12 and {row["kind"] for row in rows} == {"spectrum"}
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "3", "4"]
    assert run_search(index, tiny_towers, *given, str(tmp_path / "b.csv"), "--find", "images") == 0
    best = [row for row in rows_of(tmp_path / "b.csv") if row["rank"] == "1"]
    own = Survey(tiny_survey).catalogue["identifier"][Survey(tiny_survey).indices("test")[:3]]
    assert sorted(int(row["identifier"]) for row in best) == sorted(own.tolist())
    assert all(float(row["similarity"]) > 0.999 for row in best)


def test_a_galaxy_of_the_index_does_not_find_itself(index, tiny_towers, tmp_path):
    names = read_index(index)["name"][:2].tolist()
    output, picture = tmp_path / "found.csv", tmp_path / "found.png"
    given = ["--names", *names, "--output", str(output), "--picture", str(picture)]
    assert run_search(index, tiny_towers, *given, "--find", "images", "--count", "3") == 0
    assert all(row["name"] != row["query"] for row in rows_of(output))
    assert picture.stat().st_size > 10_000
    assert run_search(index, tiny_towers, *given) == 2  # does not overwrite


def test_a_picture_shows_each_cutout_as_it_was_embedded(index, tiny_survey, tiny_towers, tmp_path):
    """Files of one band each, some of many cutouts, and others that cannot be used."""
    survey, folder = Survey(tiny_survey), tmp_path / "UGC#1a"
    images = survey.read("images", survey.indices("test")[:4])
    folder.mkdir()
    for band, image in zip(survey.bands, images[0], strict=True):
        fits.PrimaryHDU(image).writeto(folder / f"one#a-{band}.fits")
    broken = np.full_like(images[1], np.nan)
    np.savez(folder / "many.npz", images=np.stack([broken, *images[1:]]))
    np.save(folder / "9223372036854775817.npy", images[0])  # a specObjID
    about = ["--bands", "u,g,r,i,z", "--pixel-scale", "0.396", "--unit", "nanomaggy"]
    picture = tmp_path / "found.png"
    given = [str(folder), *about, "--picture", str(picture), "--find", "images"]
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        plot = similar.plot_cells
        patch.setattr(similar, "plot_cells", lambda rows: shown.extend(rows) or plot(rows))
        assert run_search(index, tiny_towers, *given) == 1  # one cutout is skipped
    assert [row[0].title for row in shown] == [
        "9223372036854775817",
        "many#1",
        "many#2",
        "many#3",
        "one#a",
    ]
    for row, image in zip(shown, [images[0], *images[1:], images[0]], strict=True):
        np.testing.assert_allclose(row[0].image, image, rtol=1e-5)
        np.testing.assert_allclose(row[1].image, image, rtol=1e-5)  # its best match: itself


def test_a_picture_shows_files_of_one_name_in_two_folders(
    index, tiny_survey, tiny_towers, tmp_path, monkeypatch
):
    survey = Survey(tiny_survey)
    images = survey.read("images", survey.indices("test")[:2])
    for folder, image in zip("ab", images, strict=True):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "g.npy", image)
    shown = []
    plot = similar.plot_cells
    monkeypatch.setattr(similar, "plot_cells", lambda rows: shown.extend(rows) or plot(rows))
    given = [str(tmp_path / "*" / "g.npy"), "--picture", str(tmp_path / "found.png")]
    assert run_search(index, tiny_towers, *given, "--find", "images") == 0
    assert [row[0].title for row in shown] == ["g", "g~2"]
    for row, image in zip(shown, images, strict=True):
        np.testing.assert_allclose(row[0].image, image, rtol=1e-5)


def test_spectra_of_a_shard_keep_their_names(tiny_survey, tiny_towers, tiny_generator, tmp_path):
    export(Survey(tiny_survey), tmp_path / "in", "test", 3)
    made = [str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--shards", "--no-measure"]
    assert generate.main([*made, "--checkpoint", str(tiny_generator), "--workers", "0"]) == 0
    shards = str(tmp_path / "out" / "shards")
    arguments = [shards, "--spectra", "--weights", str(tiny_towers), "--device", "cpu"]
    assert embed.main([*arguments, "--output", str(tmp_path / "index.fits")]) == 0
    index = read_index(tmp_path / "index.fits")
    names = [path.stem for path in sorted((tmp_path / "in").iterdir())]
    assert index["name"].tolist() == [f"shard_000000.h5#{name}" for name in names]
    assert index["row"].tolist() == [0, 1, 2]
    given = ["--names", index["name"][2], "--spectra", "--find", "spectra"]
    output = ["--output", str(tmp_path / "a.csv"), "--picture", str(tmp_path / "a.png")]
    assert run_search(tmp_path / "index.fits", tiny_towers, *given, *output) == 0
    assert len(rows_of(tmp_path / "a.csv")) == 2  # the others


def test_a_search_without_matches_says_so(index, tiny_towers, tmp_path):
    one = read_index(index)[:1]
    write_index(one, tmp_path / "one.fits")
    given = ["--names", one["name"][0], "--output", str(tmp_path / "a.csv")]
    assert run_search(tmp_path / "one.fits", tiny_towers, *given) == 0
    assert rows_of(tmp_path / "a.csv") == []


def test_mistakes_are_named(index, tiny_survey, tiny_towers, tiny_generator, tmp_path, capsys):
    assert run_search(index, tiny_towers, "--names", "nobody") == 2
    assert "no image of a galaxy called nobody" in capsys.readouterr().err
    assert run_search(index, tiny_towers) == 2
    assert run_search(index, tiny_generator, str(tiny_survey)) == 2
    assert "made with other weights" in capsys.readouterr().err
    assert embed.main([str(tiny_survey), "--weights", str(tiny_towers)]) == 2
    assert "--output, or ask for --probe" in capsys.readouterr().err
    assert embed.main([str(tiny_survey), "--output", str(index)]) == 2  # does not overwrite


def test_a_linear_map_reads_what_is_there():
    generator = np.random.default_rng(2)
    vectors = {split: generator.normal(size=(400, 6)) for split in ("train", "validation", "test")}
    weights = generator.normal(size=6)
    linear = {split: x @ weights + 3 for split, x in vectors.items()}
    score, error, scatter = probe(vectors, linear)
    assert score > 0.999 and error < 1e-3 and scatter < 0.05
    noise = {split: generator.normal(size=400) for split in vectors}
    score, error, _ = probe(vectors, noise)
    assert abs(score) < 0.1 and 0 < error < 0.1


def test_the_probe_prints_the_catalogue(tiny_survey, tiny_towers, capsys, monkeypatch):
    monkeypatch.setattr("utils.evaluation.linear_probe.LEAST", 5)
    given = [str(tiny_survey), "--weights", str(tiny_towers), "--probe", "--device", "cpu"]
    assert embed.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["column", "sn", "z"]


@needs_real_data
def test_real_spectra_are_prepared_as_for_a_survey(tmp_path):
    files = sorted((REAL_DATA / "spec_files").glob("*.fits"))[:3]
    output = tmp_path / "spectra.fits"
    status = embed.main([*map(str, files), "--spectra", "--output", str(output)])
    index = read_index(output)
    assert status in (0, 1) and len(index) >= 1 and set(index["kind"]) == {"spectrum"}
    assert np.isfinite(index["embedding"]).all() and (index["identifier"] > 0).all()


def test_a_survey_of_other_pixels_is_refused(tiny_survey, tiny_towers, tmp_path, capsys):
    """As it is, its galaxies would seem larger or smaller to the network."""
    path = tmp_path / "other.h5"
    shutil.copy(tiny_survey, path)
    with h5py.File(path, "r+") as file:
        settings = json.loads(file.attrs["settings"])
        file.attrs["settings"] = json.dumps(settings | {"pixel_scale_arcsec": 0.262})
    arguments = [str(path), "--weights", str(tiny_towers), "--output", str(tmp_path / "i.fits")]
    assert embed.main([*arguments, "--device", "cpu"]) == 2
    message = capsys.readouterr().err
    assert "other.h5: pixel_scale_arcsec is 0.262" in message
    assert "utils.export_cutouts" in message
