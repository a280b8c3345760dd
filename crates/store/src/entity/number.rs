//! An exact number in a column.

use domain::{Decimal, parse_number};
use sea_orm::{
    ColIdx, DbErr, QueryResult, TryGetError, TryGetable,
    sea_query::{ArrayType, ColumnType, Nullable, Value, ValueType, ValueTypeErr},
};

/// A decimal that is NUMERIC in PostgreSQL and text in SQLite. SeaORM's own decimal reads SQLite's numbers as floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub Decimal);

impl From<Number> for Value {
    /// The drivers write a decimal as NUMERIC to PostgreSQL and as text to SQLite.
    fn from(number: Number) -> Self {
        Self::Decimal(Some(number.0))
    }
}

impl TryGetable for Number {
    fn try_get_by<I: ColIdx>(row: &QueryResult, column: I) -> Result<Self, TryGetError> {
        if row.try_as_sqlite_row().is_none() {
            return Decimal::try_get_by(row, column).map(Self);
        }
        let text = String::try_get_by(row, column)?;
        parse_number(&text).map(Self).map_err(|error| TryGetError::DbErr(DbErr::Type(error.to_string())))
    }
}

impl ValueType for Number {
    fn try_from(value: Value) -> Result<Self, ValueTypeErr> {
        <Decimal as ValueType>::try_from(value).map(Self)
    }

    fn type_name() -> String {
        "Number".into()
    }

    fn array_type() -> ArrayType {
        ArrayType::Decimal
    }

    fn column_type() -> ColumnType {
        ColumnType::Decimal(None)
    }
}

impl Nullable for Number {
    fn null() -> Value {
        Value::Decimal(None)
    }
}
