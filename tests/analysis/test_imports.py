"""What imports what: layers, no cycle, nothing of the rest of the project, and a light start."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from analysis import Recipe, ScalingTable, fit_law

ROOT = Path(analysis.__file__).parent
LAYERS = ("columns", "table", "fit", "recipe", "verify", "figures", "answers")  # from the bottom up
OF = {"limits": "columns", "published_columns": "columns", "means": "columns", "files": "columns",
      "delimited": "columns", "configurations": "columns", "matching": "columns", "parts": "table",
      "tradeoff": "recipe", "comparison": "recipe", "power": "recipe", "rates": "recipe", "mapping": "recipe",
      "stopping": "answers"}  # fmt: skip


def _modules() -> dict[str, set[str]]:
    """Each module of the package -> the modules of the package that it imports, wherever the import stands."""
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")}
    found = {}
    for name, path in paths.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "analysis":
                inside = node.module.removeprefix("analysis").lstrip(".")
                imported |= {inside} if inside else {alias.name for alias in node.names}
        found[name] = imported
    return {name: imported for name, imported in found.items() if name != "__init__"}


def _layer(module: str) -> int:
    room = module.split(".")[0]
    return LAYERS.index(OF.get(room, room))


def test_no_arrow_goes_up() -> None:
    upward = [(a, b) for a, imported in _modules().items() for b in imported if _layer(b) > _layer(a)]
    assert upward == []


def test_no_cycle() -> None:
    left = _modules()
    while left:
        free = {name for name, imported in left.items() if not imported & left.keys()}
        assert free, f"a cycle among {sorted(left)}"
        left = {name: imported for name, imported in left.items() if name not in free}


def test_nothing_of_the_rest_of_the_project() -> None:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"scaling", "jobs", "ray", "torch", "mlflow"}, path


def test_every_public_name_is_there() -> None:
    assert set(analysis.__all__) <= set(dir(analysis))
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'plot_everything'"):
        _ = analysis.plot_everything


def _fresh(code: str) -> list[str]:
    """Modules that a new interpreter has imported after running some code."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_package_imports_nothing_heavy() -> None:
    assert not {"numpy", "pandas", "matplotlib", "scipy", "pydantic"} & set(_fresh("import analysis"))


@pytest.mark.parametrize("bootstrap", [0, 20])
def test_a_saved_recipe_answers_without_pandas_matplotlib_or_optimize(
    plant: Callable[..., ScalingTable], tmp_path: Path, bootstrap: int
) -> None:
    law = fit_law(plant("chinchilla", noise=0.01), "chinchilla", ("n_params", "samples_seen"), bootstrap=bootstrap)
    path = tmp_path / "recipe.json"
    Recipe.from_law(law).save(path)
    code = f"import analysis; assert analysis.Recipe.load({str(path)!r}).allocate(1e19).n_params is not None"
    loaded = set(_fresh(code))
    assert not {"matplotlib", "pandas", "scipy.optimize", "scipy.stats", "pyarrow", "rich", "jinja2"} & loaded
    assert ("scipy" in loaded) == (bootstrap > 0)  # intervals alone need it


def test_an_answer_is_made_without_matplotlib() -> None:
    """Figures are drawn when they are saved or asked for."""
    code = (
        "import analysis; table = analysis.ScalingTable.from_csv('jobs/studies/fashion_by_hand.csv');"
        "table = table.select(region='IT');"
        "analysis.answer(table, bootstrap=0).allocate(1e14, family='resnet')"
    )
    assert "matplotlib" not in _fresh(code)
