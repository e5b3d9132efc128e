"""What the ADBC driver needs of a server, and the tests that show it.

Each line of `NEEDS` names one need and where it is tested: all tests of a file, or some of its tests by the start of their
names. The test below holds the table to the files, so that no need is without a test, no name is stale, and no test is
forgotten.
"""

from pathlib import Path

FOLDER = Path(__file__).parent

NEEDS = {
    # Connecting
    "a handshake takes user and password and answers a bearer token; no later answer replaces it by a different one": {
        "test_adbc_connecting.py": [
            "a_password_is_exchanged",
            "no_later_answer",
            "the_key_opens_as",
            "a_wrong_password",
            "a_statement_without_the_key",
        ],
    },
    "the support of transactions is asked for at once, and told as an int32 in the third child of a dense union": {
        "test_adbc_connecting.py": ["transactions_are_told"],
    },
    "autocommit can be turned off, so that Python connects without a warning": {
        "test_adbc_connecting.py": ["defaults_connect"],
    },
    "every form of address: flightsql:// with TLS, TCP or a Unix socket, grpc://, grpc+tcp://, grpc+tls://, grpc+unix://": {
        "test_adbc_connecting.py": ["addresses_", "nobody_at_an_address"],
    },
    "headers in lower case, verification that is skipped, names and authorities that are overridden": {
        "test_adbc_connecting.py": [
            "headers_",
            "a_header_",
            "a_misspelt_header",
            "verification_",
            "the_name_in",
            "the_authority_",
            "an_unknown_authority",
        ],
    },
    "client certificates and tokens of authorization services are no credentials, and say so": {
        "test_adbc_connecting.py": ["a_client_certificate", "a_token_of_an_authorization_service"],
    },
    # Executing
    "results arrive in the order of their endpoints, as they are made, and may be empty": {
        "test_adbc_executing.py": [
            "rows_",
            "the_columns",
            "columns_without",
            "the_present",
            "no_call",
            "an_empty_result",
            "results_arrive",
            "compressed_bodies",
            "several_cursors",
            "a_cursor_is_used",
            "a_result_is_read",
            "a_statement_may",
            "connections_are",
            "a_statement_that_answers_nothing",
            "several_statements",
        ],
        "test_adbc_partitions.py": ["an_empty_result", "one_endpoint", "several_endpoints", "what_cannot"],
    },
    "the schema of a stream is the declared one": {
        "test_adbc_executing.py": ["what_is_declared"],
    },
    "types and values are ones that every reader knows": {
        "test_adbc_executing.py": ["types_", "values_", "points_", "times_"],
        "test_adbc_frames.py": [],
    },
    "a schema is told without execution, of plain and of prepared statements": {
        "test_adbc_executing.py": ["a_schema_comes", "what_is_declared"],
        "test_adbc_updating.py": ["preparing_an_insert"],
    },
    "updates come by DoPut, prepared or not, with or without parameters": {
        "test_adbc_updating.py": [
            "an_update_",
            "a_prepared_update",
            "a_script",
            "many_rows",
            "no_rows",
            "streams_are_changed",
            "a_message_of_rows",
            "a_query_is_no_update",
            "the_merge_policy",
            "rows_of_the_shared_table",
        ],
    },
    "what writes through the query path runs once, and is done when it returns": {
        "test_adbc_updating.py": [
            "an_insert_",
            "executing_again",
            "one_row",
            "points_",
            "what_is_no_finite",
            "a_stream_",
            "a_delete",
            "other_statements",
            "writes_show",
        ],
    },
    "parameters are bound by position, many rows at once, of every type, again and again": {
        "test_adbc_binding.py": [
            "an_untyped_parameter",
            "twelve_parameters",
            "numbered_parameters",
            "names_of_columns",
            "a_value_",
            "times_are",
            "nulls_",
            "dense_unions",
            "parameters_name",
            "a_prepared_statement",
            "a_span_of_time",
            "it_is_prepared_once",
            "values_are_never",
            "limits_",
            "too_few",
            "several_rows",
        ],
        "test_adbc_updating.py": ["many_rows"],
    },
    "the schema of parameters is told in order, and one that nothing tells is of the null type": {
        "test_adbc_binding.py": ["the_types_of_parameters", "a_parameter_whose_type", "a_parameter_may", "a_statement_without_parameters"],
    },
    "dictionaries of parameters fail in the driver": {
        "test_adbc_binding.py": ["dictionaries_"],
    },
    "a ticket works from another connection with the same credentials": {
        "test_adbc_partitions.py": [],
    },
    "incremental execution polls, with progress, and endpoints only ever get more": {
        "test_adbc_incremental.py": [],
    },
    "bulk ingest in every mode": {
        "../test_adbc_ingest.py": [],
    },
    "cancelling is leaving: the work stops": {
        "test_adbc_cancelling.py": [
            "a_result_is_cancelled",
            "a_statement_that",
            "closing_",
            "executing_the_next",
            "a_cancelled_result",
            "a_reader_that_pauses",
            "cancelling_what",
            "a_write_is_cancelled",
        ],
    },
    "timeouts are deadlines of the call, and answered as such": {
        "test_adbc_cancelling.py": ["a_fetch", "a_long_result", "a_write_that", "deadlines_", "enough_time"],
    },
    "messages stay under the driver's limit of 16 MiB": {
        "test_adbc_executing.py": ["a_long_result", "messages_", "one_row_that"],
    },
    "Substrait plans are refused by name": {
        "test_adbc_connecting.py": ["a_substrait_plan"],
    },
    # Browsing
    "objects are listed at every depth without a catalog, in the exact schemas": {
        "test_adbc_metadata.py": [
            "catalogs",
            "schemas",
            "tables",
            "columns",
            "patterns_",
            "types_",
            "a_catalog_that",
            "streams_that",
            "what_browsing",
        ],
    },
    "the schema of a table is found by its name as a pattern, in the first batch": {
        "test_adbc_metadata.py": ["the_schema_", "a_table_that"],
    },
    "what is told of columns fills the xdbc columns": {
        "test_adbc_metadata.py": ["columns_are_told"],
    },
    "infos of the vendor are texts and flags": {
        "test_adbc_connecting.py": ["vendor_infos", "infos_can"],
    },
    "options of sessions, with cookies, and a close on every close": {
        "test_adbc_sessions.py": [],
    },
    "transactions: one snapshot, own writes, rollbacks": {
        "test_adbc_transactions.py": [],
    },
    "errors have their code, a short sentence, and details": {
        "test_adbc_errors.py": [],
    },
    # The driver has neither, so that nothing reaches a server: statistics, constraints.
}


def named_in(file):
    """The names of the tests in `file`, without what all begin with."""
    lines = (FOLDER / file).read_text().splitlines()
    return {line.removeprefix("def test_").split("(")[0] for line in lines if line.startswith("def test_")}


def test_every_need_has_tests_and_every_test_a_need():
    named = {}
    for need, files in NEEDS.items():
        assert files, need
        for file, starts in files.items():
            tests = named_in(file)
            assert tests, f"{file}, for: {need}"
            for start in starts:
                assert any(test.startswith(start) for test in tests), f"{start} of {file}, for: {need}"
            named.setdefault(file, set()).update(
                test for test in tests if not starts or any(test.startswith(start) for start in starts)
            )
    for path in FOLDER.glob("test_adbc_*.py"):
        if path.name != Path(__file__).name:
            assert named_in(path.name) == named.get(path.name, set()), path.name
