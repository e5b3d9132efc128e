"""Sessions: options of a client that keeps cookies, and of one that does not."""

import json

import adbc_driver_flightsql
import grpc
import pytest
from adbc_driver_flightsql.dbapi import Error, ProgrammingError
from adbc_driver_manager import AdbcStatusCode
from adbc_servers import ask, connect, one
from adbc_wire import SERVICE
from conftest import points, put

COOKIES = {adbc_driver_flightsql.DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value: "true"}

OPTIONS = adbc_driver_flightsql.ConnectionOptions
ALL = OPTIONS.OPTION_SESSION_OPTIONS.value
TEXT = OPTIONS.OPTION_SESSION_OPTION_PREFIX.value
FLAG = OPTIONS.OPTION_BOOL_SESSION_OPTION_PREFIX.value
LIST = OPTIONS.OPTION_STRING_LIST_SESSION_OPTION_PREFIX.value
ERASE = OPTIONS.OPTION_ERASE_SESSION_OPTION_PREFIX.value


@pytest.fixture
def session(server):
    """A connection that commits by itself and keeps cookies."""
    with connect(server, db_kwargs=COOKIES, autocommit=True) as connection:
        yield connection


def setting(connection, name):
    ((_, value),) = ask(connection, f"SHOW {name}")
    return value


def test_catalog_and_schema_are_told(session, adbc):
    for connection in (session, adbc):
        assert connection.adbc_current_catalog == "btrdb"
        assert connection.adbc_current_db_schema == "public"


def test_the_schema_is_where_names_are_looked_for(session, flight, collection):
    put(flight, [collection, "a"], points([0, 1], [1.0, 2.0]))
    with pytest.raises(Error):
        one(session, "SELECT count(*) FROM a")
    session.adbc_current_db_schema = collection
    assert session.adbc_current_db_schema == collection
    assert one(session, "SELECT count(*) FROM a") == 2
    session.adbc_current_db_schema = "public"
    assert one(session, f"SELECT count(*) FROM streams WHERE collection = '{collection}'") == 1


def test_the_only_catalog_can_be_chosen_and_no_other(session):
    session.adbc_current_catalog = "btrdb"
    assert session.adbc_current_catalog == "btrdb"
    with pytest.raises(ProgrammingError, match="catalog.*invalid value") as raised:
        session.adbc_current_catalog = "other"
    assert raised.value.status_code == AdbcStatusCode.INVALID_ARGUMENT
    assert session.adbc_current_catalog == "btrdb"


def test_options_are_told_as_a_whole(session):
    options = json.loads(session.adbc_connection.get_option(ALL))
    assert options["catalog"] == "btrdb" and options["schema"] == "public"
    assert "btrdb.merge" in options and "btrdb.pushdown" in options
    assert json.loads(session.adbc_connection.get_option_bytes(ALL)) == options


def test_a_text_option_lasts_for_the_session(session, flight, collection):
    put(flight, [collection, "a"], points([1], [1.0]))
    session.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "replace"})
    assert session.adbc_connection.get_option(f"{TEXT}btrdb.merge") == "replace"
    assert setting(session, "btrdb.merge") == "replace"
    with session.cursor() as cursor:
        cursor.execute(f'INSERT INTO "{collection}".a VALUES (to_timestamp_nanos(1), 2)')
    assert ask(session, f'SELECT value FROM "{collection}".a') == [(2.0,)]


def test_a_flag_is_set_as_one_and_as_text(session):
    for prefix, value, seen in ((FLAG, "false", "false"), (TEXT, "true", "true"), (TEXT, "off", "false"), (FLAG, "true", "true")):
        session.adbc_connection.set_options(**{f"{prefix}btrdb.pushdown": value})
        assert setting(session, "btrdb.pushdown") == seen


def test_an_option_is_erased(session):
    session.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})
    session.adbc_connection.set_options(**{f"{ERASE}btrdb.merge": ""})
    assert setting(session, "btrdb.merge") == "never"
    session.adbc_current_db_schema = "somewhere"
    session.adbc_connection.set_options(**{f"{ERASE}schema": ""})
    assert session.adbc_current_db_schema == "public"


@pytest.mark.parametrize("option", ["btrdb.pushdwn", "nothing", ""])
def test_an_unknown_option_is_refused_by_name(session, option):
    with pytest.raises(ProgrammingError, match=f"'{option}' \\(invalid name\\)") as raised:
        session.adbc_connection.set_options(**{f"{TEXT}{option}": "1"})
    assert raised.value.status_code == AdbcStatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("option", "value"), [("btrdb.merge", "sometimes"), ("btrdb.pushdown", "maybe")])
def test_a_value_that_an_option_cannot_have_is_refused(session, option, value):
    before = setting(session, option)
    with pytest.raises(ProgrammingError, match=f"'{option}' \\(invalid value\\)"):
        session.adbc_connection.set_options(**{f"{TEXT}{option}": value})
    assert setting(session, option) == before


def test_values_of_other_types_are_refused_or_understood(session):
    with pytest.raises(ProgrammingError, match="invalid value"):
        session.adbc_connection.set_options(**{f"{LIST}btrdb.merge": '["replace"]'})
    with pytest.raises(ProgrammingError, match="invalid value"):
        session.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": 3})
    with pytest.raises(ProgrammingError, match="invalid value"):
        session.adbc_connection.set_options(**{f"{TEXT}schema": 3.5})
    with pytest.raises(ProgrammingError, match="invalid value"):
        session.adbc_connection.set_options(**{f"{FLAG}catalog": "true"})
    assert session.adbc_current_db_schema == "public"


