//! Lotic where it belongs: inside a service. An HTTP request becomes a row of a keyed, stateful query, and
//! the query's decision is the response.
//!
//! ```text
//! cargo run --release -p lotic --example order_service -- --checkpoint /tmp/orders
//! curl -d '{"user":7,"amount_cents":1250}' -H 'Content-Type: application/json' localhost:8080/orders
//! {"approved":true,"spent_cents":1250,"limit_cents":100000}
//! ```
//! 200 with the decision; 400 for what is not an order; 503 when the query takes no more; 504 after the
//! deadline. `POST /orders/direct` is the same handler without the engine, to see what the engine costs.
//! Ctrl-C finishes open requests, stops the query in order (its last checkpoint holds every decision that
//! was answered) and exits with 0.

mod limits;
mod requests;
mod service;

use limits::{Direct, Rule};
use lotic::{Session, Trigger, WaitStrategy};
use service::Service;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "options: --listen ADDRESS [127.0.0.1:8080], --checkpoint DIR [none], --deadline-ms N [50], \
                     --limit-cents N [100000], --period-s N [60], --queue N [4096], --http-workers N [1], \
                     --wait spin|park|busy [spin], --replies callback|egress [callback]";

/// Requests are decided one by one; the interval only bounds what a crash forgets.
const EPOCH: Duration = Duration::from_millis(100);

struct Options {
    listen: String,
    checkpoint: Option<PathBuf>,
    deadline: Duration,
    rule: Rule,
    queue: usize,
    http_workers: usize,
    wait: WaitStrategy,
    through_egress: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
        let rule = Rule { limit_cents: 100_000, period: Duration::from_secs(60) };
        let mut options = Options {
            listen: "127.0.0.1:8080".to_owned(),
            checkpoint: None,
            deadline: Duration::from_millis(50),
            rule,
            queue: 4096,
            http_workers: 1,
            wait: WaitStrategy::default(),
            through_egress: false,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("`{name}` without a value; {USAGE}"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{name} {value}: {error}"));
            match name.as_str() {
                "--listen" => options.listen = value,
                "--checkpoint" => options.checkpoint = Some(value.into()),
                "--deadline-ms" => options.deadline = Duration::from_millis(number()?),
                "--limit-cents" => options.rule.limit_cents = number()?,
                "--period-s" => options.rule.period = Duration::from_secs(number()?),
                "--queue" => options.queue = usize::try_from(number()?)?,
                "--http-workers" => options.http_workers = usize::try_from(number()?)?.max(1),
                "--wait" => options.wait = wait(&value)?,
                "--replies" if value == "callback" => options.through_egress = false,
                "--replies" if value == "egress" => options.through_egress = true,
                _ => return Err(format!("unknown: `{name} {value}`; {USAGE}").into()),
            }
        }
        Ok(options)
    }
}

fn wait(name: &str) -> Result<WaitStrategy, String> {
    match name {
        "spin" => Ok(WaitStrategy::default()),
        "park" => Ok(WaitStrategy::Park),
        "busy" => Ok(WaitStrategy::BusySpin),
        _ => Err(format!("--wait {name}: spin, park or busy")),
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let session = Session::builder().app_name("orders").wait(options.wait).get_or_create()?;
    let (requests, source, replies) = requests::channel("orders", options.queue, options.deadline);
    let mut query = if options.through_egress {
        let (query, egress) = limits::handing_query(&session, source, options.rule);
        actix_web::rt::spawn(replies.drain(egress));
        query
    } else {
        limits::answering_query(&session, source, options.rule, replies)
    };
    if let Some(folder) = options.checkpoint {
        query = query.checkpoint_location(folder);
    }
    let query = query.start(Trigger::continuous(EPOCH))?;
    eprint!("{}", query.explain());
    let service = Service { requests, direct: Direct::new(options.rule) };
    let listen = options.listen.as_str();
    let (server, addresses) = service::serve(service, listen, options.http_workers)
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    eprintln!("listening on {addresses:?}; Ctrl-C stops");
    server.await?;
    // All requests have been answered: the last checkpoint holds all decisions.
    let stopped = actix_web::web::block(move || query.stop()).await;
    stopped??;
    eprintln!("stopped in order");
    Ok(())
}
