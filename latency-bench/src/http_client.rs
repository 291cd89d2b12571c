//! `http`: an open-loop HTTP client, for a service that has Lotic inside.
//!
//! One thread sends each request at its intended time over the next free keep-alive connection and takes
//! whatever responses are there; it spins, so it needs a processor to itself. A request that finds no free
//! connection waits, and the wait is part of its latency: the schedule does not bend. No pipelining.

use crate::clock::Timebase;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::generator::{DueRecords, Sent, Traffic};
use crate::recorder::{Recorded, Recorder, Window};
use crate::report::micros;
use crate::report::table::{grouped, microseconds};
use crate::schedule::{Pace, Share};
use crate::stats::Spread;
use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

/// How long responses are waited for after the last request.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// What a run does before it is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// Closer to the next request than this, the client spins.
const SPIN_NS: u64 = 2_000_000;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpArguments {
    /// Where to POST to, as `http://127.0.0.1:8080/orders`; several are measured in turns
    #[arg(long = "url", required = true)]
    urls: Vec<Url>,
    /// Requests per second; may be given several times
    #[arg(long = "rate", value_name = "N", default_value = "1000")]
    rates: Vec<NonZeroU64>,
    /// How long each run is measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    duration: u64,
    /// Runs of each URL at each rate
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Connections kept alive: requests that may be under way at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// The JSON to send; `{key}` stands for one of `--keys` numbers
    #[arg(long, value_name = "JSON", default_value = r#"{"user":{key},"amount_cents":1}"#)]
    body: String,
    /// How many different keys
    #[arg(long, value_name = "N", default_value = "10000")]
    keys: NonZeroU64,
    /// Seed of the keys
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// A URL with nothing but host, port and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host and port.
    authority: String,
    path: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let rest = text.strip_prefix("http://").ok_or("give a URL that begins with `http://`")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') || text.contains(char::is_whitespace) {
            return Err("give a URL as `http://HOST:PORT/PATH`".to_owned());
        }
        let port = if authority.contains(':') { "" } else { ":80" };
        let path = if path.is_empty() { "/" } else { path };
        Ok(Url { authority: format!("{authority}{port}"), path: path.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// One connection, with at most one request under way.
struct Connection {
    stream: TcpStream,
    under_way: Option<Event>,
    received: Vec<u8>,
}

/// The status of a response and its length in bytes, once all of it is there.
fn response(received: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let Some(head_end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let head =
        std::str::from_utf8(&received[..head_end]).map_err(|_| "the response is not HTTP".to_owned())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status = status.and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("not an HTTP/1.1 response: `{head}`"))?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length
        .and_then(|(_, length)| length.trim().parse().ok())
        .ok_or_else(|| format!("a response without Content-Length: `{head}`"))?;
    let end = head_end + 4 + length;
    Ok((received.len() >= end).then_some((status, end)))
}

impl Connection {
    fn open(url: &Url) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(&url.authority)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, under_way: None, received: Vec::with_capacity(1024) })
    }

    /// Takes what has arrived; the request and its status once the response is whole.
    fn receive(&mut self) -> Result<Option<(Event, u16)>, String> {
        let mut bytes = [0; 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err("the server closed a connection".to_owned()),
            Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.to_string()),
        }
        let Some((status, length)) = response(&self.received)? else { return Ok(None) };
        self.received.drain(..length);
        let event = self.under_way.take().ok_or("a response to no request")?;
        Ok(Some((event, status)))
    }
}

/// One run.
struct Run<'a> {
    arguments: &'a HttpArguments,
    url: &'a Url,
    connections: Vec<Connection>,
    free: Vec<usize>,
    busy: Vec<usize>,
    recorder: Recorder,
    refused: u64,
}

