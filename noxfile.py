# /// script
# dependencies = ["nox>=2025.2"]
# ///
"""What CI runs, each by its name: nox -s tests lint types package."""

import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

KERAS = ["tests/integrations/test_keras.py", "tests/integrations/test_keras_phases.py"]


COVERAGE = ["--cov=hpo_plugins", "--cov=integrations"]  # folders: to find a subpackage, coverage imports numpy twice
FLOOR = 85
"""Percent of lines and branches that the tests must execute; without what started processes execute, they do 88."""


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with coverage, against the real frameworks; only those that are named, if any are."""
    session.install("-e", ".[test]")
    floor = [] if session.posargs else [f"--cov-fail-under={FLOOR}"]
    session.run("pytest", "-n", "auto", *COVERAGE, *floor, *session.posargs)


CORE = [
    *(f"tests/{name}" for name in ("space", "spaces", "history", "surrogate", "strategies", "storage", "study")),
    *("tests/coordination/test_points.py", "tests/tuner/test_tuner.py", "tests/integrations/test_xgboost.py"),
]


@nox.session
def core(session: nox.Session) -> None:
    """Run the tests of the core and of one callback, which need few packages, on any operating system."""
    session.install("-e", ".[cli,serve,dataframe,xgboost,sklearn,testing]", "hypothesis>=6", "pytest-xdist>=3.6")
    session.run("pytest", "-n", "auto", "-m", "not full and not server and not browser", *(session.posargs or CORE))


@nox.session
def full(session: nox.Session) -> None:
    """Run the tests that are long by nature: soaks, large studies, and Keras on its other backends."""
    session.install("-e", ".[docs,backends]")
    session.run("pytest", "-n", "auto", "-m", "full", *session.posargs)
    for backend in ("jax", "tensorflow"):
        session.run("pytest", "-n", "auto", *KERAS, env={"KERAS_BACKEND": backend})


@nox.session
@nox.parametrize("backend", ["torch", "jax", "tensorflow"])
def keras(session: nox.Session, backend: str) -> None:
    """Run the tests of the Keras callback on one backend."""
    session.install("-e", ".[test,backends]")
    session.run(
        "pytest",
        *KERAS,
        env={"KERAS_BACKEND": backend},
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[testing,serve]", "mypy>=1.15", "types-cachetools")
    session.run("mypy")


@nox.session
def workflows(session: nox.Session) -> None:
    """Check the workflows of GitHub: their form, and that no step has more rights than it needs."""
    session.install("check-jsonschema>=0.33", "zizmor>=1.9")
    files = [str(path) for path in sorted(Path(".github/workflows").glob("*.yml"))]
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("check-jsonschema", "--builtin-schema", "vendor.readthedocs", ".readthedocs.yaml")
    session.run("zizmor", "--offline", ".github")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the sdist into dist/."""
    session.install("build", "twine")
    session.run("python", "-m", "build")
    session.run("twine", "check", "--strict", *map(str, sorted(Path("dist").glob("hpo_plugins-*"))))


@nox.session
def sbom(session: nox.Session) -> None:
    """Write build/sbom.json: what an installation without extras consists of, in CycloneDX's form."""
    session.install("cyclonedx-bom>=6")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "venv", "--clear", str(folder))
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    session.run(str(python), "-m", "pip", "install", "--quiet", ".", external=True)
    Path("build").mkdir(exist_ok=True)
    project = ["--pyproject", "pyproject.toml", "--output-file", "build/sbom.json"]
    session.run("cyclonedx-py", "environment", str(python), *project)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/docs; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")


CALLBACKS = [
    "tests/integrations/test_contract.py",
    "tests/storage/test_contract.py",
    "tests/tuner/test_tuner.py",
    "tests/strategies",
]


@nox.session
def oldest(session: nox.Session) -> None:
    """Run the tests of the core and the callbacks with the oldest versions that pyproject.toml admits."""
    pins = session.run("python", ".ci/oldest_versions.py", silent=True).split()
    brought = ["accelerate==0.34.0", "torch==2.13.0"]  # by Transformers, without bounds of ours
    session.install("-e", ".", *pins, *brought, "pytest>=8.2", "hypothesis>=6", "scikit-learn>=1.5")
    session.run("pytest", "-q", "-W", "default", *CALLBACKS, env={"KERAS_BACKEND": "torch"})


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def newest(session: nox.Session) -> None:
    """Run the same tests with the newest versions, on every Python that is installed."""
    session.install("-e", ".[test]")
    session.run("pytest", "-q", "-W", "default", *CALLBACKS, env={"KERAS_BACKEND": "torch"})


@nox.session
def sagemaker(session: nox.Session) -> None:
    """Read requests of the newest SageMaker SDK, whose bounds are too tight for the other sessions."""
    session.install("-e", ".[testing]", "sagemaker>=3", "moto[sagemaker]>=5.2", "hypothesis>=6")
    session.run("pytest", "-q", "-rs", "-W", "default", "tests/sagemaker/test_sdk.py")


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist; install the wheel with the source out of sight, and run the sdist's tests on it."""
    import tarfile

    session.install("build", "twine")
    folder = Path(session.create_tmp())
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), silent=True)
    (wheel,), (sdist,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.install(f"{wheel}[xgboost,dataframe]", "pytest", "hypothesis", "scikit-learn")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    session.chdir(folder / sdist.name.removesuffix(".tar.gz"))
    for name in ("hpo_plugins", "integrations"):  # the wheel's are tested
        Path(name).rename(f"{name}.source")
    tests = session.posargs or [
        "tests/storage/test_contract.py",
        "tests/strategies/test_contract.py",
        "tests/tuner/test_tuner.py",
        "tests/space/test_conditions.py",
        "tests/coordination/test_enqueued.py",
    ]
    session.run("pytest", "-q", "-k", "not postgres", "tests/integrations/test_xgboost.py", *tests)


@nox.session
def release(session: nox.Session) -> None:
    """Check that everything is ready for a version, and say which commands publish it: nox -s release."""
    import re

    version = re.search(r'^version = "(.*)"', Path("pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    wanted = {
        "hpo_plugins/__init__.py": f'__version__ = "{version}"',
        "CHANGELOG.md": f"## [{version}] - ",
        "CITATION.cff": f"version: {version}",
    }
    for path, text in wanted.items():
        if text not in Path(path).read_text(encoding="utf-8"):
            session.error(f"{path} does not contain {text!r}")
    if session.run("git", "status", "--porcelain", external=True, silent=True).strip():
        session.error("There are changes that are not committed.")
    if f"v{version}" in session.run("git", "tag", external=True, silent=True).split():
        session.error(f"There is a tag v{version} already.")
    for name in ("lint", "types", "docs", "package", "oldest", "workflows"):
        session.notify(name)
    session.log(f"If all of these pass: git tag v{version} && git push origin v{version}; release.yml publishes it.")


if __name__ == "__main__":
    nox.main()