def test_set_lasts_as_long_as_the_session(session):
    with session.cursor() as cursor:
        cursor.execute("SET btrdb.pushdown = false")
    assert setting(session, "btrdb.pushdown") == "false"
    assert session.adbc_connection.get_option(f"{TEXT}btrdb.merge") == "never"


def test_what_set_changed_the_options_tell(session):
    with session.cursor() as cursor:
        cursor.execute("SET btrdb.merge = 'equal'")
    assert session.adbc_connection.get_option(f"{TEXT}btrdb.merge") == "equal"


def test_a_set_in_a_transaction_ends_with_it_in_a_session_too(server):
    with connect(server, db_kwargs=COOKIES) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET btrdb.pushdown = false")
        assert setting(connection, "btrdb.pushdown") == "false"
        connection.commit()
        assert setting(connection, "btrdb.pushdown") == "true"


def test_transactions_have_the_options_of_their_session(server):
    with connect(server, db_kwargs=COOKIES) as connection:
        connection.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})
        assert setting(connection, "btrdb.merge") == "retain"
        connection.commit()
        assert setting(connection, "btrdb.merge") == "retain"


def test_headers_of_a_call_win_over_the_session(session):
    session.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})
    header = {"adbc.flight.sql.rpc.call_header.x-btrdb-merge": "equal"}
    with session.cursor(adbc_stmt_kwargs=header) as cursor:
        cursor.execute("SHOW btrdb.merge")
        assert cursor.fetchall() == [("btrdb.merge", "equal")]
    assert setting(session, "btrdb.merge") == "retain"


def test_sessions_are_strangers_to_each_other(server, session):
    session.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})
    with connect(server, db_kwargs=COOKIES, autocommit=True) as other:
        assert setting(other, "btrdb.merge") == "never"
        other.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "replace"})
    assert setting(session, "btrdb.merge") == "retain"
    with connect(server, autocommit=True) as plain:
        assert setting(plain, "btrdb.merge") == "never"


def test_a_session_is_closed_with_its_connection(wire):
    with connect(wire, db_kwargs=COOKIES, autocommit=True) as connection:
        connection.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})
    assert wire.actions()[-1] == "CloseSession"
    assert wire.of("DoAction")[-1].code == grpc.StatusCode.OK


def test_a_closed_session_is_not_taken_up_again(wire):
    with connect(wire, db_kwargs=COOKIES, autocommit=True) as connection:
        connection.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})
        assert setting(connection, "btrdb.merge") == "retain"
        show = wire.of("GetFlightInfo")[-1].requests[0]
    cookie = [("cookie", next(call.headers["cookie"] for call in reversed(wire.calls) if "cookie" in call.headers))]
    with grpc.insecure_channel(wire.uri.removeprefix("grpc://")) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"{SERVICE}GetFlightInfo")(show, metadata=cookie)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND, "its settings are gone, so that to go on would be wrong"


def test_every_connection_ends_with_a_close_that_succeeds(wire):
    for options in ({}, {"autocommit": True}, {"db_kwargs": COOKIES}):
        with connect(wire, **options) as connection:
            assert one(connection, "SELECT 1") == 1
        assert wire.actions()[-1] == "CloseSession"
        assert wire.of("DoAction")[-1].code == grpc.StatusCode.OK


def test_a_client_without_cookies_is_told_that_a_setting_would_not_last(adbc):
    with adbc.cursor() as cursor, pytest.raises(ProgrammingError, match="x-btrdb-pushdown"):
        cursor.execute("SET btrdb.pushdown = false")
    assert setting(adbc, "btrdb.pushdown") == "true"


def test_a_client_without_cookies_changes_nothing_for_others(adbc, server):
    """Whether it is refused or heeded for the moment: nobody else sees it, and neither does a later connection."""
    try:
        adbc.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "replace"})
    except Error:
        pass
    with connect(server, autocommit=True) as other:
        assert setting(other, "btrdb.merge") == "never"


def test_settings_last_for_the_transaction(server):
    with connect(server) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET btrdb.pushdown = false")
        assert setting(connection, "btrdb.pushdown") == "false"
        connection.commit()
        assert setting(connection, "btrdb.pushdown") == "true"


def test_many_sessions_come_and_go(server):
    for _ in range(200):
        with connect(server, db_kwargs=COOKIES, autocommit=True) as connection:
            connection.adbc_connection.set_options(**{f"{TEXT}btrdb.merge": "retain"})


def test_the_schema_is_where_names_are_written(session, server, flight, collection):
    put(flight, [collection, "a"], points([0, 1], [1.0, 2.0]))
    ask(session, f'USE "{collection}"')
    with session.cursor() as cursor:
        cursor.execute("INSERT INTO a VALUES ('1970-01-01T00:00:01Z', 3)")
        assert cursor.adbc_ingest("a", points([5], [4.0]), mode="append") == 1
        assert cursor.adbc_ingest("b", points([5], [4.0]), mode="create") == 1
        cursor.execute("SHOW COLUMNS FROM a")
        assert cursor.fetch_arrow_table()["column_name"].to_pylist() == ["time", "value"]
        cursor.execute("DELETE FROM a WHERE time = '1970-01-01T00:00:01Z'")
    assert one(session, f'SELECT count(*) FROM "{collection}".a') == 3
    assert one(session, f'SELECT count(*) FROM "{collection}".b') == 1
    # What is in public stays where it is.
    assert one(session, f"SELECT count(*) FROM streams WHERE collection = '{collection}'") == 2
    with connect(server, db_kwargs={"adbc.flight.sql.rpc.call_header.x-btrdb-schema": collection}, autocommit=True) as other:
        with other.cursor() as cursor:
            assert cursor.adbc_ingest("a", points([6], [4.0]), mode="append") == 1
        assert one(other, "SELECT count(*) FROM a") == 4
