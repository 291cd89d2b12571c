//! Ctrl-C and SIGTERM: the first asks what runs to stop in order, the second ends the process at once.

use crate::events::{Event, Events};
use futures::future::{Either, select};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Whether something runs that can be stopped in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stoppable(Arc<AtomicBool>);

impl Stoppable {
    /// From now on a first signal asks for an end in order; before, it ends the process.
    pub(crate) fn set(&self, stoppable: bool) {
        self.0.store(stoppable, Ordering::Release);
    }
}

/// The exit status after a signal that ended the process at once: 128 and its number, as shells have it.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

/// Listens on a thread of its own.
///
/// # Errors
/// If the handlers cannot be installed.
pub(crate) fn listen(events: Events, stoppable: Stoppable) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let listen = async move {
        let mut asked = false;
        loop {
            let status = match select(pin!(interrupt.recv()), pin!(terminate.recv())).await {
                Either::Left(_) => INTERRUPTED,
                Either::Right(_) => TERMINATED,
            };
            if asked || !stoppable.0.load(Ordering::Acquire) {
                std::process::exit(status);
            }
            asked = true;
            events.tell(Event::Stop);
        }
    };
    std::thread::Builder::new().name("lotic-signals".to_owned()).spawn(move || runtime.block_on(listen))?;
    Ok(())
}
