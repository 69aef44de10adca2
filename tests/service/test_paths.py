from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from zwriter.errors import UsageError
from zwriter.protocol import ScanStatus
from zwriter.service.paths import ScanPaths, check_template, paths_for
from zwriter.service.roots import fed_from, find_unfinished, mark_as_fed
from zwriter.settings import Settings


def status(base=None, number=17, scan_id="abc-1", **fields) -> ScanStatus:
    info = {} if base is None else {"file_components": [str(base), "h5"]}
    return ScanStatus(scan_id=scan_id, status="open", scan_number=number, info=info, **fields)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    return Settings(root=tmp_path / "data")


def test_a_scan_goes_where_its_file_components_say(settings):
    base = settings.root / "raw" / "S00017"
    paths = paths_for(status(base), settings)
    assert paths.store == settings.root / "raw" / "S00017.zarr"
    assert paths.master == settings.root / "raw" / "S00017_master.h5"


@pytest.mark.parametrize(
    "base",
    [
        "/elsewhere/S00017",
        "{root}/../S00017",
        "{root}/a/../../S00017",
        "{root}",
        "{root}/..",
        "S00017",
        "",
        "{root}/a\0b",
        "{root}/" + "x" * 300,
        "{root}/" + "x" * 300 + "/S00017",
        "{root}/" + "é" * 130 + "/S00017",
        "{root}/" + "folder/" * 600 + "S00017",
        "{root}/a\nb",
        "{root}/a\x1b[31mb/S00017",
        "{root}/a\ud800b",
        "{root}2/S00017",
    ],
)
def test_what_is_not_below_the_root_goes_where_the_template_says(settings, base):
    paths = paths_for(status(base.replace("{root}", str(settings.root))), settings)
    assert paths.store == settings.root / "S00000-00999" / "S00017" / "S00017.zarr"


def test_a_link_that_leads_out_of_the_root_is_not_followed(settings, tmp_path):
    (tmp_path / "outside").mkdir()
    (settings.root / "link").symlink_to(tmp_path / "outside")
    paths = paths_for(status(settings.root / "link" / "S00017"), settings)
    assert paths.store.is_relative_to(settings.root / "S00000-00999")


def test_a_place_below_what_is_no_folder_is_not_taken(settings):
    (settings.root / "README").touch()
    (settings.root / "loop").symlink_to("loop")
    for base in ("README/S00017", "README/a/S00017", "loop/S00017"):
        assert paths_for(status(settings.root / base), settings) == paths_for(status(), settings)


@pytest.mark.parametrize("link", ["S00017.zarr", "S00017.zwriter"])
@pytest.mark.parametrize("target", ["somewhere", "nowhere"])
def test_a_link_where_a_scan_should_go_is_somebody_elses(settings, tmp_path, link, target):
    (tmp_path / "somewhere").mkdir()
    (settings.root / link).symlink_to(tmp_path / target)
    paths = paths_for(status(settings.root / "S00017"), settings)
    assert paths.store == settings.root / "S00017_abc-1.zarr"


def test_a_pipe_where_a_file_should_be_is_not_waited_for(settings):
    for folder in ("S00017.zarr", "S00017.zwriter"):
        (settings.root / folder).mkdir()
    os.mkfifo(settings.root / "S00017.zarr" / "zarr.json")
    os.mkfifo(settings.root / "S00017.zwriter" / "redis")
    paths = paths_for(status(settings.root / "S00017"), settings)
    assert paths.store == settings.root / "S00017_abc-1.zarr"
    assert fed_from(settings.root / "S00017.zarr") is None


def test_a_root_that_is_a_link_is_a_root(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "real")
    settings = Settings(root=tmp_path / "data")
    paths = paths_for(status(tmp_path / "data" / "S00017"), settings)
    assert paths.store == tmp_path / "real" / "S00017.zarr"


@pytest.mark.parametrize("components", [None, [], [3, "h5"], "text", {"a": 1}, [None]])
def test_file_components_that_make_no_sense_are_passed_over(settings, components):
    scan = ScanStatus(
        scan_id="a", status="open", scan_number=1999, info={"file_components": components}
    )
    store = paths_for(scan, settings).store
    assert store == settings.root / "S01000-01999" / "S01999" / "S01999.zarr"


