//! What a stream can do, by output mode: Spark's rules, each refusal with its reason and the way out.
//!
//! A pure function over the plan, called before anything is built.

use super::bounded::stream_of;
use super::stream_join;
use crate::error::{Error, Result};
use crate::table::event_time::{DeduplicateNode, WatermarkNode, WindowsNode, session_at};
use crate::table::is_streaming;
use datafusion::arrow::datatypes::Field;
use datafusion::common::JoinType;
use datafusion::logical_expr::logical_plan::{Aggregate, Extension, Join, Unnest};
use datafusion::logical_expr::{Expr, LogicalPlan};
use lotic_connectors::table::OutputMode;
use lotic_operators::table::{bears_event_time, watermark_delay};

/// How the rows of a part of a plan relate to those that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emission {
    /// Each row comes once and stays true.
    Once,
    /// A row replaces the one with the same key that came before.
    Changed,
    /// An epoch's rows are the whole result and replace those of the epoch before.
    Whole,
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::user(message))
}

/// The refusal of a subquery over a stream.
pub(super) fn subquery_over_stream() -> Error {
    Error::user(
        "a subquery over a stream never has its final value: read the subquery's table with `read`, or write \
         the query as a join",
    )
}

/// Checks a whole plan.
///
/// # Errors
/// What a stream cannot do in this mode, why, and the way out.
pub(super) fn check(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let emission = Rules { mode }.emission(plan, false)?;
    if mode == OutputMode::Complete && emission != Emission::Whole {
        return refuse(
            "output mode complete needs an aggregation: without one all rows of the stream would have to be \
             kept and written again in each epoch; use output mode append",
        );
    }
    Ok(())
}

/// How an aggregation emits: `under` says whether another aggregation takes its rows.
pub(super) fn aggregate_emission(aggregate: &Aggregate, mode: OutputMode, under: bool) -> Emission {
    match mode {
        OutputMode::Complete if !(under && is_distinct(aggregate)) => Emission::Whole,
        // In append mode a group comes once, when it is over.
        OutputMode::Append => Emission::Once,
        _ if is_distinct(aggregate) => Emission::Once,
        _ => Emission::Changed,
    }
}

/// Whether an aggregation computes nothing but the distinct keys: what `DISTINCT` is planned as.
pub(super) fn is_distinct(aggregate: &Aggregate) -> bool {
    aggregate.aggr_expr.is_empty() && !aggregate.group_expr.is_empty()
}

/// The group column that says when a group of an aggregation is over: a window first, else a timestamp with
/// a watermark.
pub(super) fn over(aggregate: &Aggregate) -> Option<usize> {
    if let [Expr::GroupingSet(_)] = &aggregate.group_expr[..] {
        return None;
    }
    let timed: Vec<usize> =
        (0..aggregate.group_expr.len()).filter(|&key| has_event_time(aggregate.schema.field(key))).collect();
    let window = |key: &&usize| aggregate.schema.field(**key).data_type().is_nested();
    timed.iter().find(window).or(timed.first()).copied()
}

/// Whether a column has event time: it bears a watermark.
pub(super) fn has_event_time(field: &Field) -> bool {
    watermark_delay(field).is_some() && bears_event_time(field.data_type())
}

struct Rules {
    mode: OutputMode,
}

