import pytest

from benchmark.environments import PEERS, requirements
from benchmark.servers import ROOT, SERVERS, on_free_ports


def test_a_configuration_gets_free_ports_and_nothing_else_changes() -> None:
    config = (ROOT / "config.properties").read_text().splitlines()
    changed = on_free_ports("\n".join(config)).splitlines()
    different = [new for new, old in zip(changed, config, strict=True) if new != old]
    assert [line.split("=")[0] for line in different] == [
        "inference_address",
        "management_address",
        "metrics_address",
        "grpc_inference_port",
        "grpc_management_port",
    ]


def test_each_server_has_a_name_of_its_own() -> None:
    assert len({server.name for server in SERVERS}) == len(SERVERS) == 14


@pytest.mark.parametrize("name", sorted(path.stem for path in PEERS.glob("*.txt")))
def test_the_packages_of_peers_are_pinned(name: str) -> None:
    assert requirements(name)
    assert all("==" in line for line in requirements(name))
