//! An exact number in a column.

use std::sync::Arc;

use domain::{Decimal, parse_number};
use sea_orm::{
    ColIdx, DbErr, QueryResult, RuntimeErr, TryGetError, TryGetable,
    sea_query::{ArrayType, ColumnType, Nullable, Value, ValueType, ValueTypeErr},
};
use sqlx::{Row as _, ValueRef as _};

mod numeric;

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
        let mistyped = |why: String| TryGetError::DbErr(DbErr::Type(why));
        let Some(row) = row.try_as_pg_row() else {
            let text = String::try_get_by(row, column)?;
            return parse_number(&text).map(Self).map_err(|error| mistyped(error.to_string()));
        };
        // The driver's own conversion computes with decimals, digit by digit; history is mostly numbers.
        let value = row
            .try_get_raw(column.as_sqlx_postgres_index())
            .map_err(|error| TryGetError::DbErr(DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))))?;
        if value.is_null() {
            return Err(TryGetError::Null(format!("{column:?}")));
        }
        let number = value.as_bytes().ok().and_then(numeric::decode);
        number.map(Self).ok_or_else(|| mistyped(format!("{column:?} is no number that a decimal can hold")))
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
