"""A person at Superset: connects, looks around, asks in SQL, draws. Each test goes on where the one before it stopped."""

import re

import pytest
import sqlalchemy
from playwright.sync_api import expect

import actions

DATABASE = "BTrDB"
COLLECTIONS = ["demo/substation_a/pmu_1", "demo/substation_b/pmu_1", "demo/substation_c/pmu_1"]
STREAMS = ["FREQ", "IA.ANG", "IA.MAG", "VA.ANG", "VA.MAG", "VB.ANG", "VB.MAG", "VC.ANG", "VC.MAG"]

# The demo is an hour, so this is sixty rows. Generation is lost in the 41st minute, down to 59.72 Hz.
MINUTES = """SELECT date_bin(interval '1 minute', time) AS bucket, avg(value) AS mean, min(value) AS lowest, count(*) AS points
FROM "demo/substation_a/pmu_1"."FREQ"
GROUP BY 1
ORDER BY 1"""


@pytest.fixture(scope="module")
def database(page, uri, pictures):
    number = actions.connect(page, DATABASE, uri)
    page.screenshot(path=pictures / "connected.png")
    return number


@pytest.fixture(scope="module")
def schemas(page, database):
    return actions.open_sql_lab(page, DATABASE, COLLECTIONS[0])


@pytest.fixture(scope="module")
def engine(uri):
    engine = sqlalchemy.create_engine(uri)
    yield engine
    engine.dispose()


def test_the_connection_is_tested_saved_and_listed(page, database):
    assert database == 1
    row = page.get_by_role("row").filter(has=page.get_by_text(DATABASE, exact=True))
    expect(row).to_contain_text("datafusion")


def test_collections_are_schemas_and_streams_are_tables(page, schemas, pictures):
    assert set(COLLECTIONS) <= set(schemas)
    actions.tree_item(page, COLLECTIONS[0]).click()
    for stream in STREAMS:
        expect(actions.tree_item(page, stream)).to_be_visible()
    page.screenshot(path=pictures / "tables.png")


def test_a_table_shows_its_columns_and_their_types(page, schemas, pictures):
    actions.tree_item(page, "FREQ").click()
    for column, kind in (("time", "TIMESTAMP"), ("value", "FLOAT")):
        expect(actions.tree_item(page, column)).to_contain_text(kind)
    page.screenshot(path=pictures / "columns.png")


def test_a_bucketed_query_has_a_row_for_each_minute(page, schemas, pictures):
    result = actions.run_sql(page, MINUTES)
    assert result["status"] == "success", result
    rows = result["data"]
    assert len(rows) == 60
    assert sum(row["points"] for row in rows) == pytest.approx(30 * 3600, rel=1e-3)
    assert min(rows, key=lambda row: row["lowest"])["bucket"].startswith("2026-01-01T00:41:00")
    assert {column["column_name"]: column["type"] for column in result["columns"]} == {
        "bucket": "DATETIME",
        "mean": "FLOAT",
        "lowest": "FLOAT",
        "points": "INT",
    }
    pane = page.get_by_test_id("south-pane")
    expect(pane.get_by_text("60 rows")).to_be_visible()
    expect(pane.get_by_text(re.compile(r"^2026-01-01.00:00:00")).first).to_be_visible()
    page.screenshot(path=pictures / "sql-lab.png")


def test_streams_are_listed_with_their_tags(page, schemas, pictures):
    sql = "SELECT name, unit, tags, annotations, point_count, earliest FROM public.streams ORDER BY name, uuid"
    result = actions.run_sql(page, sql)
    assert result["status"] == "success", result
    assert len(result["data"]) == 17
    expect(page.get_by_test_id("south-pane").get_by_text("17 rows")).to_be_visible()
    assert "Hz" in str(result["data"][0]["tags"])
    assert "45.5946" in str([row["annotations"] for row in result["data"]])
    page.screenshot(path=pictures / "streams.png")


