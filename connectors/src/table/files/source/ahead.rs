//! The rows of a file as they are read: large files are read ahead.

use super::super::reader::FileRows;
use crate::error::{ConnectorError, Result};
use crate::limits::{READ_AHEAD_BATCHES, READ_AHEAD_BYTES, TABLE_BATCH_ROWS};
use arrow::array::RecordBatch;
use atomic_waker::AtomicWaker;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::Builder;

/// The rows of a file.
pub(super) enum Rows {
    /// Read and decoded when they are asked for.
    Asked(Box<FileRows>),
    /// Read and decoded by a thread of the file, so that what is done with the rows need not wait for it.
    Ahead(Ahead),
}

impl Rows {
    /// Those of a small file are read when they are asked for: a thread would cost more than it saves.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(super) fn new(rows: FileRows, path: &Path, bytes: u64) -> Result<Rows> {
        if bytes < READ_AHEAD_BYTES {
            return Ok(Rows::Asked(Box::new(rows)));
        }
        let mut rows = rows;
        Ahead::start(path, move || rows.next(TABLE_BATCH_ROWS)).map(Rows::Ahead)
    }

    /// The next rows, `None` at the end; pending if they are still being read, and then the waker is woken. What
    /// was read ahead may be more than `rows_max` rows.
    pub(super) fn next(&mut self, rows_max: usize, waker: &Waker) -> Result<Poll<Option<RecordBatch>>> {
        match self {
            Rows::Asked(rows) => rows.next(rows_max).map(Poll::Ready),
            Rows::Ahead(ahead) => ahead.next(waker),
        }
    }
}

type Found = Result<Option<RecordBatch>>;

/// What a thread reads of a file. It ends with the file, with an error, or when nobody listens any more.
pub(super) struct Ahead {
    found: Receiver<Found>,
    waker: Arc<AtomicWaker>,
}

impl Ahead {
    fn start(path: &Path, next: impl FnMut() -> Found + Send + 'static) -> Result<Ahead> {
        let (put, found) = bounded(READ_AHEAD_BATCHES);
        let waker = Arc::new(AtomicWaker::new());
        let wakes = Arc::clone(&waker);
        let thread = Builder::new().name("lotic-file".to_owned());
        thread.spawn(move || read(next, &put, &wakes)).map_err(|error| {
            ConnectorError::external(format!("start a thread to read `{}`", path.display()), error)
        })?;
        Ok(Ahead { found, waker })
    }

    fn next(&mut self, waker: &Waker) -> Result<Poll<Option<RecordBatch>>> {
        let found = match self.found.try_recv() {
            Err(TryRecvError::Empty) => {
                // Only who waits is woken; what has come meanwhile is seen now.
                self.waker.register(waker);
                self.found.try_recv()
            }
            found => found,
        };
        match found {
            Ok(found) => found.map(Poll::Ready),
            Err(TryRecvError::Empty) => Ok(Poll::Pending),
            Err(TryRecvError::Disconnected) => {
                Err(ConnectorError::internal("the thread that reads a file has ended before the file"))
            }
        }
    }
}

fn read(mut next: impl FnMut() -> Found, put: &Sender<Found>, waker: &AtomicWaker) {
    loop {
        let found = catch_unwind(AssertUnwindSafe(&mut next))
            .unwrap_or_else(|_| Err(ConnectorError::internal("reading a file has panicked")));
        let last = !matches!(found, Ok(Some(_)));
        if put.send(found).is_err() {
            return;
        }
        waker.wake();
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread::{Thread, current, park};

    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn rows(number: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        RecordBatch::try_from_iter([("number", column)]).unwrap()
    }

    /// What comes next, waited for as an actor does.
    fn wait(ahead: &mut Ahead) -> Found {
        let waker = Waker::from(Arc::new(Unpark(current())));
        loop {
            match ahead.next(&waker)? {
                Poll::Ready(found) => return Ok(found),
                Poll::Pending => park(),
            }
        }
    }

    #[test]
    fn all_batches_come_in_order_however_fast_they_are_taken() {
        let mut numbers = 0..1000;
        let mut ahead = Ahead::start(Path::new("file"), move || Ok(numbers.next().map(rows))).unwrap();
        for number in 0..1000 {
            let batch = wait(&mut ahead).unwrap().unwrap();
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), number);
        }
        assert!(wait(&mut ahead).unwrap().is_none());
    }

    #[test]
    fn an_error_and_a_panic_come_behind_the_rows_before_them() {
        for panics in [false, true] {
            let mut numbers = 0..3;
            let next = move || match numbers.next() {
                Some(number) => Ok(Some(rows(number))),
                None if panics => panic!("as a decoder might"),
                None => Err(ConnectorError::user("line 4 is wrong")),
            };
            let mut ahead = Ahead::start(Path::new("file"), next).unwrap();
            for _ in 0..3 {
                assert!(wait(&mut ahead).unwrap().is_some());
            }
            let error = wait(&mut ahead).unwrap_err().to_string();
            assert!(error.contains(if panics { "panicked" } else { "line 4 is wrong" }), "{error}");
        }
    }

    #[test]
    fn the_thread_ends_when_nobody_listens_and_reads_only_a_little_ahead() {
        let (told, reads) = mpsc::channel();
        let next = move || {
            let _ = told.send(());
            Ok(Some(rows(1)))
        };
        drop(Ahead::start(Path::new("file"), next).unwrap());
        // Ends with the thread, which owns the other end.
        assert!(reads.iter().count() <= READ_AHEAD_BATCHES + 1);
    }
}
