//! What SQL calls the types of Arrow: one table of words for `information_schema`, `DESCRIBE` and the drivers.
//!
//! Tools match on these words. Power BI cuts a name at its first bracket and takes what ends in `[]` for a list, so that
//! `DECIMAL(38, 10)`, `MAP(VARCHAR, VARCHAR)` and `BIGINT[]` tell it the kind and people the rest.

use std::borrow::Cow;

use arrow::datatypes::{DataType, TimeUnit};

/// A type as SQL describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlType {
    /// As SQL writes it.
    pub name: Cow<'static, str>,
    /// Digits of a number, in its [radix](Self::radix).
    pub precision: Option<i32>,
    /// Whether the digits are binary (2) or decimal (10).
    pub radix: Option<i32>,
    /// Digits behind the point of a number.
    pub scale: Option<i32>,
    /// Digits behind the point of a second.
    pub fraction: Option<i32>,
    /// Characters of its longest value, written out; none where there is no longest.
    pub width: Option<i32>,
}

impl SqlType {
    /// The SQL type of an Arrow type.
    pub fn of(data_type: &DataType) -> Self {
        use DataType::{
            Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128,
            Decimal256, Dictionary, Duration, FixedSizeBinary, FixedSizeList, Float16, Float32,
            Float64, Int8, Int16, Int32, Int64, Interval, LargeBinary, LargeList, LargeListView,
            LargeUtf8, List, ListView, Map, Null, RunEndEncoded, Struct, Time32, Time64, Timestamp,
            UInt8, UInt16, UInt32, UInt64, Union, Utf8, Utf8View,
        };
        match data_type {
            Null => named("NULL"),
            Boolean => Self {
                width: Some(1),
                ..named("BOOLEAN")
            },
            Int8 => integer("TINYINT", 8, 3),
            Int16 => integer("SMALLINT", 16, 5),
            Int32 => integer("INTEGER", 32, 10),
            Int64 => integer("BIGINT", 64, 19),
            UInt8 => integer("TINYINT UNSIGNED", 8, 3),
            UInt16 => integer("SMALLINT UNSIGNED", 16, 5),
            UInt32 => integer("INTEGER UNSIGNED", 32, 10),
            UInt64 => integer("BIGINT UNSIGNED", 64, 20),
            Float16 | Float32 => float("REAL", 24, 7),
            Float64 => float("DOUBLE", 53, 15),
            Decimal32(precision, scale)
            | Decimal64(precision, scale)
            | Decimal128(precision, scale)
            | Decimal256(precision, scale) => Self {
                precision: Some(i32::from(*precision)),
                radix: Some(10),
                scale: Some(i32::from(*scale)),
                width: Some(i32::from(*precision)),
                ..named(format!("DECIMAL({precision}, {scale})"))
            },
            Utf8 | LargeUtf8 | Utf8View => named("VARCHAR"),
            Binary | LargeBinary | BinaryView => named("VARBINARY"),
            FixedSizeBinary(bytes) => Self {
                width: Some(*bytes),
                ..named(format!("BINARY({bytes})"))
            },
            Date32 | Date64 => Self {
                fraction: Some(0),
                width: Some(10),
                ..named("DATE")
            },
            Time32(unit) | Time64(unit) => clock("TIME", *unit, 8),
            Timestamp(unit, None) => clock("TIMESTAMP", *unit, 19),
            // And the zone: +00:00.
            Timestamp(unit, Some(_)) => clock("TIMESTAMP WITH TIME ZONE", *unit, 25),
            Duration(_) | Interval(_) => named("INTERVAL"),
            List(item)
            | ListView(item)
            | LargeList(item)
            | LargeListView(item)
            | FixedSizeList(item, _) => named(format!("{}[]", Self::of(item.data_type()).name)),
            Struct(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|field| format!("{} {}", field.name(), Self::of(field.data_type()).name))
                    .collect();
                named(format!("STRUCT({})", fields.join(", ")))
            }
            Map(entries, _) => named(match entries.data_type() {
                Struct(fields) => {
                    let types: Vec<_> = fields
                        .iter()
                        .map(|field| Self::of(field.data_type()).name)
                        .collect();
                    Cow::Owned(format!("MAP({})", types.join(", ")))
                }
                _ => Cow::Borrowed("MAP"),
            }),
            Union(_, _) => named("UNION"),
            Dictionary(_, values) => Self::of(values),
            RunEndEncoded(_, values) => Self::of(values.data_type()),
        }
    }
}

fn named(name: impl Into<Cow<'static, str>>) -> SqlType {
    SqlType {
        name: name.into(),
        precision: None,
        radix: None,
        scale: None,
        fraction: None,
        width: None,
    }
}

fn integer(name: &'static str, bits: i32, digits: i32) -> SqlType {
    SqlType {
        precision: Some(bits),
        radix: Some(2),
        scale: Some(0),
        width: Some(digits),
        ..named(name)
    }
}

fn float(name: &'static str, bits: i32, digits: i32) -> SqlType {
    SqlType {
        precision: Some(bits),
        radix: Some(2),
        width: Some(digits),
        ..named(name)
    }
}

/// `whole` is the characters without a fraction.
fn clock(name: &'static str, unit: TimeUnit, whole: i32) -> SqlType {
    let digits = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let point = i32::from(digits > 0);
    SqlType {
        fraction: Some(digits),
        width: Some(whole + point + digits),
        ..named(name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, Fields};

    use super::*;

    #[test]
    fn types_inside_types_are_named_too() {
        let text = |name: &str| Field::new(name, DataType::Utf8View, true);
        let entries = Fields::from(vec![text("key"), text("value")]);
        let map = DataType::Map(
            Arc::new(Field::new("entries", DataType::Struct(entries), false)),
            false,
        );
        let list = DataType::new_list(DataType::Int64, true);
        for (data_type, name) in [
            (map, "MAP(VARCHAR, VARCHAR)"),
            (list.clone(), "BIGINT[]"),
            (DataType::new_list(list, true), "BIGINT[][]"),
            (
                DataType::Struct(Fields::from(vec![text("a")])),
                "STRUCT(a VARCHAR)",
            ),
            (DataType::Decimal128(38, 10), "DECIMAL(38, 10)"),
            (
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                "VARCHAR",
            ),
        ] {
            assert_eq!(SqlType::of(&data_type).name, name);
        }
    }

    #[test]
    fn widths_are_those_of_the_longest_value() {
        let zoned = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let longest = "2024-01-01 00:00:00.123456789+00:00";
        let width = SqlType::of(&zoned).width.expect("times have a width");
        assert_eq!(width as usize, longest.len());
        let plain = DataType::Timestamp(TimeUnit::Second, None);
        assert_eq!(SqlType::of(&plain).width, Some(19));
        assert_eq!(SqlType::of(&DataType::Utf8).width, None);
    }
}
