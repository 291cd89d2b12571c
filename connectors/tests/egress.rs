//! Rows handed to the service: nothing is lost, nobody hangs.
#![allow(clippy::unwrap_used)]

mod support;

use lotic_connectors::SinkFactory;
use lotic_connectors::egress::{self, NoRow};
use lotic_operators::{Epoch, Instance, Rows};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{Bell, PATIENCE, poll_once, sink_of, write};

#[test]
fn several_instances_and_several_receivers_lose_nothing() {
    const ROWS: u64 = 20_000;
    for capacity in [1, 3, 100] {
        let (handle, factory) = egress::channel::<u64>("busy", capacity);
        let received = thread::scope(|scope| {
            for index in 0..2 {
                let mut sink = factory.create(Instance { index, parallelism: 2 }).unwrap();
                scope.spawn(move || {
                    let (_, waker) = Bell::new();
                    sink.start(Epoch(1)).unwrap();
                    let own = (0..ROWS).filter(|row| row % 2 == index as u64);
                    let mut batch = Rows::from(own.collect::<Vec<_>>());
                    while batch.len() > 0 {
                        sink.write(&mut batch, &waker).unwrap();
                        if batch.len() > 0 {
                            thread::park_timeout(PATIENCE);
                        }
                    }
                });
            }
            drop(factory);
            let receivers = [(); 2].map(|()| scope.spawn(|| handle.iter().collect::<Vec<_>>()));
            receivers.map(|receiver| receiver.join().unwrap())
        });
        for rows in &received {
            for parity in 0..2 {
                let of_one = rows.iter().filter(|row| *row % 2 == parity);
                assert!(of_one.is_sorted(), "rows of one instance keep their order");
            }
        }
        let mut rows = received.concat();
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..ROWS), "capacity {capacity}");
    }
}

#[test]
fn a_sink_that_finds_the_queue_full_leaves_rows_and_is_woken_when_it_is_half_empty() {
    let (handle, factory) = egress::channel::<u64>("full", 4);
    let mut sink = sink_of(&factory, 1);
    let (bell, waker) = Bell::new();
    let mut batch = Rows::from((0..10).collect::<Vec<_>>());
    sink.write(&mut batch, &waker).unwrap();
    assert_eq!((batch.len(), handle.len()), (6, 4));
    assert_eq!(handle.recv(), Some(0));
    assert_eq!(bell.rings(), 0, "there is room, but the queue is not half empty");
    assert_eq!(handle.recv(), Some(1));
    assert_eq!(bell.rings(), 1);
    sink.write(&mut batch, &waker).unwrap();
    assert_eq!((batch.len(), handle.len()), (4, 4));
}

#[test]
fn the_end_comes_after_the_last_row_and_not_with_a_restart() {
    let (handle, factory) = egress::channel::<u64>("ended", 4);
    assert_eq!(handle.try_recv(), Err(NoRow::Empty));
    assert_eq!(handle.recv_timeout(Duration::from_millis(1)), Err(NoRow::Empty));
    let mut sink = sink_of(&factory, 1);
    write(&mut sink, vec![1, 2]).unwrap();
    drop(sink);
    assert_eq!(handle.recv_timeout(Duration::MAX), Ok(1));
    assert_eq!(handle.try_recv(), Ok(2));
    assert_eq!(handle.try_recv(), Err(NoRow::Empty), "the query may restart");
    let mut sink = sink_of(&factory, 1);
    write(&mut sink, vec![3]).unwrap();
    drop((sink, factory));
    assert_eq!(handle.recv(), Some(3));
    assert_eq!(handle.recv(), None);
    assert_eq!(handle.try_recv(), Err(NoRow::Ended));
    assert_eq!(handle.recv_timeout(PATIENCE), Err(NoRow::Ended));
}

#[test]
fn the_end_never_overtakes_the_last_row() {
    for _ in 0..1_000 {
        let (handle, factory) = egress::channel::<u64>("racing", 4);
        let mut sink = sink_of(&factory, 1);
        thread::scope(|scope| {
            scope.spawn(move || {
                write(&mut sink, vec![1]).unwrap();
                drop((sink, factory));
            });
            let mut rows = 0;
            loop {
                match handle.try_recv() {
                    Ok(_) => rows += 1,
                    Err(NoRow::Empty) => thread::yield_now(),
                    Err(NoRow::Ended) => break,
                }
            }
            assert_eq!(rows, 1);
        });
    }
}

#[test]
fn waiting_receivers_are_woken_by_rows_and_by_the_end() {
    let (handle, factory) = egress::channel::<u64>("awaited", 4);
    let mut sink = sink_of(&factory, 1);
    let (bell, waker) = Bell::new();
    {
        let mut next = pin!(handle.next());
        assert!(poll_once(next.as_mut(), &waker).is_pending());
        write(&mut sink, vec![1]).unwrap();
        assert_eq!(bell.rings(), 1);
        assert_eq!(poll_once(next.as_mut(), &waker), Poll::Ready(Some(1)));
    }
    thread::scope(|scope| {
        let parked = scope.spawn(|| handle.recv());
        drop((sink, factory));
        assert_eq!(parked.join().unwrap(), None);
    });
}

#[test]
fn a_receiver_that_gives_up_has_taken_nothing() {
    let (handle, factory) = egress::channel::<u64>("given up", 4);
    let mut sink = sink_of(&factory, 1);
    let (bell, waker) = Bell::new();
    {
        let mut next = pin!(handle.next());
        assert!(poll_once(next.as_mut(), &waker).is_pending());
    }
    write(&mut sink, vec![1]).unwrap();
    assert_eq!(bell.rings(), 0);
    assert_eq!(handle.recv(), Some(1));
}

#[test]
fn a_dropped_handle_is_an_error_that_says_what_to_do() {
    let (handle, factory) = egress::channel::<Arc<()>>("alerts", 1);
    let mut sink = sink_of(&factory, 1);
    let row = Arc::new(());
    let mut batch = Rows::from(vec![Arc::clone(&row); 3]);
    let (bell, waker) = Bell::new();
    sink.write(&mut batch, &waker).unwrap();
    drop(handle);
    assert!(bell.rings() >= 1, "a sink that waits for room learns of it");
    assert_eq!(Arc::strong_count(&row), 3, "one here, two in the batch");
    let error = sink.write(&mut batch, Waker::noop()).unwrap_err().to_string();
    assert!(
        error.contains("egress `alerts` was dropped") && error.contains("stop the query first"),
        "{error}"
    );
}
