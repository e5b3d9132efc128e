"""Settings of the Superset under test. What users have to set is TIME_GRAIN_ADDON_EXPRESSIONS; the rest is where it lives."""

import os

SECRET_KEY = "only for the time of a test, on a loopback address"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SUPERSET_HOME']}/superset.db"


def _bins(width):
    return f"date_bin(interval '{width}', {{col}})"


# Superset has no engine of its own for the dialect `datafusion`, so what it calls a time grain is looked up under "base".
TIME_GRAIN_ADDON_EXPRESSIONS = {
    "base": {
        "PT1S": _bins("1 second"),
        "PT5S": _bins("5 seconds"),
        "PT30S": _bins("30 seconds"),
        "PT1M": _bins("1 minute"),
        "PT5M": _bins("5 minutes"),
        "PT10M": _bins("10 minutes"),
        "PT15M": _bins("15 minutes"),
        "PT30M": _bins("30 minutes"),
        "PT1H": _bins("1 hour"),
        "PT6H": _bins("6 hours"),
        "P1D": _bins("1 day"),
        "P1W": "date_trunc('week', {col})",
        "P1M": "date_trunc('month', {col})",
        "P3M": "date_trunc('quarter', {col})",
        "P1Y": "date_trunc('year', {col})",
    }
}
