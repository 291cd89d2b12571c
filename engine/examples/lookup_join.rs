//! A lookup join: orders meet the limits of their customers, which an asynchronous service knows.
//!
//! ```text
//! cargo run -p lotic --no-default-features --example lookup_join
//! ```

use lotic::operators::lookup::{LookupCache, LookupOptions, LookupOrder, OnFailure};
use lotic::{Session, Trigger};
use std::time::Duration;

/// An order: its number and customer.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Order {
    number: u64,
    customer: u64,
}

/// Stands for a request over the network. Customer 3 is not known.
async fn limit_of(customer: u64) -> Result<Option<u64>, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok((customer != 3).then_some(customer * 1_000))
}

fn main() -> lotic::Result<()> {
    let session = Session::builder().app_name("orders").get_or_create()?;
    let orders = session
        .source(lotic::connectors::memory::MemorySource::new(0..20u64))
        .map(|number| Order { number, customer: number % 5 });
    let options = LookupOptions::default()
        .capacity(1_000)
        .order(LookupOrder::Unordered)
        .timeout(Duration::from_secs(1))
        .attempts(3, Duration::from_millis(100))
        .on_failure(OnFailure::Fail)
        .cache(LookupCache::new(10_000, Duration::from_secs(60)));
    let query = orders
        .key_by(|order| order.customer)
        .left_lookup_join(options, limit_of)
        .for_each(|(order, limit)| println!("order {}, customer {}: {limit:?}", order.number, order.customer))
        .start(Trigger::continuous("100 ms"))?;
    query.await_termination()
}
