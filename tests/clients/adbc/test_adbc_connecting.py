"""Connecting: credentials, addresses, TLS, headers, and what the driver asks at once."""

import json
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as dbapi
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_manager import AdbcStatusCode
from adbc_servers import KEY, connect, one
from adbc_wire import command, encoded

OPTIONS = adbc_driver_flightsql.DatabaseOptions
FLOW = adbc_driver_flightsql.OAuthFlowType


def test_defaults_connect_and_execute_without_a_warning(server):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with connect(server) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS one, 'a' AS text")
            assert cursor.fetchall() == [(1, "a")]
            connection.commit()
            cursor.execute("SELECT 2")
            assert cursor.fetchone() == (2,)
            connection.rollback()


# Credentials


def test_a_password_is_exchanged_for_a_token_that_later_calls_carry(wire):
    with connect(wire, db_kwargs={"username": "analyst", "password": "secret"}) as connection:
        assert one(connection, "SELECT 1") == 1
    (handshake,) = wire.of("Handshake")
    assert handshake.headers["authorization"].startswith("Basic ")
    token = handshake.answer_headers["authorization"]
    assert token.startswith("Bearer ")
    later = [call for call in wire.calls if call.method != "Handshake"]
    assert len(later) > 3 and {call.headers["authorization"] for call in later} == {token}


def test_no_later_answer_replaces_the_token_by_a_different_one(wire):
    with connect(wire, db_kwargs={"username": "analyst", "password": "secret"}) as connection:
        assert one(connection, "SELECT 1") == 1
    (handshake,) = wire.of("Handshake")
    token = handshake.answer_headers["authorization"]
    assert all(call.answer_headers.get("authorization", token) == token for call in wire.calls)


def test_the_key_opens_as_the_password_of_any_user(guarded):
    for user in ("analyst", "somebody else"):
        with connect(f"grpc://{guarded.tcp}", db_kwargs={"username": user, "password": KEY}) as connection:
            assert one(connection, "SELECT 1") == 1


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_key_opens_as_a_bearer_token(guarded, scheme):
    header = {OPTIONS.AUTHORIZATION_HEADER.value: f"{scheme} {KEY}"}
    with connect(f"grpc://{guarded.tcp}", db_kwargs=header) as connection:
        assert one(connection, "SELECT 1") == 1


def test_a_wrong_password_is_refused_when_connecting(guarded):
    with pytest.raises(dbapi.Error, match="invalid api key") as raised:
        connect(f"grpc://{guarded.tcp}", db_kwargs={"username": "analyst", "password": "guess"})
    assert raised.value.status_code == AdbcStatusCode.UNAUTHENTICATED
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("header", [{}, {OPTIONS.AUTHORIZATION_HEADER.value: "Bearer guess"}])
def test_a_statement_without_the_key_is_refused(guarded, header):
    # The driver passes over what it is told while it connects; so autocommit, which needs no call.
    with connect(f"grpc://{guarded.tcp}", db_kwargs=header, autocommit=True) as connection:
        with pytest.raises(dbapi.Error, match="invalid api key") as raised:
            one(connection, "SELECT 1")
        assert raised.value.status_code == AdbcStatusCode.UNAUTHENTICATED


# What the driver asks at once


def sql_info(flight, *ids):
    """What the server answers to `ids`: a table of numbers and values of a union type."""
    body = b"".join(encoded(1, number) for number in ids)
    info = flight.get_flight_info(fl.FlightDescriptor.for_command(command("CommandGetSqlInfo", body)))
    return flight.do_get(info.endpoints[0].ticket).read_all()


def test_transactions_are_told_in_the_third_child_of_a_dense_union(flight):
    told = sql_info(flight, 8)
    union = told.schema.field("value").type
    assert union.mode == "dense" and union.field(3).type == pa.int32() and union.type_codes[3] == 3
    assert told["info_name"].to_pylist() == [8]
    (values,) = told["value"].chunks
    assert values.type_codes.to_pylist() == [3] and values.to_pylist() == [1], "1 is transactions without savepoints"


def test_vendor_infos_are_texts_and_flags(adbc, flight):
    info = adbc.adbc_get_info()
    assert info["vendor_name"] == "btrdb-flight"
    assert info["vendor_version"] and info["vendor_arrow_version"]
    assert info["driver_name"] == "ADBC Flight SQL Driver - Go"
    told = sql_info(flight, 0, 1, 2, 4, 5, 6, 7).to_pydict()
    values = dict(zip(told["info_name"], told["value"]))
    assert [type(values[number]) for number in (0, 1, 2)] == [str, str, str]
    assert values[4] is True, "SQL"
    assert values[5] is False, "Substrait"
    assert {type(values[number]) for number in (6, 7) if number in values} <= {str}


