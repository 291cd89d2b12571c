//! Event time in tables: watermarks, windows and sessions in SQL and in DataFrames.
//!
//! | room | what it holds |
//! |---|---|
//! | `frame` | `with_watermark` and `drop_duplicates` on a DataFrame |
//! | `options` | the watermark of a table by its options |
//! | `interval` | lengths of time as Spark writes them |
//! | `spec` | what a call of `window` or `session_window` says, checked |
//! | `functions` | `window`, `session_window`, `window_time` |
//! | `names` | `window` and `window.start` in SQL |
//! | `rewrite`, `sessions` | from calls to plans that can be run |
//! | `watermark` | the plan nodes of a watermark, of rows without duplicates and of a stream's windows |

mod frame;
mod functions;
mod interval;
mod names;
mod options;
mod rewrite;
mod sessions;
mod spec;
mod watermark;

pub use functions::{IntervalText, session_window, sliding_window, window, window_time, window_with_start};
pub(crate) use functions::{Kind, gap_of, panes_of};
pub use interval::ToInterval;
pub(crate) use names::resolve;
pub(crate) use options::WatermarkOptions;
pub(crate) use rewrite::{panes_at, replaced, session_at, unaliased, with_panes};
pub(crate) use watermark::{DeduplicateNode, WatermarkNode, WindowsNode, plain_schema};

use datafusion::execution::context::SessionContext;
use std::sync::Arc;

/// Makes the functions of event time known, and the rule that makes plans of them.
pub(crate) fn install(context: &SessionContext) {
    for kind in [Kind::Window, Kind::Session, Kind::Time] {
        context.register_udf(kind.function());
    }
    context.add_analyzer_rule(Arc::new(rewrite::Windows));
}
