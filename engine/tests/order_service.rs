//! The example `order_service`, over its real HTTP surface: decisions, deadline, back-pressure, bad input,
//! and a restart from a checkpoint.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../examples/order_service/limits.rs"]
mod limits;
#[path = "../examples/order_service/requests.rs"]
mod requests;
#[path = "../examples/order_service/service.rs"]
mod service;

use limits::{Decision, Direct, Order, Rule};
use lotic::{Session, StreamingQuery, Trigger};
use requests::{CallError, Requests};
use serde_json::{Value, json};
use service::Service;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{Builder, JoinHandle, scope};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const EPOCH: Trigger = Trigger::Continuous(Duration::from_millis(10));
const RULE: Rule = Rule { limit_cents: 1000, period: LIMIT };

/// A server on a port of its own, which ends when this is dropped.
struct Running {
    address: SocketAddr,
    handle: actix_web::dev::ServerHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.handle.stop(true));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

fn serve(
    requests: Requests<Order, Decision>,
    rule: Rule,
    background: impl Future<Output = ()> + Send + 'static,
) -> Running {
    let service = Service { requests, direct: Direct::new(rule) };
    let (put, started) = mpsc::channel();
    let run = move || {
        actix_web::rt::System::new().block_on(async move {
            actix_web::rt::spawn(background);
            let (server, addresses) = service::serve(service, "127.0.0.1:0", 1)?;
            put.send((addresses[0], server.handle())).unwrap();
            server.await
        })
    };
    let thread = Builder::new().spawn(run).unwrap();
    let (address, handle) = started.recv().unwrap();
    Running { address, handle, thread: Some(thread) }
}

/// The service as it is meant to be, and its query.
fn start(rule: Rule, folder: Option<&std::path::Path>) -> (Running, StreamingQuery) {
    let session = Session::builder().get_or_create().unwrap();
    let (requests, source, replies) = requests::channel("orders", 64, LIMIT);
    let mut query = limits::answering_query(&session, source, rule, replies);
    if let Some(folder) = folder {
        query = query.checkpoint_location(folder);
    }
    let query = query.start(EPOCH).unwrap();
    (serve(requests, rule, async {}), query)
}

struct Response {
    status: u16,
    head: String,
    body: Value,
}

/// A connection that is kept alive.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, path: &str, content_type: &str, body: &str) -> Response {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.0.read_line(&mut head).unwrap() > 0,
                "the server closed the connection after `{head}`"
            );
        }
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: serde_json::from_slice(&body).unwrap() }
    }

    fn order(&mut self, path: &str, user: u64, amount_cents: u64) -> Response {
        let order = json!({ "user": user, "amount_cents": amount_cents });
        self.send(path, "application/json", &order.to_string())
    }
}

#[test]
fn both_routes_decide_alike() {
    let (server, query) = start(RULE, None);
    for path in ["/orders", "/orders/direct"] {
        let mut client = Client::new(server.address);
        let script = [
            (1, 600, true, 600),
            (1, 500, false, 600),
            (2, 1000, true, 1000),
            (1, 400, true, 1000),
            (2, 1, false, 1000),
        ];
        for (user, amount, approved, spent) in script {
            let response = client.order(path, user, amount);
            assert_eq!(response.status, 200, "{path}");
            let expected = json!({ "approved": approved, "spent_cents": spent, "limit_cents": 1000 });
            assert_eq!(response.body, expected, "{path}: user {user}, {amount} cents");
        }
    }
    drop(server);
    query.stop().unwrap();
}

#[test]
fn many_clients_at_once_each_get_their_own_answers() {
    let rule = Rule { limit_cents: u64::MAX, period: LIMIT };
    let session = Session::builder().workers(2).parallelism(2).get_or_create().unwrap();
    let (requests, source, replies) = requests::channel("orders", 64, LIMIT);
    let (query, egress) = limits::handing_query(&session, source, rule);
    let query = query.start(EPOCH).unwrap();
    let server = serve(requests, rule, replies.drain(egress));
    scope(|scope| {
        for user in 0..8u64 {
            let address = server.address;
            scope.spawn(move || {
                let mut client = Client::new(address);
                for order in 1..=100 {
                    let response = client.order("/orders", user, user + 1);
                    assert_eq!(
                        (response.status, &response.body["spent_cents"]),
                        (200, &json!(order * (user + 1)))
                    );
                }
            });
        }
    });
    drop(server);
    query.stop().unwrap();
}

