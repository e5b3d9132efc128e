"""What a person does in Superset's pages."""

import re
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import expect


@contextmanager
def answer(page, path):
    """The JSON that the POST to `path` gets which the body of the `with` leads to."""
    answers = []

    def wanted(response):
        return response.request.method == "POST" and urlsplit(response.url).path.rstrip("/") == path

    with page.expect_response(wanted) as caught:
        yield answers
    response = caught.value
    text = response.text()
    assert response.ok, f"{response.request.method} {response.url} answered {response.status}: {text}"
    answers.append(response.json())


def options(page):
    """The options of the list that is open."""
    return page.locator(".ant-select-dropdown:visible .ant-select-item-option")


def choose(page, select, text):
    """Opens the list of `select`, checks that `text` is in it and chooses that; answers all there was to choose from."""
    select.click()
    option = options(page).filter(has=page.get_by_text(text, exact=True)).first
    expect(option).to_be_visible()
    offered = options(page).all_inner_texts()
    option.click()
    return offered


def connect(page, name, uri):
    """Adds the database at `uri`, by the form for databases that Superset has no form for."""
    page.goto("/databaseview/list/")
    page.get_by_test_id("btn-create-database").click()
    form = page.get_by_role("dialog")
    choose(page, form.locator(".ant-select"), "Other")
    form.get_by_test_id("database-name-input").fill(name)
    form.get_by_test_id("sqlalchemy-uri-input").fill(uri)
    with answer(page, "/api/v1/database/test_connection") as tested:
        form.get_by_role("button", name="Test connection").click()
    assert tested == [{"message": "OK"}]
    expect(page.get_by_text("Connection looks good!")).to_be_visible()
    with answer(page, "/api/v1/database") as created:
        form.get_by_test_id("btn-submit-connection").click()
    expect(form).to_be_hidden()
    return created[0]["id"]


def open_sql_lab(page, database, schema):
    """A new tab of SQL Lab for `schema`; answers the schemas that the list had."""
    page.goto("/sqllab/")
    page.get_by_test_id("DatabaseSelector").click()
    selector = page.locator(".ant-popover")
    choose(page, selector.locator(".ant-select").nth(0), database)
    schemas = choose(page, selector.locator(".ant-select").nth(1), schema)
    selector.get_by_role("button", name="Select").click()
    page.get_by_test_id("add-tab-icon").click()
    expect(page.get_by_test_id("run-query-action")).to_be_visible()
    return schemas


def tree_item(page, name):
    """An entry of the tree of schemas, tables and columns at the left."""
    return page.get_by_test_id("sql-editor-left-bar").get_by_role("treeitem").filter(has=page.get_by_text(name, exact=True))


def run_sql(page, sql):
    """Runs `sql` in the tab that is open; answers what Superset's server said."""
    page.locator(".ace_editor .ace_content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(sql)
    with answer(page, "/api/v1/sqllab/execute") as result:
        page.get_by_test_id("run-query-action").click()
    return result[0]


def save_dataset(page, name):
    """Saves the query of the tab as a dataset; answers its number."""
    page.locator("[data-test=SqlLabApp] button:has([data-test=table])").click()
    form = page.get_by_role("dialog")
    form.get_by_placeholder("Dataset name").fill(name)
    with page.context.expect_page() as opened:
        form.get_by_role("button", name="Save & Explore").click()
    # It explores in a window of its own, and the one page is enough.
    opened.value.wait_for_url(re.compile("datasource_id=[0-9]+"))
    dataset = int(re.search("datasource_id=([0-9]+)", opened.value.url).group(1))
    opened.value.close()
    page.keyboard.press("Escape")
    return dataset


def line_chart(page, dataset, time, value, grain):
    """A line of the mean of a column over time, made by drag and drop; answers what Superset's server said of the query.

    Without a grain there is a point for each time that the dataset has.
    """
    page.goto(f"/explore/?datasource_type=table&datasource_id={dataset}&viz_type=echarts_timeseries_line")
    columns = page.get_by_test_id("DatasourcePanelDragOption")
    axis, metrics = page.get_by_test_id("x_axis"), page.get_by_test_id("metrics")
    expect(columns.filter(has_text=value)).to_be_visible()
    if not axis.get_by_test_id("option-label").count():
        columns.filter(has_text=time).drag_to(axis.get_by_text("Drop a column here or click"))
    expect(axis).to_contain_text(time)
    columns.filter(has_text=value).drag_to(metrics.get_by_text("Drop columns/metrics here or click"))
    choose(page, page.get_by_test_id("metrics-edit-popover").locator(".ant-select").nth(1), "AVG")
    page.get_by_test_id("AdhocMetricEdit#save").click()
    grains = page.get_by_test_id("time_grain_sqla").locator(".ant-select")
    if grain:
        choose(page, grains, grain)
    else:
        grains.hover()
        grains.locator(".ant-select-clear").click()
    page.get_by_role("tab", name="Customize").click()
    page.get_by_text("Truncate Y Axis").click()
    with answer(page, "/api/v1/chart/data") as drawn:
        page.get_by_test_id("run-query-button").click()
    # For the picture: the controls that matter.
    page.get_by_role("tab", name="Data").click()
    axis.scroll_into_view_if_needed()
    return drawn[0]["result"][0]