impl Rules {
    fn emission(&self, plan: &LogicalPlan, under: bool) -> Result<Emission> {
        if !is_streaming(plan) {
            return Ok(Emission::Once);
        }
        expressions(plan)?;
        match plan {
            LogicalPlan::TableScan(scan) => match stream_of(&scan.source) {
                Some(_) => Ok(Emission::Once),
                None => Err(subquery_over_stream()),
            },
            LogicalPlan::Projection(node) => self.emission(&node.input, under),
            LogicalPlan::Filter(node) => self.emission(&node.input, under),
            LogicalPlan::SubqueryAlias(node) => self.emission(&node.input, under),
            LogicalPlan::Repartition(node) => self.emission(&node.input, under),
            LogicalPlan::Aggregate(node) => self.aggregate(node, under),
            LogicalPlan::Union(node) => {
                let inputs = node.inputs.iter().map(|input| self.emission(input, under));
                self.union(&inputs.collect::<Result<Vec<_>>>()?)
            }
            LogicalPlan::Join(node) => self.join(node, under),
            LogicalPlan::Unnest(node) => {
                let input = self.emission(&node.input, under)?;
                self.unnest(node, input)
            }
            LogicalPlan::Limit(node) => {
                let input = self.emission(&node.input, under)?;
                self.limit(input)
            }
            LogicalPlan::Sort(node) => {
                let input = self.emission(&node.input, under)?;
                self.sort(input)
            }
            LogicalPlan::Extension(node) => self.extension(node, under),
            other => unsupported(other),
        }
    }

    fn extension(&self, extension: &Extension, under: bool) -> Result<Emission> {
        if let Some(node) = WindowsNode::of(extension) {
            return self.emission(&node.input, under);
        }
        if let Some(node) = WatermarkNode::of(extension) {
            return self.once(
                &node.input,
                "a watermark tells how late rows may come",
                "put it before the aggregation",
            );
        }
        if let Some(node) = DeduplicateNode::of(extension) {
            let way_out = "drop duplicates before the aggregation, or use output mode append";
            return self.once(&node.input, "dropping duplicates keeps the first row of each", way_out);
        }
        refuse(format!("`{}` is not supported over a stream", extension.node.name()))
    }

    /// What can only take rows that stay true.
    fn once(&self, input: &LogicalPlan, what: &str, way_out: &str) -> Result<Emission> {
        match self.emission(input, true)? {
            Emission::Once => Ok(Emission::Once),
            _ => refuse(format!(
                "{what}, and the result of an aggregation has rows that replace others: {way_out}"
            )),
        }
    }

    fn aggregate(&self, node: &Aggregate, under: bool) -> Result<Emission> {
        let input = self.emission(&node.input, true)?;
        let volatile = node.group_expr.iter().chain(&node.aggr_expr).find(|expr| expr.is_volatile());
        if let Some(expr) = volatile {
            return refuse(format!(
                "`{expr}` in an aggregation over a stream has another value each time it is computed, so that \
                 a restart would give another result: add it at the source, or leave it out"
            ));
        }
        if input != Emission::Once {
            return refuse(
                "an aggregation over the result of another aggregation would have to take back what it has \
                 counted: write the inner result to a table and start a second query over that",
            );
        }
        if self.mode == OutputMode::Append && !is_distinct(node) && over(node).is_none() {
            return refuse(
                "output mode append needs rows that never change, but an aggregation over a stream changes its \
                 rows for ever unless it groups by event time: give the stream a watermark and group by \
                 `window(ts, '10 seconds')` or by the timestamp itself, or use output mode update (changed \
                 groups) or complete (all groups)",
            );
        }
        if session_at(&node.group_expr).is_some() && self.mode == OutputMode::Update {
            return refuse(
                "sessions grow and merge, so that output mode update would have to take back rows: use output \
                 mode append with a watermark, or complete",
            );
        }
        Ok(aggregate_emission(node, self.mode, under))
    }

    fn union(&self, inputs: &[Emission]) -> Result<Emission> {
        let all = |emission| inputs.iter().all(|input| *input == emission);
        if all(Emission::Once) {
            return Ok(Emission::Once);
        }
        let changing = inputs.iter().filter(|input| **input != Emission::Once).count();
        if changing > 1 {
            return refuse(
                "a union of several aggregations over streams has no key by which a later row replaces an \
                 earlier one: start one query for each, or union the streams before one aggregation",
            );
        }
        if inputs.contains(&Emission::Whole) {
            return refuse(
                "a union of an aggregation with plain rows cannot be complete, since the plain rows are not \
                 kept: use output mode update, or start one query for each",
            );
        }
        Ok(Emission::Changed)
    }

