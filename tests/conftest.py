"""What every test relies on."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def english() -> object:
    """Commands speak the language of the locale; tests ask for Chinese where they want it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C.UTF-8")
        yield


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Examinations are remembered in a folder of the tests' own, not in the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VGGLASS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
