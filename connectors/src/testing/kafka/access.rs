//! Rights of users: the requests for which rust-rdkafka has no call.
//!
//! `CreateAcls` and `DeleteAcls` in their version 1, whose fields are listed in
//! <https://kafka.apache.org/protocol>.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What somebody may be let at. Numbered as the protocol does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// Every transactional id that begins like this.
    TransactionalIds(&'a str),
}

/// What somebody may do with it. Numbered as the protocol does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Read records, or commit offsets.
    Read = 3,
    /// Write records.
    Write = 4,
    /// Make a topic.
    Create = 5,
    /// See that it is there.
    Describe = 8,
}

const CREATE_ACLS: i16 = 30;
const DELETE_ACLS: i16 = 31;
const VERSION: i16 = 1;
const ALLOW: u8 = 3;
const LITERAL: u8 = 3;
const PREFIXED: u8 = 4;

impl Resource<'_> {
    fn parts(&self) -> (u8, &str, u8) {
        match self {
            Resource::Topic(name) => (2, name, LITERAL),
            Resource::Group(name) => (3, name, LITERAL),
            Resource::TransactionalIds(prefix) => (5, prefix, PREFIXED),
        }
    }
}

/// Grants or takes back one right of a user, and waits for the answer of the broker.
pub(super) fn change(
    bootstrap: &str,
    grant: bool,
    user: &str,
    operation: Operation,
    resource: Resource<'_>,
) -> io::Result<()> {
    let mut request = Vec::new();
    let key = if grant { CREATE_ACLS } else { DELETE_ACLS };
    request.extend_from_slice(&key.to_be_bytes());
    request.extend_from_slice(&VERSION.to_be_bytes());
    request.extend_from_slice(&1i32.to_be_bytes());
    text(&mut request, "lotic-test");
    request.extend_from_slice(&1i32.to_be_bytes());
    let (kind, name, pattern) = resource.parts();
    request.push(kind);
    text(&mut request, name);
    request.push(pattern);
    text(&mut request, &format!("User:{user}"));
    text(&mut request, "*");
    request.extend_from_slice(&[operation as u8, ALLOW]);

    let mut stream = TcpStream::connect(bootstrap)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let bytes = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&bytes.to_be_bytes()[..], &request].concat())?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    let mut answer = vec![0; u32::from_be_bytes(bytes) as usize];
    stream.read_exact(&mut answer)?;
    // Correlation, throttle time, number of results; then the code of the first.
    match answer.get(12..14) {
        Some([0, 0]) => Ok(()),
        other => Err(io::Error::other(format!("the broker answered with code {other:?}"))),
    }
}

fn text(request: &mut Vec<u8>, text: &str) {
    let bytes = i16::try_from(text.len()).unwrap_or(i16::MAX);
    request.extend_from_slice(&bytes.to_be_bytes());
    request.extend_from_slice(text.as_bytes());
}
