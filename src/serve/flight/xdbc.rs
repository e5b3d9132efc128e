//! The SQL types, as ODBC, JDBC and Power BI want them described.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use super::metadata::unbuilt;
use crate::error::Result;
use crate::query::SqlType;

/// Every type that a statement can deliver; the builder orders them by their number, as the protocol wants it.
pub(super) fn types() -> Result<XdbcTypeInfoData> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (data_type, kind) in simple() {
        types.append(described(&data_type, kind));
    }
    for data_type in nested() {
        let mut info = described(&data_type, XdbcDataType::XdbcUnknownType);
        info.searchable = Searchable::None;
        types.append(info);
    }
    types.build().map_err(unbuilt)
}

fn simple() -> [(DataType, XdbcDataType); 20] {
    let nanos = TimeUnit::Nanosecond;
    [
        (DataType::Null, XdbcDataType::XdbcUnknownType),
        (DataType::Boolean, XdbcDataType::XdbcBit),
        (DataType::Int8, XdbcDataType::XdbcTinyint),
        (DataType::Int16, XdbcDataType::XdbcSmallint),
        (DataType::Int32, XdbcDataType::XdbcInteger),
        (DataType::Int64, XdbcDataType::XdbcBigint),
        (DataType::UInt8, XdbcDataType::XdbcTinyint),
        (DataType::UInt16, XdbcDataType::XdbcSmallint),
        (DataType::UInt32, XdbcDataType::XdbcInteger),
        (DataType::UInt64, XdbcDataType::XdbcBigint),
        (DataType::Float32, XdbcDataType::XdbcReal),
        (DataType::Float64, XdbcDataType::XdbcDouble),
        (DataType::Decimal256(76, 0), XdbcDataType::XdbcDecimal),
        (DataType::Utf8, XdbcDataType::XdbcVarchar),
        (DataType::Binary, XdbcDataType::XdbcVarbinary),
        (DataType::Date32, XdbcDataType::XdbcDate),
        (DataType::Time64(nanos), XdbcDataType::XdbcTime),
        (
            DataType::Timestamp(nanos, None),
            XdbcDataType::XdbcTimestamp,
        ),
        (
            DataType::Timestamp(nanos, Some("UTC".into())),
            XdbcDataType::XdbcTimestamp,
        ),
        (
            DataType::Interval(IntervalUnit::MonthDayNano),
            XdbcDataType::XdbcInterval,
        ),
    ]
}

fn nested() -> [DataType; 2] {
    let texts = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entries = Field::new("entries", DataType::Struct(texts.clone()), false);
    [
        DataType::Map(Arc::new(entries), false),
        DataType::Struct(texts),
    ]
}

/// The type without what a column adds to it: `DECIMAL`, and not how many digits.
fn bare(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

fn described(data_type: &DataType, kind: XdbcDataType) -> XdbcTypeInfo {
    let sql = SqlType::of(data_type);
    let name = bare(&sql.name).to_owned();
    let is_text = kind == XdbcDataType::XdbcVarchar;
    let is_number = data_type.is_numeric();
    let is_decimal = kind == XdbcDataType::XdbcDecimal;
    let is_binary = kind == XdbcDataType::XdbcVarbinary;
    let quote = match data_type {
        DataType::Interval(_) => Some("INTERVAL '"),
        DataType::Binary => Some("X'"),
        data_type if is_text || data_type.is_temporal() => Some("'"),
        _ => None,
    };
    // Digits of floating-point numbers are binary in ODBC, all others decimal.
    let is_binary_float = data_type.is_floating();
    let column_size = match (is_text || is_binary, is_binary_float) {
        (true, _) => Some(i32::MAX),
        (_, true) => sql.precision,
        _ => sql.width,
    };
    let (sql_data_type, subcode) = code(data_type, kind);
    XdbcTypeInfo {
        type_name: name.clone(),
        data_type: kind,
        column_size,
        literal_prefix: quote.map(str::to_owned),
        literal_suffix: quote.map(|_| "'".to_owned()),
        create_params: is_decimal.then(|| vec!["precision".to_owned(), "scale".to_owned()]),
        nullable: Nullable::NullabilityNullable,
        case_sensitive: is_text,
        searchable: if is_text {
            Searchable::Full
        } else {
            // All but LIKE.
            Searchable::Basic
        },
        unsigned_attribute: is_number.then(|| data_type.is_unsigned_integer()),
        fixed_prec_scale: false,
        auto_increment: is_number.then_some(false),
        local_type_name: Some(name),
        minimum_scale: sql.scale.or(sql.fraction).map(|_| 0),
        maximum_scale: if is_decimal {
            sql.precision
        } else {
            sql.scale.or(sql.fraction)
        },
        sql_data_type,
        datetime_subcode: subcode,
        num_prec_radix: is_number.then_some(if is_binary_float { 2 } else { 10 }),
        interval_precision: (kind == XdbcDataType::XdbcInterval).then_some(9),
    }
}

/// The number that ODBC and JDBC tell all dates and times by, and the one that tells these apart.
fn code(data_type: &DataType, kind: XdbcDataType) -> (XdbcDataType, Option<XdbcDatetimeSubcode>) {
    let subcode = match data_type {
        // The protocol calls the number of dates by its other meaning, in intervals.
        DataType::Date32 => XdbcDatetimeSubcode::XdbcSubcodeYear,
        DataType::Time64(_) => XdbcDatetimeSubcode::XdbcSubcodeTime,
        DataType::Timestamp(_, None) => XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
        DataType::Timestamp(_, Some(_)) => XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone,
        DataType::Interval(_) => {
            return (
                kind,
                Some(XdbcDatetimeSubcode::XdbcSubcodeIntervalDayToSecond),
            );
        }
        _ => return (kind, None),
    };
    (XdbcDataType::XdbcDatetime, Some(subcode))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn types_are_ordered_by_number_and_found_by_it() {
        let types = types().expect("static");
        let all = types.record_batch(None).expect("static");
        let numbers = all.column(1).as_primitive::<Int32Type>().values();
        assert!(numbers.is_sorted(), "{numbers:?}");
        let bigints = types.record_batch(-5).expect("static");
        let names: Vec<_> = bigints.column(0).as_string::<i32>().iter().collect();
        assert_eq!(names, [Some("BIGINT"), Some("BIGINT UNSIGNED")]);
        assert_eq!(types.record_batch(4242).expect("static").num_rows(), 0);
    }

    #[test]
    fn no_name_carries_what_only_a_column_has() {
        let all = types().expect("static").record_batch(None).expect("static");
        let names: Vec<_> = all.column(0).as_string::<i32>().iter().flatten().collect();
        assert!(
            names.contains(&"DECIMAL") && names.contains(&"MAP"),
            "{names:?}"
        );
        assert!(names.iter().all(|name| !name.contains('(')), "{names:?}");
    }
}
