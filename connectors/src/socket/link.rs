//! The connection of a socket source: connects, reads, comes back.

use super::{Reconnect, Settings};
use crate::error::{ConnectorError, Result};
use crate::limits::SOCKET_POLL_WAIT;
use std::io::{self, ErrorKind, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// What a read found.
#[derive(Debug)]
pub(super) enum Received {
    /// This many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing, and there is no connection: look again after this time.
    Disconnected(Duration),
    /// The peer closed the connection in good order.
    Closed,
    /// The connection broke and will be made again.
    Broken(io::Error),
}

#[derive(Debug)]
enum State {
    Connected { stream: TcpStream, silent: bool },
    Waiting { until: Instant },
    Ended,
}

#[derive(Debug)]
pub(super) struct Link {
    address: String,
    source: String,
    reconnect: Option<Reconnect>,
    end_when_closed: bool,
    connect_wait_max: Duration,
    state: State,
    /// Attempts in a row that brought nothing: no connection, or one without a byte.
    fruitless: u32,
}

impl Link {
    pub(super) fn new(settings: &Settings) -> Self {
        Link {
            address: format!("{}:{}", settings.host, settings.port),
            source: settings.name.clone(),
            reconnect: settings.reconnect,
            end_when_closed: settings.end_when_closed,
            connect_wait_max: settings.connect_wait_max,
            state: State::Ended,
            fruitless: 0,
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Connects, or sees to it that it is tried again.
    pub(super) fn connect(&mut self) -> Result<()> {
        match self.attempt() {
            Ok(stream) => {
                self.state = State::Connected { stream, silent: true };
                Ok(())
            }
            Err(cause) => self.lost(&cause),
        }
    }

    fn attempt(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.connect_wait_max) {
                // Nobody listens, and the operating system chose that very port for our end.
                Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                    last = io::Error::new(ErrorKind::ConnectionRefused, "connected to itself");
                }
                Ok(stream) => {
                    stream.set_read_timeout(Some(SOCKET_POLL_WAIT))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// There is no connection: plans the next attempt, or gives up.
    fn lost(&mut self, cause: &io::Error) -> Result<()> {
        let (source, address) = (&self.source, &self.address);
        let fruitful = matches!(self.state, State::Connected { silent: false, .. });
        self.fruitless = if fruitful { 0 } else { self.fruitless.saturating_add(1) };
        self.state = State::Ended;
        let Some(reconnect) = self.reconnect else {
            let message = format!(
                "source `{source}` has no connection to {address}; start the server first (to try: `nc -lk \
                 PORT`), or let the source reconnect"
            );
            return Err(ConnectorError::external(message, cause.to_string())
                .with_retry_after(Reconnect::default().wait_min));
        };
        let attempts = self.fruitless;
        if reconnect.attempts_max.is_some_and(|attempts_max| attempts >= attempts_max) {
            let message = format!("source `{source}` gave up on {address} after {attempts} attempts");
            return Err(ConnectorError::external(message, cause.to_string()));
        }
        let wait = wait(reconnect, self.fruitless);
        tracing::warn!(source, address, %cause, ?wait, "no connection, trying again");
        self.state = State::Waiting { until: Instant::now() + wait };
        Ok(())
    }

    /// Reads what is there; waits for it a short while if `wait`.
    pub(super) fn read(&mut self, buffer: &mut [u8], wait: bool) -> Result<Received> {
        match &mut self.state {
            State::Ended => Ok(Received::Closed),
            State::Waiting { until } => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.connect()?;
                }
                Ok(Received::Disconnected(left))
            }
            State::Connected { stream, silent } => {
                let read = read_some(stream, buffer, wait);
                *silent &= !matches!(read, Ok(1..));
                self.after(read)
            }
        }
    }

    fn after(&mut self, read: io::Result<usize>) -> Result<Received> {
        match read {
            Ok(0) if self.end_when_closed => {
                self.state = State::Ended;
                Ok(Received::Closed)
            }
            Ok(0) => {
                self.lost(&io::Error::new(ErrorKind::UnexpectedEof, "the peer closed the connection"))?;
                Ok(Received::Closed)
            }
            Ok(bytes) => Ok(Received::Bytes(bytes)),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(Received::Nothing),
                _ => {
                    self.lost(&error)?;
                    Ok(Received::Broken(error))
                }
            },
        }
    }
}

fn read_some(stream: &mut TcpStream, buffer: &mut [u8], wait: bool) -> io::Result<usize> {
    if wait {
        return stream.read(buffer);
    }
    stream.set_nonblocking(true)?;
    let read = stream.read(buffer);
    stream.set_nonblocking(false)?;
    read
}

/// How long to wait after this many fruitless attempts.
fn wait(reconnect: Reconnect, fruitless: u32) -> Duration {
    let doublings = fruitless.saturating_sub(1).min(31);
    reconnect.wait_min.saturating_mul(1 << doublings).min(reconnect.wait_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let reconnect = Reconnect::default();
        let waits: Vec<u128> = [0, 1, 2, 3, 7, 8, 1000].map(|n| wait(reconnect, n).as_millis()).into();
        assert_eq!(waits, [100, 100, 200, 400, 6400, 10_000, 10_000]);
    }
}