#[test]
fn what_is_not_an_order_is_refused_with_a_reason() {
    let (server, query) = start(RULE, None);
    let mut client = Client::new(server.address);
    for path in ["/orders", "/orders/direct"] {
        for (body, reason) in [
            ("{", "EOF"),
            (r#"{"user":1}"#, "amount_cents"),
            (r#"{"user":1,"amount_cents":0}"#, "at least 1 cent"),
            (r#"{"user":-1,"amount_cents":5}"#, "-1"),
            (r#"{"user":1,"amount_cents":5,"amount":6}"#, "unknown field `amount`"),
        ] {
            let response = client.send(path, "application/json", body);
            assert_eq!(response.status, 400, "{path} {body}");
            let said = response.body["error"].as_str().unwrap();
            assert!(said.contains(reason), "{path} {body}: {said}");
        }
        // Without reading the body the server cannot keep the connection.
        let mut other = Client::new(server.address);
        let response = other.send(path, "text/plain", r#"{"user":1,"amount_cents":5}"#);
        assert_eq!(response.status, 400);
        assert!(response.body["error"].as_str().unwrap().contains("Content-Type"));
        assert_eq!(client.order(path, 1, 5).status, 200, "the connection and the service go on");
    }
    let long = format!(r#"{{"user":1,"amount_cents":5,"note":"{}"}}"#, "x".repeat(10_000));
    assert_eq!(Client::new(server.address).send("/orders", "application/json", &long).status, 413);
    drop(server);
    query.stop().unwrap();
}

#[test]
fn after_the_deadline_the_client_is_told_so() {
    let session = Session::builder().get_or_create().unwrap();
    let deadline = Duration::from_millis(30);
    let (requests, source, _replies) = requests::channel("orders", 64, deadline);
    // A query that never answers.
    let query = session.source(source).for_each(|_| {}).start(EPOCH).unwrap();
    let server = serve(requests, RULE, async {});
    let mut client = Client::new(server.address);
    for _ in 0..3 {
        let begun = Instant::now();
        let response = client.order("/orders", 1, 5);
        assert_eq!(response.status, 504);
        assert!(begun.elapsed() >= deadline && begun.elapsed() < LIMIT);
        assert!(response.body["error"].as_str().unwrap().contains("deadline"), "{}", response.body);
    }
    query.stop().unwrap();
    let response = client.order("/orders", 1, 5);
    assert_eq!(response.status, 503, "a query that has ended takes nothing");
    assert_eq!(client.order("/orders/direct", 1, 5).status, 200);
}

#[test]
fn a_busy_query_turns_clients_away_and_answers_those_it_took() {
    let session = Session::builder().get_or_create().unwrap();
    let (requests, source, replies) = requests::channel("orders", 2, LIMIT);
    let gate = Arc::new(Mutex::new(()));
    let (closed, held) = (gate.lock().unwrap(), Arc::clone(&gate));
    let decision = Decision { approved: true, spent_cents: 0, limit_cents: 0 };
    let query = session
        .source(source)
        .map(move |request: requests::Request<Order>| {
            drop(held.lock().unwrap());
            requests::Reply { id: request.id, body: decision.clone() }
        })
        .for_each(move |reply| replies.deliver(reply))
        .start(EPOCH)
        .unwrap();
    let server = serve(requests, RULE, async {});
    let (put, statuses) = mpsc::channel();
    scope(|scope| {
        for user in 0..12 {
            let (address, put) = (server.address, put.clone());
            scope.spawn(move || {
                let response = Client::new(address).order("/orders", user, 5);
                put.send((response.status, response.head.contains("retry-after: "))).unwrap();
            });
        }
        // The query holds what its first poll found, at most two, and two more wait for it.
        for _ in 0..12 - 5 {
            assert_eq!(statuses.recv_timeout(LIMIT).unwrap(), (503, true));
        }
        drop(closed);
    });
    drop(put);
    let rest: Vec<(u16, bool)> = statuses.iter().collect();
    assert!(rest.contains(&(200, false)), "{rest:?}");
    assert!(rest.iter().all(|answer| [(200, false), (503, true)].contains(answer)), "{rest:?}");
    assert_eq!(Client::new(server.address).order("/orders", 1, 5).status, 200, "and it goes on");
    drop(server);
    query.stop().unwrap();
}

#[test]
fn what_was_spent_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for start_number in 1..=3u64 {
        let (server, query) = start(RULE, Some(folder.path()));
        let response = Client::new(server.address).order("/orders", 7, 300);
        assert_eq!(response.body["spent_cents"], json!(300 * start_number));
        drop(server);
        query.stop().unwrap();
    }
    let (server, query) = start(RULE, Some(folder.path()));
    assert_eq!(Client::new(server.address).order("/orders", 7, 300).body["approved"], json!(false));
    drop(server);
    query.stop().unwrap();
}

#[test]
fn a_timer_forgets_what_was_spent() {
    let (server, query) = start(Rule { limit_cents: 100, period: Duration::from_millis(50) }, None);
    for path in ["/orders", "/orders/direct"] {
        let mut client = Client::new(server.address);
        let begun = Instant::now();
        assert_eq!(client.order(path, 7, 100).body["approved"], json!(true));
        while client.order(path, 7, 100).body["approved"] == json!(false) {
            assert!(begun.elapsed() < LIMIT, "{path}: never reset");
        }
        assert!(begun.elapsed() >= Duration::from_millis(50), "{path}: too early");
    }
    drop(server);
    query.stop().unwrap();
}

#[test]
fn who_gives_up_leaves_nothing_behind() {
    let (requests, source, replies) = requests::channel::<u64, u64>("calls", 2, Duration::from_millis(5));
    actix_web::rt::System::new().block_on(async {
        assert_eq!(requests.call(1).await, Err(CallError::TimedOut));
        let abandoned = tokio::time::timeout(Duration::ZERO, requests.call(2)).await;
        assert!(abandoned.is_err());
        assert_eq!(requests.call(3).await, Err(CallError::Full));
        assert_eq!(requests.in_flight(), 0);
        replies.deliver(requests::Reply { id: 0, body: 1 }); // too late: dropped
        drop(source);
        assert_eq!(requests.call(4).await, Err(CallError::Closed));
        assert_eq!(requests.in_flight(), 0);
    });
}
