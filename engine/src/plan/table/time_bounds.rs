//! How far apart the event times of two rows may lie that fulfil a join condition.

use super::legal::has_event_time;
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, Cast};
use datafusion::logical_expr::logical_plan::Join;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Operator};
use lotic_operators::table::TimeBounds;

/// What a join condition says about event times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct EventTimes {
    /// The column of each side, by number.
    pub(super) left: Option<usize>,
    pub(super) right: Option<usize>,
    pub(super) bounds: TimeBounds,
}

/// A column of one side and nanoseconds that are added to it.
struct Term {
    of_left: bool,
    column: usize,
    plus: i128,
}

/// Looks for comparisons of an event-time column of each side, plus or minus an interval, among what a join
/// condition says all of. Of several pairs of columns the first one counts. Without any, each side has its
/// first column with event time, and there are no bounds.
pub(super) fn find(node: &Join) -> EventTimes {
    let (left, right) = (node.left.schema(), node.right.schema());
    let mut found = EventTimes::default();
    for (one, other) in &node.on {
        found.take(term(one, left, right), Operator::Eq, term(other, left, right));
    }
    for expr in node.filter.iter().flat_map(split_conjunction) {
        if let Expr::BinaryExpr(BinaryExpr { left: one, op, right: other }) = expr {
            found.take(term(one, left, right), *op, term(other, left, right));
        }
    }
    let first = |schema: &DFSchema| (0..schema.fields().len()).find(|&at| has_event_time(schema.field(at)));
    found.left = found.left.or_else(|| first(left));
    found.right = found.right.or_else(|| first(right));
    found
}

impl EventTimes {
    /// Takes in a comparison of two terms, if it is one of the right columns.
    fn take(&mut self, one: Option<Term>, op: Operator, other: Option<Term>) {
        let (Some(one), Some(other)) = (one, other) else { return };
        let (left, op, right) = match (one.of_left, other.of_left) {
            (true, false) => (one, Some(op), other),
            (false, true) => (other, op.swap(), one),
            _ => return,
        };
        let taken = (self.left, self.right);
        if taken != (None, None) && taken != (Some(left.column), Some(right.column)) {
            return;
        }
        // left + a <= right + b is left - right <= b - a.
        let apart = right.plus - left.plus;
        let lower = i64::try_from(apart.div_euclid(1_000)).ok();
        let upper = i64::try_from(-(-apart).div_euclid(1_000)).ok();
        let bounds = match op {
            Some(Operator::Eq) => TimeBounds { lower, upper },
            Some(Operator::Lt | Operator::LtEq) => TimeBounds { lower: None, upper },
            Some(Operator::Gt | Operator::GtEq) => TimeBounds { lower, upper: None },
            _ => return,
        };
        (self.left, self.right) = (Some(left.column), Some(right.column));
        self.bounds.lower = self.bounds.lower.max(bounds.lower);
        self.bounds.upper = match (self.bounds.upper, bounds.upper) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

fn term(expr: &Expr, left: &DFSchema, right: &DFSchema) -> Option<Term> {
    match expr {
        Expr::Column(column) => column_term(column, left, right),
        Expr::Alias(alias) => term(&alias.expr, left, right),
        Expr::Cast(Cast { expr, field }) => {
            let inner = term(expr, left, right)?;
            let schema = if inner.of_left { left } else { right };
            keeps_time(schema.field(inner.column).data_type(), field.data_type()).then_some(inner)
        }
        Expr::BinaryExpr(BinaryExpr { left: one, op, right: other }) => {
            let (inner, by, sign) = match (op, nanos(one), nanos(other)) {
                (Operator::Plus, None, Some(by)) => (term(one, left, right)?, by, 1),
                (Operator::Plus, Some(by), None) => (term(other, left, right)?, by, 1),
                (Operator::Minus, None, Some(by)) => (term(one, left, right)?, by, -1),
                _ => return None,
            };
            let schema = if inner.of_left { left } else { right };
            let plus = inner.plus + sign * fixed(by, schema.field(inner.column))?;
            Some(Term { plus, ..inner })
        }
        _ => None,
    }
}

fn column_term(column: &Column, left: &DFSchema, right: &DFSchema) -> Option<Term> {
    let at = |schema: &DFSchema| {
        schema.maybe_index_of_column(column).filter(|&at| has_event_time(schema.field(at)))
    };
    let term = |of_left| move |column| Term { of_left, column, plus: 0 };
    at(left).map(term(true)).or_else(|| at(right).map(term(false)))
}

/// Whether a cast leaves a timestamp what it is: to the same zone or between zones, and to no coarser unit.
fn keeps_time(from: &DataType, to: &DataType) -> bool {
    let rank = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    match (from, to) {
        (DataType::Timestamp(from, zone), DataType::Timestamp(to, other)) => {
            rank(to) >= rank(from) && zone.is_some() == other.is_some()
        }
        _ => false,
    }
}

/// Days and nanoseconds of an interval without months.
fn nanos(expr: &Expr) -> Option<(i128, i128)> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::IntervalDayTime(Some(time)) => {
            Some((time.days.into(), i128::from(time.milliseconds) * 1_000_000))
        }
        ScalarValue::IntervalMonthDayNano(Some(time)) if time.months == 0 => {
            Some((time.days.into(), time.nanoseconds.into()))
        }
        ScalarValue::DurationSecond(Some(time)) => Some((0, i128::from(*time) * 1_000_000_000)),
        ScalarValue::DurationMillisecond(Some(time)) => Some((0, i128::from(*time) * 1_000_000)),
        ScalarValue::DurationMicrosecond(Some(time)) => Some((0, i128::from(*time) * 1_000)),
        ScalarValue::DurationNanosecond(Some(time)) => Some((0, (*time).into())),
        _ => None,
    }
}

/// How long an interval is; a day of a zone is not always as long.
fn fixed((days, nanos): (i128, i128), field: &Field) -> Option<i128> {
    let zone = match field.data_type() {
        DataType::Timestamp(_, zone) => zone.as_deref(),
        _ => return None,
    };
    let steady = zone.is_none_or(|zone| zone.starts_with(['+', '-']) || zone.eq_ignore_ascii_case("utc"));
    (days == 0 || steady).then_some(days * 86_400_000_000_000 + nanos)
}
