//! What the server can do, as GetSqlInfo answers it.
//!
//! The types matter as much as the values: JDBC and ODBC cast them without looking. `SQL_MAX_*`, identifier cases and null
//! ordering are int64, bit masks and the transaction support int32, the lists of functions string lists.

use std::collections::HashMap;
use std::time::Duration;

use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
    SqlTransactionIsolationLevel,
};

use super::metadata::unbuilt;
use crate::error::Result;
use crate::serve::ServeSettings;

/// Names a vendor can give, in the form that ODBC turns into its `DBMS version`.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of the Arrow that speaks the protocol.
const ARROW_VERSION: &str = "59.3.2";

const KEYWORDS: &[&str] = &["EXPLAIN", "QUALIFY", "SHOW", "UNNEST"];

const NUMERIC_FUNCTIONS: &[&str] = &[
    "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "degrees", "exp", "floor", "ln", "log",
    "log10", "log2", "pi", "power", "radians", "random", "round", "signum", "sin", "sqrt", "tan",
    "trunc",
];

const STRING_FUNCTIONS: &[&str] = &[
    "ascii",
    "btrim",
    "chr",
    "concat",
    "concat_ws",
    "initcap",
    "left",
    "length",
    "lower",
    "lpad",
    "ltrim",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "translate",
    "upper",
];

const DATETIME_FUNCTIONS: &[&str] = &[
    "current_date",
    "current_time",
    "date_bin",
    "date_part",
    "date_trunc",
    "from_unixtime",
    "make_date",
    "now",
    "to_char",
    "to_local_time",
    "to_timestamp",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
];

/// Everything, by id; the answer to a request without ids.
pub(super) fn infos(settings: &ServeSettings) -> Result<SqlInfoData> {
    let mut infos = SqlInfoDataBuilder::new();
    server(&mut infos);
    timeouts(&mut infos, settings);
    language(&mut infos);
    limits(&mut infos);
    transactions(&mut infos);
    infos.build().map_err(unbuilt)
}

fn server(infos: &mut SqlInfoDataBuilder) {
    infos.append(SqlInfo::FlightSqlServerName, "btrdb-flight");
    infos.append(SqlInfo::FlightSqlServerVersion, VERSION);
    infos.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    infos.append(SqlInfo::FlightSqlServerReadOnly, false);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerSubstraitMinVersion, "");
    infos.append(SqlInfo::FlightSqlServerSubstraitMaxVersion, "");
    infos.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::Transaction as i32,
    );
    infos.append(SqlInfo::FlightSqlServerCancel, true);
    infos.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    infos.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, true);
}

/// In milliseconds; zero is no limit.
fn timeouts(infos: &mut SqlInfoDataBuilder, settings: &ServeSettings) {
    let millis = |limit: Duration| i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    infos.append(
        SqlInfo::FlightSqlServerStatementTimeout,
        settings.statement_timeout.map_or(0, millis),
    );
    infos.append(
        SqlInfo::FlightSqlServerTransactionTimeout,
        millis(settings.transaction_idle_max),
    );
}

