"""How `btrdb.connect` finds a server, and what it says when it may not come in."""

import os
import subprocess
import sys

import btrdb
import certifi
import grpc
import pytest
import yaml
from btrdb.exceptions import BTrDBError, ConnectionError, CredentialsFileNotFound, ProfileNotFound
from btrdb.utils import credentials


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    """Nothing of what the person who runs the tests has set up."""
    for name in ("BTRDB_ENDPOINTS", "BTRDB_API_KEY", "BTRDB_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(credentials, "CREDENTIALS_PATH", str(tmp_path / ".predictivegrid/credentials.yaml"))


def write_profiles(home, **profiles):
    """A credentials file. Each profile is an endpoint and a key."""
    path = home / ".predictivegrid/credentials.yaml"
    path.parent.mkdir(exist_ok=True)
    text = {name: {"name": name, "btrdb": {"endpoints": address, "api_key": key}} for name, (address, key) in profiles.items()}
    path.write_text(yaml.safe_dump(text))


def works(connection):
    return connection.info()["majorVersion"] == 5 and connection._ARROW_ENABLED


def test_an_address_and_a_key_as_arguments(endpoint):
    assert works(btrdb.connect(endpoint.address, apikey=endpoint.key))
    assert works(btrdb.connect(conn_str=endpoint.address, apikey=endpoint.key, profile=None, shareable=False))


def test_an_address_and_a_key_of_the_environment(endpoint, monkeypatch):
    monkeypatch.setenv("BTRDB_ENDPOINTS", endpoint.address)
    monkeypatch.setenv("BTRDB_API_KEY", endpoint.key)
    assert works(btrdb.connect())


def test_arguments_go_before_the_environment(endpoint, monkeypatch):
    monkeypatch.setenv("BTRDB_ENDPOINTS", "127.0.0.1:1")
    monkeypatch.setenv("BTRDB_API_KEY", "another")
    assert works(btrdb.connect(endpoint.address, apikey=endpoint.key))
    monkeypatch.setenv("BTRDB_API_KEY", endpoint.key)
    assert works(btrdb.connect(endpoint.address))


def test_a_named_profile(endpoint, tmp_path):
    write_profiles(tmp_path, research=(endpoint.address, endpoint.key), default=("127.0.0.1:1", "none"))
    assert works(btrdb.connect(profile="research"))


def test_a_profile_named_by_the_environment(endpoint, tmp_path, monkeypatch):
    write_profiles(tmp_path, research=(endpoint.address, endpoint.key), default=("127.0.0.1:1", "none"))
    monkeypatch.setenv("BTRDB_PROFILE", "research")
    assert works(btrdb.connect())


def test_the_default_profile_and_what_goes_before_it(endpoint, tmp_path, monkeypatch):
    write_profiles(tmp_path, default=(endpoint.address, endpoint.key))
    assert works(btrdb.connect())
    write_profiles(tmp_path, default=("127.0.0.1:1", endpoint.key))
    monkeypatch.setenv("BTRDB_ENDPOINTS", endpoint.address)
    assert works(btrdb.connect())
    write_profiles(tmp_path, default=(endpoint.address, "none"))
    assert works(btrdb.connect(apikey=endpoint.key))


def test_the_profiles_are_below_the_home_directory(plain_endpoint, tmp_path):
    write_profiles(tmp_path, research=(plain_endpoint.address, plain_endpoint.key))
    program = "import btrdb; print(btrdb.connect(profile='research').info()['build'])"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_without_any_credentials():
    with pytest.raises(ConnectionError, match="Could not determine credentials to use."):
        btrdb.connect()


def test_profiles_that_are_not_there(endpoint, tmp_path):
    with pytest.raises(CredentialsFileNotFound):
        btrdb.connect(profile="research")
    write_profiles(tmp_path, default=(endpoint.address, endpoint.key))
    with pytest.raises(ProfileNotFound, match="research"):
        btrdb.connect(profile="research")


def test_an_address_and_a_profile_exclude_each_other(endpoint):
    with pytest.raises(ValueError, match="both conn_str and profile"):
        btrdb.connect(endpoint.address, profile="research")


def test_an_address_needs_a_port():
    with pytest.raises(ValueError, match="expecting address:port"):
        btrdb.connect("127.0.0.1", apikey="any")


def test_nobody_listens():
    with pytest.raises(BTrDBError, match="Could not connect to the database"):
        btrdb.connect("127.0.0.1:1", apikey="any")


def test_a_wrong_key(endpoint):
    with pytest.raises(BTrDBError) as raised:
        btrdb.connect(endpoint.address, apikey="BOGUS_KEY")
    text = str(raised.value)
    assert text.startswith("Could not connect to the database, error message: ")
    assert "status = StatusCode.UNAUTHENTICATED" in text
    assert 'details = "invalid api key"' in text


def test_no_key(endpoint):
    with pytest.raises(BTrDBError, match="UNAUTHENTICATED"):
        btrdb.connect(endpoint.address)


def test_the_certificate_is_checked(endpoint, monkeypatch):
    if endpoint.transport == "plain":
        assert works(endpoint.connect())
        return
    monkeypatch.setenv("BTRDB_CA_BUNDLE", certifi.where())
    with pytest.raises(BTrDBError, match="UNAVAILABLE"):
        endpoint.connect()
    monkeypatch.setenv("BTRDB_CA_BUNDLE", "/nothing/here.pem")
    with pytest.raises(Exception, match="could not read file"):
        endpoint.connect()


def test_info(db):
    info = db.info()
    assert set(info) == {"majorVersion", "minorVersion", "build", "proxy"}
    assert info["majorVersion"] == 5 and info["minorVersion"] >= 30
    assert info["build"].startswith(f"5.{info['minorVersion']}")
    assert set(info["proxy"]) == {"proxyEndpoints"} and isinstance(info["proxy"]["proxyEndpoints"], list)


def test_a_channel_outlives_a_refusal(endpoint):
    channel = btrdb.Connection(endpoint.address, apikey="BOGUS_KEY").channel
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as raised:
            btrdb.Endpoint(channel).info()
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert raised.value.details() == "invalid api key"
