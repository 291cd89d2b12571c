//! What the fuzz targets do with their bytes. The test `fuzz_smoke` runs the same on stable Rust.
//!
//! Whatever the bytes: no panic, and an error is the user's, in words, with a place within the text.

use lotic::table::parse_ddl;
use lotic::{Error, ErrorKind, Session};

fn expected(error: &Error, text: &str) {
    assert_eq!(error.kind(), ErrorKind::User, "{text:?}: {error}");
    assert!(!error.to_string().trim().is_empty(), "{text:?}");
    if let Some(place) = error.location() {
        assert!(place.line >= 1 && place.line <= text.lines().count() as u64 + 1, "{text:?}: {place:?}");
    }
}

/// Schemas as text. One that can be read can be read again from the names it was given.
pub fn ddl(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse_ddl(&text) {
        Ok(schema) => assert!(!schema.fields().is_empty(), "{text:?}"),
        Err(error) => expected(&error, &text),
    }
}

/// Statements: parsed, not run.
pub fn statements(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let session = Session::builder().get_or_create().expect("a session");
    if let Err(error) = session.statements(&text) {
        expected(&error, &text);
    }
}
