"""Dash applications whose callbacks query the database."""

import base64

import numpy as np
import plotly.express as px
import pytest
from btrdb.stream import StreamSet
from btrdb.utils.timez import ns_delta
from btrdb_servers import FIRST, TEN, TENTH, make_set
from dash import Dash, Input, Output, dcc, html

MINUTE = 60 * 10 * TENTH


def post(app, output, value):
    """What a browser sends when a value is chosen, and what it gets."""
    component, name = output.split(".")
    answer = app.server.test_client().post(
        "/_dash-update-component",
        json={
            "output": output,
            "outputs": {"id": component, "property": name},
            "inputs": [{"id": "dropdown-selection", "property": "value", "value": value}],
            "changedPropIds": ["dropdown-selection.value"],
        },
    )
    assert answer.status_code == 200, answer.text
    return answer.json["response"][component][name]


def numbers(data):
    """Numbers as Plotly sends them: a list, or their bytes in base 64."""
    return data if isinstance(data, list) else np.frombuffer(base64.b64decode(data["bdata"]), data["dtype"]).tolist()


def make_app(frame):
    """The application of the tour: one of the columns as a line."""
    app = Dash(__name__)
    app.layout = html.Div(
        [
            html.H1(children="Title of Dash App", style={"textAlign": "center"}),
            dcc.Dropdown(frame.columns, id="dropdown-selection"),
            dcc.Graph(id="graph-content"),
        ]
    )

    @app.callback(Output("graph-content", "figure"), Input("dropdown-selection", "value"))
    def update_graph(value):
        column = frame[value]
        return px.line(column, x=column.index, y=value)

    return app


@pytest.fixture
def five_minutes(db, collection):
    """The last five minutes that all streams of a collection have."""
    made = make_set(db, collection, [(FIRST + i * MINUTE, float(i)) for i in range(10)], TEN)
    made[1].insert([(FIRST + i * MINUTE, float(-i)) for i in range(12)])
    streams = db.streams_in_collection(collection)
    streamset = db.streams(*[stream.uuid for stream in streams])
    end = min(point.time for point in streamset.latest())
    return streamset.filter(start=end - ns_delta(minutes=5), end=end)


def test_the_layout_is_served(five_minutes, collection):
    client = make_app(five_minutes.to_dataframe()).server.test_client()
    assert client.get("/").status_code == 200
    layout = client.get("/_dash-layout")
    assert layout.status_code == 200
    dropdown = layout.json["props"]["children"][1]["props"]
    assert dropdown == {"id": "dropdown-selection", "options": [f"{collection}/a", f"{collection}/b"]}


def test_a_figure_of_values(five_minutes, collection):
    figure = post(make_app(five_minutes.to_dataframe()), "graph-content.figure", f"{collection}/a")
    (line,) = figure["data"]
    assert line["type"].startswith("scatter")
    assert figure["layout"]["yaxis"]["title"]["text"] == f"{collection}/a"
    assert numbers(line["y"]) == [4.0, 5.0, 6.0, 7.0, 8.0]


def test_a_figure_of_a_table(five_minutes, collection):
    frame = five_minutes.arrow_to_dataframe().reset_index()
    figure = post(make_app(frame.set_index("time")), "graph-content.figure", f"{collection}/b")
    (line,) = figure["data"]
    assert numbers(line["y"]) == [-4.0, -5.0, -6.0, -7.0, -8.0]


def test_a_callback_asks_the_database(db, collection):
    streams = make_set(db, collection, TEN)
    app = Dash(__name__)
    app.layout = html.Div([dcc.Input(id="dropdown-selection"), html.Div(id="answer")])

    @app.callback(Output("answer", "children"), Input("dropdown-selection", "value"))
    def ask(width):
        found = db.streams(str(streams[0].uuid))
        assert isinstance(found, StreamSet)
        windows = found[0].windows(FIRST, FIRST + 10 * TENTH, width)
        return ", ".join(f"{point.mean:g}" for point, _ in windows)

    assert post(app, "answer.children", 5 * TENTH) == "3, 8"
    streams[0].insert([(FIRST + 1, 3.0)] * 5)
    assert post(app, "answer.children", 10 * TENTH) == f"{70 / 15:g}"