impl Run<'_> {
    fn send(&mut self, mut event: Event, timebase: &Timebase) -> Result<(), String> {
        let at = self.free.pop().ok_or("no connection is free")?;
        let connection = &mut self.connections[at];
        let body = self.arguments.body.replace("{key}", &event.key.to_string());
        let Url { authority, path } = self.url;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        event.sent_ns = timebase.now_ns();
        connection.stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        connection.under_way = Some(event);
        self.busy.push(at);
        Ok(())
    }

    /// Looks once at every connection that waits for a response.
    fn receive(&mut self, timebase: &Timebase) -> Result<(), String> {
        let mut next = 0;
        while let Some(&at) = self.busy.get(next) {
            match self.connections[at].receive()? {
                None => next += 1,
                Some((event, status)) => {
                    self.recorder.record(timebase.now_ns(), event.intended_ns, event.sent_ns);
                    self.refused += u64::from(status != 200);
                    self.busy.swap_remove(next);
                    self.free.push(at);
                }
            }
        }
        Ok(())
    }

    fn drive(mut self, mut due: DueRecords) -> Result<Outcome, String> {
        let timebase = Timebase::begun();
        let mut ready: Vec<Event> = Vec::new();
        let mut waiting: VecDeque<Event> = VecDeque::new();
        let over_ns = due.ends_ns() + STRAGGLERS.as_nanos() as u64;
        loop {
            let now_ns = timebase.now_ns();
            due.take_due(now_ns, usize::MAX, &mut ready);
            waiting.extend(ready.drain(..));
            while !self.free.is_empty()
                && let Some(event) = waiting.pop_front()
            {
                self.send(event, &timebase)?;
            }
            self.receive(&timebase)?;
            match due.next_ns() {
                None if self.busy.is_empty() && waiting.is_empty() => break,
                None if now_ns > over_ns => {
                    return Err(format!("{} requests got no response", self.busy.len()));
                }
                Some(next_ns) if self.busy.is_empty() && next_ns > now_ns + 2 * SPIN_NS => {
                    std::thread::sleep(Duration::from_nanos(next_ns - now_ns - SPIN_NS));
                }
                _ => std::hint::spin_loop(),
            }
        }
        Ok(Outcome { seen: self.recorder.finish(), sent: due.finish(), refused: self.refused })
    }
}

/// What a run saw.
struct Outcome {
    seen: Recorded,
    sent: Sent,
    /// Responses with another status than 200.
    refused: u64,
}

impl HttpArguments {
    fn run_once(&self, url: &Url, rate: NonZeroU64, run: u32) -> Result<Outcome> {
        let failed =
            |cause: String| Error::Run { workload: "http".to_owned(), engine: url.to_string(), cause };
        let count = self.connections as usize;
        let connections: std::io::Result<Vec<Connection>> =
            (0..count).map(|_| Connection::open(url)).collect();
        let connections = connections.map_err(|error| failed(format!("cannot connect: {error}")))?;
        let from_ns = WARM_UP.as_nanos() as u64;
        let window = Window { from_ns, to_ns: from_ns + self.duration * 1_000_000_000 };
        let pace = Pace::Constant { per_second: rate };
        let seed = self.seed.wrapping_add(u64::from(run));
        let due = DueRecords::new(Traffic { pace, share: Share::ALL, keys: self.keys.get(), seed, window });
        let (free, busy) = ((0..count).collect(), Vec::with_capacity(count));
        let recorder = Recorder::new(window);
        Run { arguments: self, url, connections, free, busy, recorder, refused: 0 }.drive(due).map_err(failed)
    }

    /// Runs in turns and prints medians.
    ///
    /// # Errors
    /// If a server cannot be reached or breaks off.
    pub fn run(&self) -> Result<()> {
        println!(
            "{:>12} {:>9} {:>9} {:>9} {:>9} {:>19} {:>9} {:>8}  url",
            "requests/s", "p50", "p99", "p99.9", "max", "p99 of the runs", "late p99", "not 200"
        );
        for &rate in &self.rates {
            let mut outcomes: Vec<Vec<Outcome>> = self.urls.iter().map(|_| Vec::new()).collect();
            for run in 1..=self.runs {
                for (url, outcomes) in self.urls.iter().zip(&mut outcomes) {
                    outcomes.push(self.run_once(url, rate, run)?);
                }
            }
            for (url, outcomes) in self.urls.iter().zip(&outcomes) {
                println!("{}", line(rate, url, outcomes));
            }
        }
        println!(
            "Microseconds from the intended send time, medians of {} runs of {} s, {} connections.",
            self.runs, self.duration, self.connections
        );
        Ok(())
    }
}

