//! What the server can do, as GetSqlInfo answers it.
//!
//! The types matter as much as the values: JDBC and ODBC cast them without looking. `SQL_MAX_*`, identifier cases and null
//! ordering are int64, bit masks and the transaction support int32, the lists of functions string lists.

use std::collections::HashMap;
use std::time::Duration;

use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    SqlInfo, SqlNullOrdering, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
    SqlSupportsConvert, SqlTransactionIsolationLevel,
};

use super::metadata::unbuilt;
use crate::error::Result;
use crate::serve::ServeSettings;

/// Names a vendor can give, in the form that ODBC turns into its `DBMS version`.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Of the Arrow that speaks the protocol.
const ARROW_VERSION: &str = "59.3.2";

const KEYWORDS: &[&str] = &["EXPLAIN", "QUALIFY", "SHOW", "UNNEST"];

// Functions: in capitals those of ODBC and JDBC that mean the same here, since their drivers compare letters; then our own.

const NUMERIC_FUNCTIONS: &[&str] = &[
    "ABS", "ACOS", "ASIN", "ATAN", "ATAN2", "COS", "COT", "DEGREES", "EXP", "FLOOR", "LOG10", "PI",
    "POWER", "RADIANS", "ROUND", "SIN", "SQRT", "TAN", "cbrt", "ceil", "isnan", "ln", "log2",
    "random", "signum", "trunc",
];

const STRING_FUNCTIONS: &[&str] = &[
    "ASCII",
    "BIT_LENGTH",
    "CHARACTER_LENGTH",
    "CHAR_LENGTH",
    "CONCAT",
    "LEFT",
    "LENGTH",
    "LTRIM",
    "OCTET_LENGTH",
    "REPEAT",
    "REPLACE",
    "RIGHT",
    "RTRIM",
    "SUBSTRING",
    "btrim",
    "chr",
    "concat_ws",
    "ends_with",
    "initcap",
    "lower",
    "lpad",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "reverse",
    "rpad",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "translate",
    "upper",
];

const DATETIME_FUNCTIONS: &[&str] = &[
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "EXTRACT",
    "NOW",
    "date_bin",
    "date_part",
    "date_trunc",
    "datepart",
    "from_unixtime",
    "make_date",
    "to_char",
    "to_date",
    "to_local_time",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_nanos",
    "to_timestamp_seconds",
    "to_unixtime",
];

const SYSTEM_FUNCTIONS: &[&str] = &[
    "coalesce",
    "current_database",
    "current_schema",
    "nullif",
    "version",
];

const NUMBERS: &[SqlSupportsConvert] = &[
    SqlSupportsConvert::SqlConvertTinyint,
    SqlSupportsConvert::SqlConvertSmallint,
    SqlSupportsConvert::SqlConvertInteger,
    SqlSupportsConvert::SqlConvertBigint,
    SqlSupportsConvert::SqlConvertReal,
    SqlSupportsConvert::SqlConvertFloat,
    SqlSupportsConvert::SqlConvertDecimal,
    SqlSupportsConvert::SqlConvertNumeric,
];

const TEXTS: &[SqlSupportsConvert] = &[
    SqlSupportsConvert::SqlConvertChar,
    SqlSupportsConvert::SqlConvertVarchar,
];

const TIMES: &[SqlSupportsConvert] = &[
    SqlSupportsConvert::SqlConvertDate,
    SqlSupportsConvert::SqlConvertTime,
    SqlSupportsConvert::SqlConvertTimestamp,
];

/// What `CAST` makes of what.
fn conversions() -> HashMap<i32, Vec<i32>> {
    use SqlSupportsConvert::{
        SqlConvertBit, SqlConvertDate, SqlConvertTime, SqlConvertTimestamp, SqlConvertVarbinary,
    };
    let mut conversions = HashMap::new();
    let mut can = |from: &[SqlSupportsConvert], to: &[&[SqlSupportsConvert]]| {
        let to: Vec<i32> = to.concat().into_iter().map(|to| to as i32).collect();
        for &from in from {
            conversions.insert(from as i32, to.clone());
        }
    };
    can(NUMBERS, &[NUMBERS, TEXTS]);
    // No decimals: DataFusion casts a truth to whole numbers and floats only.
    can(&[SqlConvertBit], &[&NUMBERS[..6], TEXTS, &[SqlConvertBit]]);
    can(
        TEXTS,
        &[NUMBERS, TEXTS, TIMES, &[SqlConvertBit, SqlConvertVarbinary]],
    );
    can(
        &[SqlConvertDate],
        &[&[SqlConvertDate, SqlConvertTimestamp], TEXTS],
    );
    can(&[SqlConvertTime], &[&[SqlConvertTime], TEXTS]);
    can(&[SqlConvertTimestamp], &[TIMES, TEXTS]);
    can(&[SqlConvertVarbinary], &[&[SqlConvertVarbinary], TEXTS]);
    conversions
}

/// Everything, by id; the answer to a request without ids.
pub(super) fn infos(settings: &ServeSettings) -> Result<SqlInfoData> {
    let mut infos = SqlInfoDataBuilder::new();
    server(&mut infos, settings);
    language(&mut infos);
    limits(&mut infos);
    transactions(&mut infos);
    infos.build().map_err(unbuilt)
}

fn server(infos: &mut SqlInfoDataBuilder, settings: &ServeSettings) {
    let millis = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
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
    infos.append(
        SqlInfo::FlightSqlServerStatementTimeout,
        millis(settings.statement_lifetime),
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
    infos.append(SqlInfo::SqlSystemFunctions, SYSTEM_FUNCTIONS);
    infos.append(SqlInfo::SqlDatetimeFunctions, DATETIME_FUNCTIONS);
    infos.append(SqlInfo::SqlSearchStringEscape, "\\");
    infos.append(SqlInfo::SqlExtraNameCharacters, "");
    infos.append(SqlInfo::SqlSupportsColumnAliasing, true);
    infos.append(SqlInfo::SqlNullPlusNullIsNull, true);
    infos.append(SqlInfo::SqlSupportsConvert, conversions());
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
