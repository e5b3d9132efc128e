"""Connections, streams and sets of streams as arguments of Ray tasks."""

import subprocess
import sys
import warnings

import btrdb
import pytest
import ray
from btrdb.conn import BTrDB
from btrdb.exceptions import InvalidOperation
from btrdb.utils.ray import register_serializer
from btrdb_servers import FIRST, SECOND, TEN, make_set

# The processes of Ray have the environment of this one, and with it the certificates to trust. When the one that started
# them ends, so do they, however it ends.
CLUSTER = """
import sys
import tempfile
import ray

with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
    context = ray.init(
        num_cpus=1,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 1024 * 1024,
        _temp_dir=folder,
    )
    print(context.address_info["gcs_address"], flush=True)
    sys.stdin.read()
    ray.shutdown()
"""


@pytest.fixture(scope="session")
def cluster(btrdb_servers):
    # Ray forks, and every now and then gRPC aborts the fork of a process that has connections, as this one has.
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        ray.init(address=address, configure_logging=False, log_to_driver=False)
        yield
        ray.shutdown()
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.fixture
def release(monkeypatch):
    """The client knows the releases of Ray up to 1.12 and refuses newer ones; what it calls there is still there."""
    monkeypatch.setattr(ray, "__version__", "1.12.1")


@pytest.fixture
def registered(cluster, endpoint, release):
    register_serializer(conn_str=endpoint.address, apikey=endpoint.key)
    yield
    ray.util.deregister_serializer(BTrDB)


def test_connections_streams_and_sets_are_arguments(db, collection, registered):
    @ray.remote
    def of_connection(connection):
        return connection.info()

    @ray.remote
    def of_stream(stream):
        point, version = stream.earliest()
        return point.time, point.value, version

    @ray.remote
    def of_set(streams):
        values = streams.filter(start=1_500_000_000_000_000_000, end=1_500_000_001_000_000_000).arrow_values()
        return str(streams), [(point.time, point.value) for point in streams.latest()], values

    streams = make_set(db, collection, TEN, TEN)
    by_uuid = db.streams(*[stream.uuid for stream in streams])
    info, earliest, (text, latest, values) = ray.get(
        [of_connection.remote(db), of_stream.remote(db.stream_from_uuid(streams[0].uuid)), of_set.remote(by_uuid)]
    )
    assert info == db.info()
    assert earliest == (*TEN[0], 11)
    assert text == "StreamSet with 2 streams"
    assert latest == [TEN[9], TEN[9]]
    assert values.equals(streams.filter(start=FIRST, end=FIRST + SECOND).arrow_values())


def test_a_shareable_connection(endpoint, collection, cluster, release):
    @ray.remote
    def work(stream):
        return stream.insert([(1, 1.0)]), stream.count()

    with pytest.warns(UserWarning, match="shareable connection is potentially insecure"):
        connection = btrdb.connect(endpoint.address, apikey=endpoint.key, shareable=True)
    (stream,) = make_set(connection, collection, TEN)
    assert ray.get(work.remote(stream)) == (12, 11)
    assert stream.count() == 11
    ray.util.deregister_serializer(BTrDB)


def test_a_connection_is_no_argument_by_itself(db, cluster):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((InvalidOperation, TypeError)):
            ray.put(db)