fn line(rate: NonZeroU64, url: &Url, outcomes: &[Outcome]) -> String {
    let spread = |figure: &dyn Fn(&Outcome) -> u64| {
        Spread::of(outcomes.iter().map(|outcome| micros(figure(outcome)))).unwrap_or(Spread {
            min: 0.0,
            median: 0.0,
            max: 0.0,
        })
    };
    let at = |quantile: f64| spread(&|outcome| outcome.seen.from_intended.value_at_quantile(quantile));
    let p99 = at(0.99);
    format!(
        "{:>12} {:>9} {:>9} {:>9} {:>9} {:>19} {:>9} {:>8}  {url}",
        grouped(rate.get()),
        microseconds(at(0.5).median),
        microseconds(p99.median),
        microseconds(at(0.999).median),
        microseconds(at(1.0).median),
        format!("{}..{}", microseconds(p99.min), microseconds(p99.max)),
        microseconds(spread(&|outcome| outcome.sent.late.value_at_quantile(0.99)).median),
        grouped(outcomes.iter().map(|outcome| outcome.refused).sum()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    #[test]
    fn urls_are_read_and_nonsense_is_refused() {
        let read = |text: &str| text.parse::<Url>().map(|url| url.to_string());
        assert_eq!(read("http://127.0.0.1:8080/orders").unwrap(), "http://127.0.0.1:8080/orders");
        assert_eq!(read("http://host").unwrap(), "http://host:80/");
        for wrong in ["", "https://host/", "host:80", "http:///path", "http://a b/", "http://user@host/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_response_is_taken_when_it_is_whole() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-length: 2\r\n\r\n{}";
        for end in 0..whole.len() {
            assert_eq!(response(&whole[..end]).unwrap(), None);
        }
        assert_eq!(response(whole).unwrap(), Some((503, whole.len())));
        assert!(response(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(response(b"SMTP\r\n\r\n").is_err());
    }

    /// Answers every request on every connection, the first one of all only after `stall`.
    fn server(stall: Duration) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stalled = std::sync::atomic::AtomicBool::new(stall.is_zero());
        let stalled = std::sync::Arc::new(stalled);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stalled = std::sync::Arc::clone(&stalled);
                std::thread::spawn(move || answer(stream.unwrap(), stall, &stalled));
            }
        });
        address
    }

    fn answer(stream: TcpStream, stall: Duration, stalled: &std::sync::atomic::AtomicBool) {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if let Some(count) = line.strip_prefix("Content-Length: ") {
                    length = count.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            assert!(body.starts_with(b"{\"user\":") && !body.contains(&b'k'), "the key is filled in");
            if !stalled.swap(true, std::sync::atomic::Ordering::SeqCst) {
                std::thread::sleep(stall);
            }
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
    }

    fn arguments(url: &str, connections: &str) -> HttpArguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            http: HttpArguments,
        }
        let words = ["http", "--url", url, "--connections", connections, "--duration", "1", "--runs", "1"];
        <Line as clap::Parser>::parse_from(words).http
    }

    #[test]
    fn every_request_is_answered_and_measured_and_a_stall_is_charged_to_all_it_held_up() {
        let rate = NonZeroU64::new(200).unwrap();
        let run = |stall, connections| {
            let arguments = arguments(&format!("http://{}/", server(stall)), connections);
            arguments.run_once(&arguments.urls[0], rate, 1).unwrap()
        };
        let calm = run(Duration::ZERO, "4");
        assert_eq!((calm.seen.seen, calm.seen.from_intended.len(), calm.refused), (300, 200, 0));
        // One connection, held up from the first request until 250 ms into the measured second.
        let stalled = run(WARM_UP + Duration::from_millis(250), "1");
        assert_eq!(stalled.seen.from_intended.len(), 200);
        let slow = stalled.seen.from_intended.count_between(100_000_000, u64::MAX);
        assert!(slow >= 25, "{slow} requests waited for over 100 ms");
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = arguments(&format!("http://{address}/orders"), "1").run().unwrap_err();
        assert!(error.to_string().contains(&format!("http://{address}/orders")), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
