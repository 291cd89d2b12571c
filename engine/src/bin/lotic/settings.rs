//! `--set` and `--parallelism`: the settings of the session.

use crate::args::RunOptions;
use crate::fault::Fault;
use lotic::connectors::table::options::nearest;
use lotic::query::parse_interval;
use lotic::{Session, WaitStrategy};
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::Duration;

/// What `--set` knows, apart from DataFusion's own settings.
const KNOWN: [&str; 6] = ["app.name", "chaining", "wait", "watermark.idle", "watermark.policy", "workers"];
/// What the names of DataFusion's settings begin with.
const DATAFUSION: &str = "datafusion.";

/// A session as the options ask for it.
///
/// # Errors
/// If a setting is unknown or its value is wrong.
pub(crate) fn session(options: &RunOptions) -> Result<Session, Fault> {
    let cores = available_parallelism().map_or(1, usize::from);
    let parallelism = options.parallelism.unwrap_or(1);
    let mut builder = Session::builder().parallelism(parallelism).workers(parallelism.clamp(1, cores));
    let mut later = Vec::new();
    for (key, value) in &options.settings {
        builder = match key.as_str() {
            "app.name" => builder.app_name(value.as_str()),
            "chaining" => builder.chaining(parsed(key, value, "true or false")?),
            "workers" => builder.workers(parsed(key, value, "a number")?),
            "wait" => builder.wait(wait(value)?),
            "watermark.idle" => builder.idle_after(idle(value)?),
            "watermark.policy" => builder.multiple_watermark_policy(parsed(key, value, "min or max")?),
            _ if key.starts_with(DATAFUSION) => {
                later.push((key, value));
                builder
            }
            _ => return Err(unknown(key)),
        };
    }
    let session = builder.get_or_create()?;
    for (key, value) in later {
        session
            .execute(&format!("SET {key} = '{}'", value.replace('\'', "''")))
            .map_err(|error| Fault::input(format!("--set {key}: {error}")))?;
    }
    Ok(session)
}

fn parsed<T: FromStr>(key: &str, value: &str, expected: &str) -> Result<T, Fault> {
    value.parse().map_err(|_| Fault::input(format!("--set {key}={value}: expected {expected}")))
}

fn wait(value: &str) -> Result<WaitStrategy, Fault> {
    match value {
        "spin" => Ok(WaitStrategy::default()),
        "park" => Ok(WaitStrategy::Park),
        "busy" => Ok(WaitStrategy::BusySpin),
        _ => Err(Fault::input(format!("--set wait={value}: expected spin, park or busy"))),
    }
}

fn idle(value: &str) -> Result<Option<Duration>, Fault> {
    match value {
        "never" => Ok(None),
        time => parse_interval(time).map(Some).map_err(|_| {
            Fault::input(format!(
                "--set watermark.idle={value}: expected a time such as `1 minute`, or never"
            ))
        }),
    }
}

fn unknown(key: &str) -> Fault {
    let fault = Fault::input(format!("there is no setting `{key}`"));
    match nearest(key, KNOWN.into_iter()) {
        Some(known) => fault.help(format!("did you mean `{known}`?")),
        None => fault.help(format!("the settings are {} and DataFusion's `{DATAFUSION}*`", KNOWN.join(", "))),
    }
}
