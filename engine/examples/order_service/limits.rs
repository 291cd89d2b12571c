//! The decision: may a user spend this much? A limit for each user and period, once as keyed state of a
//! query and once as a map behind a mutex, the floor to compare with.

use crate::requests::{Replies, Reply, Request};
use lotic::connectors::ingress::IngressSource;
use lotic::operators::process::{Process, ProcessContext, Timer};
use lotic::{Egress, Query, Session};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a client asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Who buys.
    pub(crate) user: u64,
    /// For how much; at least 1.
    pub(crate) amount_cents: u64,
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// Whether the order is accepted.
    pub(crate) approved: bool,
    /// What the user has spent in this period, with this order if it was accepted.
    pub(crate) spent_cents: u64,
    /// What the user may spend in a period.
    pub(crate) limit_cents: u64,
}

/// The rule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// What a user may spend in a period.
    pub(crate) limit_cents: u64,
    /// From a user's first order to the reset.
    pub(crate) period: Duration,
}

impl Rule {
    /// Decides, and takes the order into account if it is accepted.
    fn decide(&self, spent_cents: &mut u64, amount_cents: u64) -> Decision {
        let after = spent_cents.saturating_add(amount_cents);
        let approved = after <= self.limit_cents;
        if approved {
            *spent_cents = after;
        }
        Decision { approved, spent_cents: *spent_cents, limit_cents: self.limit_cents }
    }
}

/// The rule as a process function: what a user has spent is keyed state, and a timer forgets it.
///
/// The answer leaves before its epoch is in a checkpoint. After a crash the query has forgotten what was
/// accepted since the last checkpoint, so a user may then spend that much more; the epoch interval bounds it.
#[derive(Debug, Clone)]
pub(crate) struct SpendingLimit(pub(crate) Rule);

impl Process<u64, Request<Order>> for SpendingLimit {
    type State = u64;
    type Out = Reply<Decision>;

    fn on_row(
        &mut self,
        request: Request<Order>,
        context: &mut ProcessContext<'_, u64, u64, Reply<Decision>>,
    ) -> lotic::operators::Result<()> {
        let begins = *context.state() == 0;
        let body = self.0.decide(context.state(), request.body.amount_cents);
        if begins && body.approved {
            let reset = context.now().plus(self.0.period);
            context.set_timer(Timer::Processing(reset));
        }
        context.emit(Reply { id: request.id, body });
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: Timer,
        context: &mut ProcessContext<'_, u64, u64, Reply<Decision>>,
    ) -> lotic::operators::Result<()> {
        context.clear();
        Ok(())
    }
}

/// The query whose replies are delivered on its own thread.
pub(crate) fn answering_query(
    session: &Session,
    source: IngressSource<Request<Order>>,
    rule: Rule,
    replies: Replies<Decision>,
) -> Query {
    decisions(session, source, rule).for_each(move |reply| replies.deliver(reply)).uid("replies")
}

/// The query whose replies are read by a task.
pub(crate) fn handing_query(
    session: &Session,
    source: IngressSource<Request<Order>>,
    rule: Rule,
) -> (Query, Egress<Reply<Decision>>) {
    let (query, egress) = decisions(session, source, rule).egress("replies");
    (query.uid("replies"), egress)
}

fn decisions(
    session: &Session,
    source: IngressSource<Request<Order>>,
    rule: Rule,
) -> lotic::Stream<Reply<Decision>> {
    let orders = session.source(source).uid("orders");
    orders.key_by(|request| request.body.user).process(SpendingLimit(rule)).uid("spending-limit")
}

/// The same decision without the engine: a map behind a mutex, lost with the process.
#[derive(Debug)]
pub(crate) struct Direct {
    rule: Rule,
    users: Mutex<HashMap<u64, (u64, Instant)>>,
}

impl Direct {
    /// Nobody has spent anything.
    pub(crate) fn new(rule: Rule) -> Direct {
        Direct { rule, users: Mutex::default() }
    }

    /// Decides.
    pub(crate) fn decide(&self, order: &Order) -> Decision {
        let now = Instant::now();
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let (spent_cents, reset) = users.entry(order.user).or_insert((0, now + self.rule.period));
        if now >= *reset {
            (*spent_cents, *reset) = (0, now + self.rule.period);
        }
        self.rule.decide(spent_cents, order.amount_cents)
    }
}
