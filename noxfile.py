"""What CI runs, each by its name: nox -s tests lint types package."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests with coverage, against the real frameworks."""
    session.install("-e", ".[test]")
    session.run("pytest", "--cov=hpo_plugins", "--cov=hpo_plugins.integrations", *session.posargs)


@nox.session
@nox.parametrize("backend", ["torch", "jax", "tensorflow"])
def keras(session: nox.Session, backend: str) -> None:
    """Run the tests of the Keras callback on one backend."""
    session.install("-e", ".[test,backends]")
    session.run(
        "pytest",
        "tests/integrations/test_keras.py",
        "tests/integrations/test_keras_phases.py",
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
    session.install("-e", ".", "mypy>=1.15", "types-cachetools")
    session.run("mypy")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel, and run the tests that need no framework on it, with the source out of sight."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", "dist", silent=True)
    (wheel,) = sorted(session.posargs or [str(p) for p in __import__("pathlib").Path("dist").glob("*.whl")])[-1:]
    session.install(wheel, "pytest", "hypothesis")
    session.chdir(session.create_tmp())
    session.run("pytest", "-q", "-c", "/dev/null", "--import-mode=importlib", session.invoked_from + "/tests/contract")