def test_a_scan_without_a_number_goes_by_its_id(settings):
    paths = paths_for(status(number=None), settings)
    assert paths.store == settings.root / "abc-1" / "abc-1.zarr"


def test_an_id_that_is_no_good_name_is_replaced_by_its_digest(settings):
    paths = paths_for(status(number=None, scan_id=".hidden name" * 20), settings)
    assert paths.store.parent.parent == settings.root
    assert paths.store.stem.isalnum()


def test_a_template_that_leads_out_of_the_root_does_not(settings):
    out = settings.model_copy(update={"path_template": "../{scan_number}"})
    assert paths_for(status(), out).store == settings.root / "abc-1" / "abc-1.zarr"


@pytest.mark.parametrize(
    "template", ["{number}", "{", "{0}", "{scan_number.x}", "{scan_number:zz}", "{scan_id[x]}"]
)
def test_a_template_with_unknown_fields_is_refused(tmp_path, template):
    with pytest.raises(UsageError, match=r"path_template .* it knows \{scan_number\}"):
        check_template(template, tmp_path)


@pytest.mark.parametrize(
    "template", ["../{scan_number}", "/elsewhere/{scan_number}", ".", "{scan_number:0300d}"]
)
def test_a_template_that_leads_to_no_place_below_the_root_is_refused(tmp_path, template):
    with pytest.raises(UsageError, match=f"not below {tmp_path}"):
        check_template(template, tmp_path)


@pytest.mark.parametrize("template", ["x", "{block_start}/x", "{scan_number}/../x"])
def test_a_template_that_gives_scans_the_same_place_is_refused(tmp_path, template):
    with pytest.raises(UsageError, match="the same place"):
        check_template(template, tmp_path)


@pytest.mark.parametrize(
    "template", [Settings().path_template, "{scan_id}", "{scan_number}/x", "{root}/S{scan_number}"]
)
def test_a_template_that_gives_each_scan_its_own_place_is_taken(tmp_path, template):
    check_template(template.replace("{root}", str(tmp_path)), tmp_path)


def test_a_place_that_another_scan_has_is_left_to_it(settings):
    store = settings.root / "S00017.zarr"
    store.mkdir()
    own = {"attributes": {"zwriter": {"scan_id": "older"}}}
    (store / "zarr.json").write_text(json.dumps(own))
    base = settings.root / "S00017"
    assert paths_for(status(base), settings).store == settings.root / "S00017_abc-1.zarr"
    assert paths_for(status(base, scan_id="older"), settings).store == store


def test_a_master_file_of_another_writer_is_not_overwritten(settings):
    (settings.root / "S00017_master.h5").touch()
    paths = paths_for(status(settings.root / "S00017"), settings)
    assert paths.master == settings.root / "S00017_abc-1_master.h5"


def test_a_place_that_an_open_scan_uses_is_left_to_it(settings):
    base = settings.root / "S00017"
    in_use = [str(settings.root / "S00017.zarr")]
    assert str(paths_for(status(base), settings, in_use).store) != in_use[0]


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        ("calib", "S00017_master_calib.h5"),
        (None, "S00017_master.h5"),
        ("", "S00017_master.h5"),
        ("../x", "S00017_master.h5"),
        (5, "S00017_master.h5"),
        ("x" * 300, "S00017_master.h5"),
    ],
)
def test_the_master_file_has_the_suffix_that_the_user_gave(settings, suffix, name):
    scan = status(scan_parameters={"system_config": {"file_suffix": suffix}})
    assert ScanPaths.at(Path("/data/S00017"), scan, settings).master.name == name


def test_unfinished_scans_are_found_and_stores_not_searched(settings):
    for folder in ("a/S1.zarr", "a/S1.zwriter", "b/S2.zarr", "c/S3.zarr/x.zwriter", "d/4.zwriter"):
        (settings.root / folder).mkdir(parents=True)
    mark_as_fed(settings.root / "a" / "S1.zarr", "redis://localhost")
    assert list(find_unfinished(settings.root, settings.spool, "", lambda scan_id: True)) == [
        settings.root / "a" / "S1.zarr"
    ]


@pytest.mark.parametrize("inside", ["S1.zarr/entry/x", "S1.zwriter/x"])
def test_no_scan_goes_into_another_ones_store_or_what_lies_beside_it(settings, inside):
    usual = paths_for(status(), settings)
    assert paths_for(status(settings.root / inside), settings) == usual
