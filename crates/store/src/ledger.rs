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
};

/// How many gaps one statement counts and writes.
const AT_ONCE_MAX: usize = 100;
/// Trades between two gaps up to which what is known of both is read together.
const NEAR: i64 = 10_000;

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
        self.record_gaps(std::slice::from_ref(gap)).await
    }

    /// The same for many, in one transaction; where they overlap, the one that begins with the lower trade counts. One that cannot be stored refuses all.
    pub async fn record_gaps(&self, gaps: &[Gap]) -> Result<Vec<Gap>, StoreError> {
        self.within_write("record gaps", self.add_gaps(gaps)).await
    }

    /// Records that the trades of `gap` are missing and that nobody has those which are not stored. A gap that reaches
    /// beyond `gap` is divided at its edges. Returns as [`Store::record_gap`] does.
    ///
    /// A trade that comes all the same is stored and counted.
    pub async fn give_up_gap(&self, gap: &Gap) -> Result<Vec<Gap>, StoreError> {
        self.within_write("give up a gap", self.give_up(gap)).await
    }

    async fn add_gaps(&self, gaps: &[Gap]) -> Result<Vec<Gap>, StoreError> {
        let mut told = gaps.iter().map(template).collect::<Result<Vec<_>, _>>()?;
        told.retain(|gap| gap.first_trade_id <= gap.last_trade_id);
        if told.is_empty() {
            return Ok(Vec::new());
        }
        told.sort_by(|one, other| place(one).cmp(&place(other)));
        let transaction = self.begin_turn(gaps.iter().map(|gap| &gap.instrument)).await?;
        let mut now = Vec::new();
        for near in told.chunk_by(are_near) {
            now.extend(add(&transaction, near).await?);
        }
        transaction.commit().await.map_err(during("commit gaps"))?;
        now.iter().map(read).collect()
    }

    async fn give_up(&self, gap: &Gap) -> Result<Vec<Gap>, StoreError> {
        let template = template(gap)?;
        let span = Span::of(&template);
        if span.first > span.last {
            return Ok(Vec::new());
        }
        let transaction = self.begin_turn([&gap.instrument].into_iter()).await?;
        for known in add(&transaction, std::slice::from_ref(&template)).await? {
            if known.state == name_of_state(GapState::Open) {
                divide(&transaction, known, span).await?;
            }
        }
        let now = overlapping(&transaction, &template, span).await?;
        transaction.commit().await.map_err(during("commit a gap"))?;
        now.iter().map(read).collect()
    }
}

/// The row of a gap that is open and of which nothing is known to be there.
fn template(gap: &Gap) -> Result<Model, StoreError> {
    Ok(Model { state: name_of_state(GapState::Open).into(), repaired_count: 0, ..row(gap)? })
}

fn place(gap: &Model) -> (&str, &str, i64, i64) {
    (&gap.venue, &gap.product, gap.run, gap.first_trade_id)
}

/// Whether what is known around one of two gaps, the first by place, may as well be read together with that around the other.
fn are_near(one: &Model, next: &Model) -> bool {
    (&one.venue, &one.product, one.run) == (&next.venue, &next.product, next.run)
        && next.first_trade_id.saturating_sub(one.last_trade_id) < NEAR
}

/// Adds what no gap has yet of the trades in `told`, which are of one numbering and sorted. Returns the gaps that those trades
/// lie in now, by trade.
async fn add(transaction: &DatabaseTransaction, told: &[Model]) -> Result<Vec<Model>, StoreError> {
    let spans: Vec<Span> = told.iter().map(Span::of).collect();
    let (Some(first), Some(last)) =
        (spans.iter().map(|span| span.first).min(), spans.iter().map(|span| span.last).max())
    else {
        return Ok(Vec::new());
    };
    let mut gaps = match told.first() {
        Some(numbering) => overlapping(transaction, numbering, Span { first, last }).await?,
        None => Vec::new(),
    };
    let mut taken: Vec<Span> = gaps.iter().map(Span::of).collect();
    let mut missing = Vec::new();
    for (gap, span) in told.iter().zip(&spans) {
        for Span { first, last } in span.without(&taken) {
            let at = taken.partition_point(|taken| taken.first < first);
            taken.insert(at, Span { first, last });
            missing.push(Model { first_trade_id: first, last_trade_id: last, ..gap.clone() });
        }
    }
    for some in missing.chunks_mut(AT_ONCE_MAX) {
        count_stored(transaction, some).await?;
        let rows = some.iter().map(|gap| gap.clone().into_active_model());
        let inserted = Entity::insert_many(rows).exec_without_returning(transaction).await;
        inserted.map_err(during("write gaps"))?;
    }
    gaps.append(&mut missing);
    gaps.retain(|gap| {
        spans.iter().any(|span| span.first <= gap.last_trade_id && gap.first_trade_id <= span.last)
    });
    gaps.sort_by_key(|gap| gap.first_trade_id);
    Ok(gaps)
}

