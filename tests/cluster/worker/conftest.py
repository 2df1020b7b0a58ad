from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.worker.team import Team, team_of


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team_of(2, tmp_path_factory.mktemp("team")) as made:
        yield made