def test_infos_can_be_asked_for_one_by_one(adbc):
    for code in (0, 1, 2, 3, 4, 100, 101):
        handle = adbc.adbc_connection.get_info([code])
        told = pa.RecordBatchReader._import_from_c(handle.address).read_all()
        assert told["info_name"].to_pylist() == [code]


# Addresses


@pytest.mark.parametrize("uri", ["grpc://{tcp}", "grpc+tcp://{tcp}", "flightsql://{tcp}?transport=tcp"])
def test_addresses_without_tls(guarded, uri):
    login = {"username": "analyst", "password": KEY}
    with connect(uri.format(tcp=guarded.tcp), db_kwargs=login) as connection:
        assert one(connection, "SELECT 1") == 1


@pytest.mark.parametrize("uri", ["grpc+tls://{tls}", "flightsql://{tls}", "flightsql://{tls}?transport=tls"])
def test_addresses_with_tls(guarded, uri):
    login = {"username": "analyst", "password": KEY, OPTIONS.TLS_ROOT_CERTS.value: guarded.root}
    with connect(uri.format(tls=guarded.tls), db_kwargs=login) as connection:
        assert one(connection, "SELECT 1") == 1


@pytest.mark.parametrize("uri", ["grpc+unix://{socket}", "flightsql://{socket}?transport=unix"])
def test_addresses_of_a_unix_socket(guarded, uri):
    login = {"username": "analyst", "password": KEY}
    with connect(uri.format(socket=guarded.socket), db_kwargs=login) as connection:
        assert one(connection, "SELECT 1") == 1
        connection.commit()
        assert one(connection, "SELECT 2") == 2


def test_nobody_at_an_address_is_said(tmp_path):
    with pytest.raises(dbapi.OperationalError) as raised, connect(f"grpc+unix://{tmp_path}/none", autocommit=True) as connection:
        one(connection, "SELECT 1")
    assert raised.value.status_code == AdbcStatusCode.IO


# TLS


def test_an_unknown_authority_is_not_trusted(guarded):
    with pytest.raises(dbapi.Error, match="certificate"):
        connect(f"grpc+tls://{guarded.tls}", db_kwargs={"username": "analyst", "password": KEY})


def test_verification_can_be_skipped(guarded):
    options = {"username": "analyst", "password": KEY, OPTIONS.TLS_SKIP_VERIFY.value: "true"}
    with connect(f"grpc+tls://{guarded.tls}", db_kwargs=options) as connection:
        assert one(connection, "SELECT 1") == 1


def test_the_name_in_the_certificate_can_be_overridden(guarded):
    options = {"username": "analyst", "password": KEY, OPTIONS.TLS_ROOT_CERTS.value: guarded.root}
    named = options | {OPTIONS.TLS_OVERRIDE_HOSTNAME.value: "btrdb.example.org"}
    with connect(f"grpc+tls://{guarded.tls}", db_kwargs=named) as connection:
        assert one(connection, "SELECT 1") == 1
    with pytest.raises(dbapi.Error, match="certificate"):
        connect(f"grpc+tls://{guarded.tls}", db_kwargs=options | {OPTIONS.TLS_OVERRIDE_HOSTNAME.value: "other.example.org"})


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_the_authority_can_be_overridden(guarded, transport):
    options = {"username": "analyst", "password": KEY, OPTIONS.TLS_ROOT_CERTS.value: guarded.root}
    options[OPTIONS.AUTHORITY.value] = "btrdb.example.org"
    uri = f"grpc+tls://{guarded.tls}" if transport == "tls" else f"grpc://{guarded.tcp}"
    with connect(uri, db_kwargs=options) as connection:
        assert one(connection, "SELECT 1") == 1