    fn join(&self, node: &Join, under: bool) -> Result<Emission> {
        if stream_join::is_of_streams(node) {
            for input in [&node.left, &node.right] {
                self.once(
                    input,
                    "a join of two streams keeps their rows",
                    "join the streams before the aggregation",
                )?;
            }
            return stream_join::check(node, self.mode).map(|()| Emission::Once);
        }
        let (left, right) = (is_streaming(&node.left), is_streaming(&node.right));
        let preserved = match node.join_type {
            JoinType::Inner => true,
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark if right => {
                return Err(subquery_over_stream());
            }
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
            JoinType::Full => false,
        };
        if !preserved {
            return refuse(format!(
                "a {} join over a stream would have to emit the rows of the bounded side that never match, \
                 which is known only at the stream's end: use an inner join, or an outer join that keeps the \
                 stream's rows",
                node.join_type.to_string().to_lowercase()
            ));
        }
        let keys = node.on.iter().flat_map(|(left, right)| [left, right]);
        if let Some(expr) = keys.chain(&node.filter).find(|expr| expr.is_volatile()) {
            return refuse(format!(
                "`{expr}` in a join condition has another value each time it is computed: leave it out"
            ));
        }
        self.emission(if left { &node.left } else { &node.right }, under)
    }

    fn unnest(&self, node: &Unnest, input: Emission) -> Result<Emission> {
        if input == Emission::Changed && !node.list_type_columns.is_empty() {
            return refuse(
                "UNNEST of the result of an aggregation in output mode update could not take back the rows of \
                 a list that has become shorter: use output mode complete, or unnest before the aggregation",
            );
        }
        Ok(input)
    }

    fn limit(&self, input: Emission) -> Result<Emission> {
        if self.mode == OutputMode::Update {
            return refuse(
                "LIMIT is not supported in output mode update, where a row may come again with a new value: \
                 use output mode append or complete",
            );
        }
        Ok(input)
    }

    fn sort(&self, input: Emission) -> Result<Emission> {
        if input == Emission::Whole {
            return Ok(Emission::Whole);
        }
        refuse(match self.mode {
            OutputMode::Complete => {
                "ORDER BY below the aggregation of a stream has no effect that could be kept: put it on top of \
                 the aggregation"
            }
            _ => {
                "ORDER BY over a stream would wait for its end: sort the result of an aggregation in output \
                 mode complete, or leave the order to the reader"
            }
        })
    }
}

fn unsupported(plan: &LogicalPlan) -> Result<Emission> {
    match plan {
        LogicalPlan::Window(_) => refuse(
            "window functions (OVER ...) look at rows that may come later, so a stream cannot compute them: \
             use an aggregation with GROUP BY, or run the query over a bounded table",
        ),
        LogicalPlan::RecursiveQuery(_) => {
            refuse("a recursive query (WITH RECURSIVE) over a stream has no end: run it over a bounded table")
        }
        LogicalPlan::Subquery(_) => Err(subquery_over_stream()),
        other => refuse(format!(
            "`{}` is not supported over a stream: run the query over a bounded table",
            other.display().to_string().split(':').next().unwrap_or_default()
        )),
    }
}

/// Refuses what expressions over a stream may not hold.
fn expressions(plan: &LogicalPlan) -> Result<()> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut refused = None;
    // The closures do not fail.
    let _ = plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            let stream = match expr {
                Expr::ScalarSubquery(subquery) => is_streaming(&subquery.subquery),
                Expr::Exists(exists) => is_streaming(&exists.subquery.subquery),
                Expr::InSubquery(within) => is_streaming(&within.subquery.subquery),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            refused.get_or_insert(if stream {
                subquery_over_stream()
            } else {
                Error::user(format!(
                    "the subquery in `{expr}` cannot be turned into a join with the stream: write it as a join"
                ))
            });
            Ok(TreeNodeRecursion::Stop)
        })
    });
    refused.map_or(Ok(()), Err)
}
