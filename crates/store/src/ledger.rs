//! Recording which trades are missing: each trade of a run in at most one gap.

use domain::{Gap, GapState};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, Statement, sea_query::Expr,
};

use crate::{
    Store, StoreError,
    entity::gaps::{Column, Entity, Model},
    error::during,
    gaps::{name_of_state, read, row},
    row::is,
};

/// The first and the last of consecutive trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: i64,
    last: i64,
}

impl Store {
    /// Records that the trades of `gap` are missing, and returns the gaps that they lie in now, by trade.
    ///
    /// Trades that lie in a gap already are left where they are, so that recording the same again changes nothing; the
    /// others become gaps of their own, with the times and the cause of `gap`. Trades that are stored already count as
    /// repaired. `state` and `repaired_count` of `gap` are not looked at.
    pub async fn record_gap(&self, gap: &Gap) -> Result<Vec<Gap>, StoreError> {
        self.within_write("record a gap", self.change_gaps(gap, false)).await
    }

    /// Records that the trades of `gap` are missing and that nobody has those which are not stored. A gap that reaches
    /// beyond `gap` is divided at its edges. Returns as [`Store::record_gap`] does.
    ///
    /// A trade that comes all the same is stored and counted.
    pub async fn give_up_gap(&self, gap: &Gap) -> Result<Vec<Gap>, StoreError> {
        self.within_write("give up a gap", self.change_gaps(gap, true)).await
    }

    async fn change_gaps(&self, gap: &Gap, give_up: bool) -> Result<Vec<Gap>, StoreError> {
        let template = Model { state: name_of_state(GapState::Open).into(), ..row(gap)? };
        let span = Span::of(&template);
        if span.first > span.last {
            return Ok(Vec::new());
        }
        let transaction = self.begin_turn([&gap.instrument].into_iter()).await?;
        let known = overlapping(&transaction, gap, span).await?;
        let known: Vec<Span> = known.iter().map(Span::of).collect();
        for missing in span.without(&known) {
            insert(&transaction, piece(&transaction, &template, missing, GapState::Open).await?).await?;
        }
        if give_up {
            for known in overlapping(&transaction, gap, span).await? {
                if known.state == name_of_state(GapState::Open) {
                    divide(&transaction, known, span).await?;
                }
            }
        }
        let now = overlapping(&transaction, gap, span).await?;
        transaction.commit().await.map_err(during("commit a gap"))?;
        now.iter().map(read).collect()
    }
}

impl Span {
    fn of(gap: &Model) -> Self {
        Self { first: gap.first_trade_id, last: gap.last_trade_id }
    }

    /// What is left of this one; `known` is sorted and does not overlap itself.
    fn without(self, known: &[Self]) -> Vec<Self> {
        let mut left = Vec::new();
        let mut first = self.first;
        for known in known {
            if first < known.first {
                left.push(Self { first, last: known.first.saturating_sub(1) });
            }
            first = first.max(known.last.saturating_add(1));
        }
        if first <= self.last {
            left.push(Self { first, last: self.last });
        }
        left
    }
}

/// A gap whose trades are all there is repaired, also one that had been given up.
pub(crate) fn close_when_full(gap: &mut Model) {
    if gap.repaired_count > gap.last_trade_id.saturating_sub(gap.first_trade_id) {
        gap.state = name_of_state(GapState::Repaired).into();
    }
}

/// The gaps of the run of `gap` that share trades with `span`, by trade.
async fn overlapping(
    transaction: &DatabaseTransaction,
    gap: &Gap,
    span: Span,
) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(is(Column::Venue, Column::Product, &gap.instrument))
        .filter(Column::Run.eq(i64::from(gap.run)))
        .filter(Column::LastTradeId.gte(span.first))
        .filter(Column::FirstTradeId.lte(span.last))
        .order_by_asc(Column::FirstTradeId)
        .all(transaction)
        .await
        .map_err(during("read gaps"))
}

/// The trades `span` as a gap like `template`, with those counted that are stored.
async fn piece(
    transaction: &DatabaseTransaction,
    template: &Model,
    span: Span,
    state: GapState,
) -> Result<Model, StoreError> {
    let count = Statement::from_sql_and_values(
        transaction.get_database_backend(),
        "SELECT count(DISTINCT trade_id) FROM tick_history WHERE venue = $1 AND product = $2 AND run = $3 \
         AND trade_id IS NOT NULL AND trade_id >= $4 AND trade_id <= $5",
        [
            template.venue.as_str().into(),
            template.product.as_str().into(),
            template.run.into(),
            span.first.into(),
            span.last.into(),
        ],
    );
    let counted = transaction.query_one_raw(count).await.map_err(during("count the trades of a gap"))?;
    let repaired_count =
        counted.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(during("count the trades of a gap"))?;
    let mut piece = Model {
        first_trade_id: span.first,
        last_trade_id: span.last,
        state: name_of_state(state).into(),
        repaired_count,
        ..template.clone()
    };
    close_when_full(&mut piece);
    Ok(piece)
}

/// Gives up the part of an open gap that lies in `span`.
async fn divide(transaction: &DatabaseTransaction, gap: Model, span: Span) -> Result<(), StoreError> {
    let whole = Span::of(&gap);
    let lost = Span { first: whole.first.max(span.first), last: whole.last.min(span.last) };
    let before = Span { first: whole.first, last: lost.first.saturating_sub(1) };
    let after = Span { first: lost.last.saturating_add(1), last: whole.last };
    let parts =
        [(before, GapState::Open), (lost, GapState::Unrepairable), (after, GapState::Open)].into_iter();
    let mut pieces = Vec::new();
    for (part, state) in parts.filter(|(part, _)| part.first <= part.last) {
        pieces.push(piece(transaction, &gap, part, state).await?);
    }
    let mut pieces = pieces.into_iter();
    // The row becomes its first part: the role that writes may not delete.
    if let Some(first) = pieces.next() {
        let this = Condition::all()
            .add(Column::Venue.eq(gap.venue.as_str()))
            .add(Column::Product.eq(gap.product.as_str()))
            .add(Column::Run.eq(gap.run))
            .add(Column::FirstTradeId.eq(whole.first))
            .add(Column::LastTradeId.eq(whole.last));
        Entity::update_many()
            .col_expr(Column::FirstTradeId, Expr::val(first.first_trade_id))
            .col_expr(Column::LastTradeId, Expr::val(first.last_trade_id))
            .col_expr(Column::State, Expr::val(first.state))
            .col_expr(Column::RepairedCount, Expr::val(first.repaired_count))
            .filter(this)
            .exec(transaction)
            .await
            .map_err(during("write a gap"))?;
    }
    for other in pieces {
        insert(transaction, other).await?;
    }
    Ok(())
}

async fn insert(transaction: &DatabaseTransaction, gap: Model) -> Result<(), StoreError> {
    let inserted = Entity::insert(gap.into_active_model()).exec_without_returning(transaction).await;
    inserted.map(|_| ()).map_err(during("write a gap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_taken_out() {
        let span = |first, last| Span { first, last };
        let whole = span(10, 20);
        assert_eq!(whole.without(&[]), [whole]);
        assert_eq!(whole.without(&[whole]), []);
        assert_eq!(whole.without(&[span(5, 30)]), []);
        assert_eq!(whole.without(&[span(1, 10), span(20, 25)]), [span(11, 19)]);
        assert_eq!(whole.without(&[span(12, 12), span(13, 15)]), [span(10, 11), span(16, 20)]);
    }
}