def test_a_mistake_in_sql_is_explained(page, schemas, pictures):
    page.locator(".ace_editor .ace_content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text('SELECT valu FROM "demo/substation_a/pmu_1"."FREQ"')
    page.get_by_test_id("run-query-action").click()
    alert = page.get_by_test_id("south-pane").get_by_role("alert")
    expect(alert).to_contain_text("valu")
    page.screenshot(path=pictures / "mistake.png")


def test_a_bucketed_query_is_saved_as_a_dataset_and_drawn(page, schemas, pictures, request):
    actions.run_sql(page, MINUTES)
    dataset = actions.save_dataset(page, "frequency by minute")
    drawn = actions.line_chart(page, dataset, "bucket", "mean", grain=None)
    assert_drawn(page, drawn, rows=60)
    page.screenshot(path=pictures / "chart-of-query.png")
    if picture := request.config.getoption("picture"):
        page.screenshot(path=picture)


def test_a_stream_is_drawn_by_minute_from_statistics(page, database, engine, pictures):
    dataset = create_dataset(page, database, COLLECTIONS[0], "FREQ")
    drawn = actions.line_chart(page, dataset, "time", "value", grain="Minute")
    assert_drawn(page, drawn, rows=60)
    plan = explain(engine, drawn["query"])
    assert re.search("BtrdbScanExec: Windows.* every 1 minute", plan), plan
    page.screenshot(path=pictures / "chart-of-stream.png")


def test_a_time_range_reaches_the_scan(page, database, engine):
    dataset = create_dataset(page, database, COLLECTIONS[1], "IA.MAG")
    query = {
        "columns": [
            {"sqlExpression": "time", "label": "time", "columnType": "BASE_AXIS", "timeGrain": "PT1M", "expressionType": "SQL"}
        ],
        "metrics": ["count"],
        "filters": [{"col": "time", "op": "TEMPORAL_RANGE", "val": "2026-01-01T00:30:00 : 2026-01-01T00:45:00"}],
    }
    asked = {"datasource": {"id": dataset, "type": "table"}, "queries": [query], "result_format": "json", "result_type": "full"}
    answer = post(page, "/api/v1/chart/data", asked)["result"][0]
    assert answer["rowcount"] == 15, answer
    plan = explain(engine, answer["query"])
    assert "range=[2026-01-01T00:30:00Z, 2026-01-01T00:45:00Z)" in plan, plan


def explain(engine, sql):
    """The plan of what Superset asked."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN {sql.strip().rstrip(';')}").all()
    return "\n".join(row[-1] for row in rows)


def assert_drawn(page, drawn, rows):
    """The chart that `drawn` is the data of stands in the page, and nothing complains."""
    assert drawn["error"] is None, drawn
    assert drawn["rowcount"] == rows
    assert set(drawn["coltypes"]) == {0, 2}, "a number and a time"
    expect(page.get_by_test_id("row-count-label")).to_have_text(f"{rows} rows")
    canvas = page.get_by_test_id("chart-container").locator("canvas")
    expect(canvas).to_have_count(1)
    # Longer than the animation of the line.
    page.wait_for_timeout(2000)
    assert line_pixels(canvas) > canvas.bounding_box()["width"], "there is no line from side to side"
    expect(page.get_by_role("alert")).to_have_count(0)


def line_pixels(canvas):
    """How many pixels have the colour of the first line. Its mark in the legend has some too."""
    return canvas.evaluate(
        """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const colour = [0x1f, 0xa8, 0xc9];
            let count = 0;
            for (let pixel = 0; pixel < data.length; pixel += 4) {
                count += colour.every((part, i) => Math.abs(data[pixel + i] - part) < 16);
            }
            return count;
        }"""
    )


def create_dataset(page, database, schema, table):
    """The number of a new dataset. Superset on SQLite wants its table's name to be of one schema only."""
    asked = {"database": database, "schema": schema, "table_name": table}
    return post(page, "/api/v1/dataset/", asked)["id"]


def post(page, path, asked):
    """The answer of Superset's own interface, asked from the page's session."""
    token = page.request.get("/api/v1/security/csrf_token/").json()["result"]
    answer = page.request.post(path, data=asked, headers={"X-CSRFToken": token, "Referer": page.url})
    assert answer.ok, f"{path} answered {answer.status}: {answer.text()}"
    return answer.json()
