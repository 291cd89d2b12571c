//! Settings out of range, and dataflows that cannot run.

use crate::{ended, says, session};
use lotic::query::parse_interval;
use lotic::{ErrorKind, Session, Trigger};
use std::time::Duration;

#[test]
fn a_session_out_of_range_says_what_the_range_is() {
    for parallelism in [0, 129] {
        let error = Session::builder().parallelism(parallelism).get_or_create().unwrap_err();
        says(&error, &[&format!("parallelism({parallelism})"), "between 1 and 128"]);
    }
    for workers in [0, 65] {
        let error = Session::builder().workers(workers).get_or_create().unwrap_err();
        says(&error, &[&format!("workers({workers})"), "between 1 and 64"]);
    }
}

#[test]
fn a_step_out_of_range_is_named_with_its_limit() {
    let session = session();
    for (parallelism, limit) in [(0, "at least 1"), (129, "at most 128"), (usize::MAX, "at most 128")] {
        let mapped = session.rows(vec![1]).map(|n| n).parallelism(parallelism);
        let error = mapped.for_each(|_| {}).start(Trigger::Once).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        says(&error, &[&format!("parallelism {parallelism}"), "`map`", limit]);
    }
}

#[test]
fn a_stream_that_goes_nowhere_is_named_and_what_to_do_is_said() {
    let session = session();
    let (odd, even) = session.rows(vec![1, 2]).split(|n| n % 2 == 1);
    drop(even.map(|n| n).key_by(|n: &i32| *n).count());
    let error = odd.for_each(|_| {}).start(Trigger::Once).unwrap_err();
    says(&error, &["`aggregate`", "goes nowhere", "for_each"]);
}

#[test]
fn an_interval_below_a_millisecond_is_refused_at_the_start_and_while_it_runs() {
    let session = session();
    let short = Trigger::Continuous(Duration::from_micros(999));
    let parts = ["999µs", "at least 1 ms"];
    says(&session.rows(vec![1]).for_each(|_| {}).start(short).unwrap_err(), &parts);
    let (stream, ingress) = session.ingress::<u64>("numbers");
    let query = stream.for_each(|_| {}).start(Trigger::continuous("5 ms")).unwrap();
    says(&query.set_trigger(short).unwrap_err(), &parts);
    says(&query.set_trigger(Trigger::Continuous(Duration::ZERO)).unwrap_err(), &["at least 1 ms"]);
    ingress.push(1).unwrap();
    query.process_all_available().unwrap();
    drop(ingress);
    ended(&query).unwrap();
    says(&parse_interval("ten seconds").unwrap_err(), &["`ten seconds`", "such as `100 ms`"]);
}
