"""The stream that most of these tests ask about. Modules import it: BTrDB's own tests have a fixture of this name, too."""

import pytest
from adbc_servers import SECOND
from conftest import points, put


@pytest.fixture
def stream(flight, collection):
    """The table of a stream that no other test uses: ten points, a second apart, of the values 0 to 9."""
    put(flight, [collection, "a"], points([second * SECOND for second in range(10)], [float(value) for value in range(10)]))
    return f'"{collection}".a'