fn language(infos: &mut SqlInfoDataBuilder) {
    let lowercase = SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64;
    let unknown = SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i64;
    infos.append(SqlInfo::SqlDdlCatalog, false);
    infos.append(SqlInfo::SqlDdlSchema, false);
    infos.append(SqlInfo::SqlDdlTable, false);
    infos.append(SqlInfo::SqlIdentifierCase, lowercase);
    infos.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // Quoted identifiers keep their case, which the protocol has no value for.
    infos.append(SqlInfo::SqlQuotedIdentifierCase, unknown);
    infos.append(SqlInfo::SqlAllTablesAreSelectable, true);
    infos.append(
        SqlInfo::SqlNullOrdering,
        SqlNullOrdering::SqlNullsSortedHigh as i64,
    );
    infos.append(SqlInfo::SqlKeywords, KEYWORDS);
    infos.append(SqlInfo::SqlNumericFunctions, NUMERIC_FUNCTIONS);
    infos.append(SqlInfo::SqlStringFunctions, STRING_FUNCTIONS);
    infos.append(SqlInfo::SqlSystemFunctions, &["version"][..]);
    infos.append(SqlInfo::SqlDatetimeFunctions, DATETIME_FUNCTIONS);
    infos.append(SqlInfo::SqlSearchStringEscape, "\\");
    infos.append(SqlInfo::SqlExtraNameCharacters, "");
    infos.append(SqlInfo::SqlSupportsColumnAliasing, true);
    infos.append(SqlInfo::SqlNullPlusNullIsNull, true);
    infos.append(SqlInfo::SqlSupportsConvert, HashMap::new());
    infos.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    infos.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    infos.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    infos.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    // Bit masks: each bit is a value of the protocol's enumeration.
    infos.append(SqlInfo::SqlSupportedGroupBy, 0b11_i32);
    infos.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    infos.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    infos.append(SqlInfo::SqlSupportedGrammar, 0b111_i32);
    infos.append(SqlInfo::SqlAnsi92SupportedLevel, 0b111_i32);
    infos.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    infos.append(SqlInfo::SqlOuterJoinsSupportLevel, 0b110_i32);
    infos.append(SqlInfo::SqlSchemaTerm, "collection");
    infos.append(SqlInfo::SqlProcedureTerm, "procedure");
    // ODBC takes an empty term for a server without catalogs.
    infos.append(SqlInfo::SqlCatalogTerm, "catalog");
    infos.append(SqlInfo::SqlCatalogAtStart, true);
    infos.append(SqlInfo::SqlSchemasSupportedActions, 0_i32);
    infos.append(SqlInfo::SqlCatalogsSupportedActions, 0_i32);
    infos.append(SqlInfo::SqlSupportedPositionedCommands, 0_i32);
    infos.append(SqlInfo::SqlSelectForUpdateSupported, false);
    infos.append(SqlInfo::SqlStoredProceduresSupported, false);
    infos.append(SqlInfo::SqlSupportedSubqueries, 0b1111_i32);
    infos.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    infos.append(SqlInfo::SqlSupportedUnions, 0b11_i32);
}

/// Zero is no limit, or none known.
fn limits(infos: &mut SqlInfoDataBuilder) {
    for limit in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
    ] {
        infos.append(limit, 0_i64);
    }
    infos.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, true);
}

fn transactions(infos: &mut SqlInfoDataBuilder) {
    let repeatable = SqlTransactionIsolationLevel::SqlTransactionRepeatableRead;
    infos.append(SqlInfo::SqlDefaultTransactionIsolation, repeatable as i64);
    infos.append(SqlInfo::SqlTransactionsSupported, true);
    infos.append(
        SqlInfo::SqlSupportedTransactionsIsolationLevels,
        1_i32 << repeatable as i32,
    );
    infos.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    infos.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    infos.append(SqlInfo::SqlSupportedResultSetTypes, 0b10_i32);
    for concurrency in [
        SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified,
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive,
        SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive,
    ] {
        infos.append(concurrency, 0_i32);
    }
    infos.append(
        SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly,
        0b10_i32,
    );
    infos.append(SqlInfo::SqlBatchUpdatesSupported, true);
    infos.append(SqlInfo::SqlSavepointsSupported, false);
    infos.append(SqlInfo::SqlNamedParametersSupported, false);
    infos.append(SqlInfo::SqlLocatorsUpdateCopy, false);
    infos.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_ids_gets_everything_and_unknown_ids_nothing() {
        let infos = infos(&ServeSettings::default()).expect("static");
        let all = infos.record_batch([]).expect("static");
        assert!(all.num_rows() > 80, "{} rows", all.num_rows());
        assert_eq!(infos.record_batch([8]).expect("static").num_rows(), 1);
        assert_eq!(infos.record_batch([424_242]).expect("static").num_rows(), 0);
    }
}
