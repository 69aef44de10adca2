from __future__ import annotations

import base64
from pathlib import Path

import matplotlib.image
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def pictures(notebook: nbformat.NotebookNode, folder: Path) -> list[Path]:
    """The pictures in a notebook's outputs, as files that stay to be looked at."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    files = []
    for i, content in enumerate(shown):
        files.append(folder / f"picture-{i}.png")
        files[-1].write_bytes(base64.b64decode(content))
    return files


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_and_shows_pictures(path: Path, tmp_path: Path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = pictures(notebook, tmp_path)
    assert len(shown) >= 3
    for picture in shown:
        pixels = matplotlib.image.imread(picture)
        assert pixels.std() > 0.05, f"{picture} is blank"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_folder_of_the_machine_it_was_made_on(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.get("outputs") for cell in notebook.cells)