def test_a_client_certificate_is_no_credential(guarded):
    options = {
        OPTIONS.TLS_ROOT_CERTS.value: guarded.root,
        OPTIONS.MTLS_CERT_CHAIN.value: b"".join(pem.bytes() for pem in guarded.client.cert_chain_pems).decode(),
        OPTIONS.MTLS_PRIVATE_KEY.value: guarded.client.private_key_pem.bytes().decode(),
    }
    with connect(f"grpc+tls://{guarded.tls}", db_kwargs=options, autocommit=True) as connection:
        with pytest.raises(dbapi.Error, match="invalid api key") as raised:
            one(connection, "SELECT 1")
        assert raised.value.status_code == AdbcStatusCode.UNAUTHENTICATED
    # It does no harm either.
    with connect(f"grpc+tls://{guarded.tls}", db_kwargs=options | {"username": "analyst", "password": KEY}) as connection:
        assert one(connection, "SELECT 1") == 1


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        answer = json.dumps({"access_token": "a-token-of-somebody", "token_type": "Bearer", "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def tokens():
    """The address of a service that gives out tokens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Tokens) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{service.server_port}/token"
        service.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "flow",
    [
        {
            OPTIONS.OAUTH_FLOW.value: FLOW.CLIENT_CREDENTIALS.value,
            OPTIONS.OAUTH_CLIENT_ID.value: "analyst",
            OPTIONS.OAUTH_CLIENT_SECRET.value: "secret",
        },
        {
            OPTIONS.OAUTH_FLOW.value: FLOW.TOKEN_EXCHANGE.value,
            OPTIONS.OAUTH_EXCHANGE_SUBJECT_TOKEN.value: "subject",
            OPTIONS.OAUTH_EXCHANGE_SUBJECT_TOKEN_TYPE.value: "urn:ietf:params:oauth:token-type:jwt",
        },
    ],
    ids=["client credentials", "token exchange"],
)
def test_a_token_of_an_authorization_service_is_refused(guarded, tokens, flow):
    options = flow | {OPTIONS.OAUTH_TOKEN_URI.value: tokens, OPTIONS.TLS_ROOT_CERTS.value: guarded.root}
    with connect(f"grpc+tls://{guarded.tls}", db_kwargs=options, autocommit=True) as connection:
        with pytest.raises(dbapi.Error, match="invalid api key") as raised:
            one(connection, "SELECT 1")
    assert raised.value.status_code == AdbcStatusCode.UNAUTHENTICATED
    assert "a-token-of-somebody" not in str(raised.value)


# Headers


@pytest.mark.parametrize("level", ["database", "connection", "statement"])
def test_headers_reach_the_server_from_every_level(server, level):
    header = {f"{OPTIONS.RPC_CALL_HEADER_PREFIX.value}x-btrdb-pushdown": "false"}
    of_database = header if level == "database" else {}
    of_connection = header if level == "connection" else {}
    of_statement = header if level == "statement" else {}
    with connect(server, db_kwargs=of_database, conn_kwargs=of_connection) as connection:
        with connection.cursor(adbc_stmt_kwargs=of_statement) as cursor:
            cursor.execute("SHOW btrdb.pushdown")
            assert cursor.fetchall() == [("btrdb.pushdown", "false")]


def test_a_header_can_be_set_and_taken_back_on_an_open_connection(adbc):
    name = f"{OPTIONS.RPC_CALL_HEADER_PREFIX.value}x-btrdb-pushdown"
    for value, seen in (("false", "false"), ("", "true")):
        adbc.adbc_connection.set_options(**{name: value})
        with adbc.cursor() as cursor:
            cursor.execute("SHOW btrdb.pushdown")
            assert cursor.fetchall() == [("btrdb.pushdown", seen)]


def test_headers_of_others_are_passed_over(server):
    prefix = OPTIONS.RPC_CALL_HEADER_PREFIX.value
    headers = {f"{prefix}database": "grid", f"{prefix}x-trace": "1", f"{prefix}traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    with connect(server, db_kwargs=headers) as connection:
        assert one(connection, "SELECT 1") == 1


def test_a_misspelt_header_of_ours_is_refused(server):
    header = {f"{OPTIONS.RPC_CALL_HEADER_PREFIX.value}x-btrdb-pushdwn": "false"}
    with connect(server, db_kwargs=header, autocommit=True) as connection:
        with pytest.raises(dbapi.ProgrammingError, match="x-btrdb-pushdwn is unknown.*x-btrdb-pushdown"):
            one(connection, "SELECT 1")


# Substrait


def test_a_substrait_plan_is_refused_by_name(cursor):
    with pytest.raises(dbapi.NotSupportedError, match="(?i)substrait") as raised:
        cursor.execute(b"\x0a\x04\x08\x01\x10\x02")
    assert raised.value.status_code == AdbcStatusCode.NOT_IMPLEMENTED
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1,)]
