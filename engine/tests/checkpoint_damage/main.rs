//! Checkpoint logs that were torn, bit-flipped, mixed up or cut off by a full disk: recovery gives a whole
//! checkpoint, exactly as it was written, and says what was damaged; or it refuses and says why.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod damage;
mod faults;
mod foreign;
mod history;
mod laws;
