//! The SQL types, as ODBC, JDBC and Power BI want them described.

use arrow::datatypes::DataType;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use super::metadata::unbuilt;
use crate::error::Result;

/// How SQL names a type; none for what has no name there.
pub(super) fn type_name(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 => "VARCHAR",
        DataType::Binary => "VARBINARY",
        DataType::Date32 => "DATE",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Map(_, _) => "MAP",
        _ => return None,
    })
}

/// All types, ordered by how close they are to their XDBC type, as the protocol wants it.
pub(super) fn types() -> Result<XdbcTypeInfoData> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    let number = |name: &str, kind, digits, radix| {
        let mut info = plain(name, kind, Some(digits));
        info.unsigned_attribute = Some(false);
        info.auto_increment = Some(false);
        info.num_prec_radix = Some(radix);
        info.searchable = Searchable::Basic;
        info
    };
    types.append(plain("BOOLEAN", XdbcDataType::XdbcBit, Some(1)));
    types.append(number("TINYINT", XdbcDataType::XdbcTinyint, 8, 2));
    types.append(number("SMALLINT", XdbcDataType::XdbcSmallint, 16, 2));
    types.append(number("INTEGER", XdbcDataType::XdbcInteger, 32, 2));
    types.append(number("BIGINT", XdbcDataType::XdbcBigint, 64, 2));
    types.append(number("REAL", XdbcDataType::XdbcReal, 24, 2));
    types.append(number("DOUBLE", XdbcDataType::XdbcDouble, 53, 2));
    types.append(quoted("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX));
    types.append(quoted("DATE", XdbcDataType::XdbcDate, 10));
    for name in ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE"] {
        let mut info = quoted(name, XdbcDataType::XdbcTimestamp, 35);
        info.sql_data_type = XdbcDataType::XdbcDatetime;
        info.datetime_subcode = Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp);
        info.minimum_scale = Some(0);
        info.maximum_scale = Some(9);
        types.append(info);
    }
    types.append(plain(
        "VARBINARY",
        XdbcDataType::XdbcVarbinary,
        Some(i32::MAX),
    ));
    types.build().map_err(unbuilt)
}

fn plain(name: &str, kind: XdbcDataType, column_size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type: kind,
        column_size,
        literal_prefix: None,
        literal_suffix: None,
        create_params: None,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: false,
        searchable: Searchable::Full,
        unsigned_attribute: None,
        fixed_prec_scale: false,
        auto_increment: None,
        local_type_name: Some(name.to_owned()),
        minimum_scale: None,
        maximum_scale: None,
        sql_data_type: kind,
        datetime_subcode: None,
        num_prec_radix: None,
        interval_precision: None,
    }
}

fn quoted(name: &str, kind: XdbcDataType, column_size: i32) -> XdbcTypeInfo {
    let mut info = plain(name, kind, Some(column_size));
    info.literal_prefix = Some("'".to_owned());
    info.literal_suffix = Some("'".to_owned());
    info.case_sensitive = kind == XdbcDataType::XdbcVarchar;
    info
}