/// Counts the trades of these gaps, which are of one numbering, that are stored.
async fn count_stored(transaction: &DatabaseTransaction, gaps: &mut [Model]) -> Result<(), StoreError> {
    let Some(Model { venue, product, run, .. }) = gaps.first().cloned() else { return Ok(()) };
    let spans: Vec<String> = gaps
        .iter()
        .map(|gap| {
            format!(
                "SELECT CAST({} AS BIGINT) AS first, CAST({} AS BIGINT) AS last",
                gap.first_trade_id, gap.last_trade_id
            )
        })
        .collect();
    let count = Statement::from_sql_and_values(
        transaction.get_database_backend(),
        format!(
            "SELECT first, (SELECT count(DISTINCT trade_id) FROM tick_history WHERE venue = $1 AND product = $2 AND run = $3 \
             AND trade_id IS NOT NULL AND trade_id >= first AND trade_id <= last) AS stored FROM ({}) AS missing",
            spans.join(" UNION ALL ")
        ),
        [venue.into(), product.into(), run.into()],
    );
    let counting = during("count the trades of gaps");
    for row in transaction.query_all_raw(count).await.map_err(&counting)? {
        let first: i64 = row.try_get("", "first").map_err(&counting)?;
        if let Some(gap) = gaps.iter_mut().find(|gap| gap.first_trade_id == first) {
            gap.repaired_count = row.try_get("", "stored").map_err(&counting)?;
            close_when_full(gap);
        }
    }
    Ok(())
}

impl Span {
    fn of(gap: &Model) -> Self {
        Self { first: gap.first_trade_id, last: gap.last_trade_id }
    }

    /// What is left of this one; `known` is sorted and does not overlap itself. What lies beyond this one changes nothing.
    fn without(self, known: &[Self]) -> Vec<Self> {
        let mut left = Vec::new();
        let mut first = self.first;
        for known in known.iter().take_while(|known| known.first <= self.last) {
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

/// The gaps of the numbering of `gap` that share trades with `span`, by trade.
async fn overlapping(
    transaction: &DatabaseTransaction,
    gap: &Model,
    span: Span,
) -> Result<Vec<Model>, StoreError> {
    Entity::find()
        .filter(Column::Venue.eq(gap.venue.as_str()))
        .filter(Column::Product.eq(gap.product.as_str()))
        .filter(Column::Run.eq(gap.run))
        .filter(Column::LastTradeId.gte(span.first))
        .filter(Column::FirstTradeId.lte(span.last))
        .order_by_asc(Column::FirstTradeId)
        .all(transaction)
        .await
        .map_err(during("read gaps"))
}

/// Gives up the part of an open gap that lies in `span`.
async fn divide(transaction: &DatabaseTransaction, gap: Model, span: Span) -> Result<(), StoreError> {
    let whole = Span::of(&gap);
    let lost = Span { first: whole.first.max(span.first), last: whole.last.min(span.last) };
    let before = Span { first: whole.first, last: lost.first.saturating_sub(1) };
    let after = Span { first: lost.last.saturating_add(1), last: whole.last };
    let parts =
        [(before, GapState::Open), (lost, GapState::Unrepairable), (after, GapState::Open)].into_iter();
    let mut pieces: Vec<Model> = parts
        .filter(|(part, _)| part.first <= part.last)
        .map(|(part, state)| Model {
            first_trade_id: part.first,
            last_trade_id: part.last,
            state: name_of_state(state).into(),
            ..gap.clone()
        })
        .collect();
    count_stored(transaction, &mut pieces).await?;
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
        let inserted = Entity::insert(other.into_active_model()).exec_without_returning(transaction).await;
        inserted.map_err(during("write a gap"))?;
    }
    Ok(())
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
        assert_eq!(whole.without(&[span(1, 5), span(30, 35), span(40, 45)]), [whole]);
        assert_eq!(whole.without(&[whole, span(30, 35)]), [], "nobody said that 21 to 29 are missing");
    }
}
