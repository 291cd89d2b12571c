//! Rows pushed in by the service: nothing is lost, nobody hangs.
#![allow(clippy::unwrap_used)]

mod support;

use lotic_connectors::ingress::{self, Ingress, TryPushError};
use lotic_connectors::{Offsets, PollRequest, Polled, Source};
use lotic_operators::Rows;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use support::{Bell, poll, poll_once, read, source_at, source_of};

fn take<T: Send + 'static>(source: &mut Box<dyn Source<Rows<T>>>, max_rows: usize) -> usize {
    match poll(source, max_rows, Waker::noop()).unwrap() {
        Polled::Batch(batch) => batch.len(),
        _ => 0,
    }
}

#[test]
fn many_producers_lose_nothing_and_keep_their_order() {
    const ROWS: u32 = 20_000;
    for capacity in [1, 2, 100] {
        let (handle, factory) = ingress::channel::<(u32, u32)>("busy", capacity);
        let mut source = source_of(&factory);
        let rows = thread::scope(|scope| {
            for producer in 0..3 {
                let handle = handle.clone();
                scope.spawn(move || match producer {
                    0 => assert_eq!(
                        handle.push_all((0..ROWS).map(|row| (producer, row))).unwrap(),
                        u64::from(ROWS)
                    ),
                    _ => (0..ROWS).for_each(|row| handle.push((producer, row)).unwrap()),
                });
            }
            drop(handle);
            read(&mut source, usize::MAX).unwrap()
        });
        for producer in 0..3 {
            let of_one = rows.iter().filter(|row| row.0 == producer).map(|row| row.1);
            assert!(of_one.eq(0..ROWS), "producer {producer}, capacity {capacity}");
        }
    }
}

#[test]
fn a_push_that_succeeds_is_read_even_if_another_thread_closes_meanwhile() {
    for _ in 0..300 {
        let (handle, factory) = ingress::channel::<u64>("closing", 1024);
        let mut source = source_of(&factory);
        let (pushed, received) = thread::scope(|scope| {
            let push =
                |handle: Ingress<u64>| move || (0..200).take_while(|row| handle.push(*row).is_ok()).count();
            let producers = [scope.spawn(push(handle.clone())), scope.spawn(push(handle.clone()))];
            scope.spawn(move || handle.close());
            let received = read(&mut source, usize::MAX).unwrap().len();
            (producers.map(|producer| producer.join().unwrap()).iter().sum::<usize>(), received)
        });
        assert_eq!(received, pushed);
    }
}

#[test]
fn a_full_queue_gives_the_row_back_or_waits_until_it_is_half_empty() {
    let (handle, factory) = ingress::channel::<u64>("full", 8);
    let mut source = source_of(&factory);
    handle.push_all(0..8).unwrap();
    assert_eq!((handle.len(), handle.capacity(), handle.is_empty()), (8, 8, false));
    assert!(matches!(handle.try_push(8), Err(TryPushError::Full(8))));

    let (bell, waker) = Bell::new();
    let mut sending = pin!(handle.send(8));
    assert!(poll_once(sending.as_mut(), &waker).is_pending());
    assert_eq!(take(&mut source, 3), 3);
    assert_eq!(bell.rings(), 0, "there is room, but the queue is not half empty");
    assert_eq!(take(&mut source, 1), 1);
    assert_eq!(bell.rings(), 1);
    assert!(matches!(poll_once(sending.as_mut(), &waker), Poll::Ready(Ok(()))));
    assert_eq!(handle.len(), 5);
}

#[test]
fn a_send_that_is_given_up_takes_its_row_along() {
    let (handle, factory) = ingress::channel::<Arc<()>>("given up", 1);
    let mut source = source_of(&factory);
    let row = Arc::new(());
    handle.push(Arc::clone(&row)).unwrap();
    let (bell, waker) = Bell::new();
    {
        let mut sending = pin!(handle.send(Arc::clone(&row)));
        assert!(poll_once(sending.as_mut(), &waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&row), 2, "one here, one queued");
    assert_eq!(take(&mut source, 9), 1);
    assert_eq!(bell.rings(), 0, "nobody waits any more");
}

#[test]
fn the_end_of_the_query_frees_blocked_producers_and_drops_what_is_queued() {
    let (handle, factory) = ingress::channel::<Arc<u64>>("ended", 2);
    let source = source_of(&factory);
    let row = Arc::new(7);
    handle.push_all([Arc::clone(&row), Arc::clone(&row)]).unwrap();
    thread::scope(|scope| {
        let blocked = scope.spawn(|| handle.push(Arc::clone(&row)));
        drop(source);
        assert!(!handle.is_closed(), "a query that restarts is not over");
        drop(factory);
        let refused = blocked.join().unwrap().unwrap_err();
        assert_eq!(*refused.0, 7);
    });
    assert!(handle.is_closed());
    assert_eq!(Arc::strong_count(&row), 1, "rows nobody will read are dropped");
    assert!(matches!(handle.try_push(row), Err(TryPushError::Closed(_))));
}

#[test]
fn no_wake_up_is_lost_between_two_threads_that_wait_for_each_other() {
    const ROUNDS: u64 = 20_000;
    let (ping, there) = ingress::channel::<u64>("ping", 1);
    let (pong, back) = ingress::channel::<u64>("pong", 1);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut source = source_of(&there);
            (0..ROUNDS).for_each(|_| pong.push(read(&mut source, 1).unwrap()[0]).unwrap());
        });
        let mut source = source_of(&back);
        for round in 0..ROUNDS {
            ping.push(round).unwrap();
            assert_eq!(read(&mut source, 1).unwrap(), [round]);
        }
    });
}

#[test]
fn a_producer_that_waits_is_woken_when_the_query_ends() {
    let (handle, factory) = ingress::channel::<Arc<()>>("ended", 1);
    let row = Arc::new(());
    handle.push(Arc::clone(&row)).unwrap();
    let (bell, waker) = Bell::new();
    let mut sending = pin!(handle.send(Arc::clone(&row)));
    assert!(poll_once(sending.as_mut(), &waker).is_pending());
    drop(factory);
    assert_eq!(Arc::strong_count(&row), 2, "one here, one in the hand of the producer");
    assert!(bell.rings() >= 1);
    assert!(matches!(poll_once(sending.as_mut(), &waker), Poll::Ready(Err(_))));
}

#[test]
fn closing_frees_a_blocked_producer_and_leaves_what_is_queued() {
    let (handle, factory) = ingress::channel::<u64>("closed", 1);
    let mut source = source_of(&factory);
    handle.push(1).unwrap();
    let (bell, waker) = Bell::new();
    let mut sending = pin!(handle.send(2));
    assert!(poll_once(sending.as_mut(), &waker).is_pending());
    handle.close();
    assert_eq!(bell.rings(), 1);
    assert!(matches!(poll_once(sending.as_mut(), &waker), Poll::Ready(Err(closed)) if closed.0 == 2));
    assert_eq!(read(&mut source, usize::MAX).unwrap(), [1]);
    assert!(matches!(poll(&mut source, 1, Waker::noop()).unwrap(), Polled::Finished));
}

#[test]
fn a_batch_cut_short_by_the_end_leaves_the_rest_to_its_owner() {
    let (handle, factory) = ingress::channel::<u64>("cut", 8);
    drop(factory);
    let mut rows = 0..5;
    assert_eq!(handle.push_all(rows.by_ref()).unwrap_err().0, 0);
    assert_eq!(rows, 1..5);
}

#[test]
fn a_sleeping_source_is_woken_once_and_one_awake_not_at_all() {
    let (handle, factory) = ingress::channel::<u64>("asleep", 1024);
    let mut source = source_of(&factory);
    let (bell, waker) = Bell::new();
    handle.push(0).unwrap();
    assert_eq!(bell.rings(), 0);
    assert_eq!(take(&mut source, 9), 1);
    assert!(matches!(poll(&mut source, 9, &waker).unwrap(), Polled::Pending(None)));
    handle.push_all(0..100).unwrap();
    handle.push(0).unwrap();
    assert_eq!(bell.rings(), 1);
    assert_eq!(take(&mut source, 1000), 101);
    assert!(matches!(poll(&mut source, 9, &waker).unwrap(), Polled::Pending(None)));
    drop(handle);
    assert_eq!(bell.rings(), 2, "the end wakes too");
    assert!(matches!(poll(&mut source, 9, &waker).unwrap(), Polled::Finished));
}

#[test]
fn a_restarted_query_goes_on_with_what_is_queued() {
    let (handle, factory) = ingress::channel::<u64>("restarted", 8);
    let mut source = source_of(&factory);
    handle.push_all(0..6).unwrap();
    let checkpoint = source.offsets();
    let plan = source.latest(4, Waker::noop()).unwrap().known().unwrap();
    assert_eq!((checkpoint, &plan), (Offsets::single("0", 0), &Offsets::single("0", 4)));
    assert_eq!(take(&mut source, 3), 3);
    drop(source);

    // The same plan runs again: three of its rows were lost with the first attempt.
    let mut source = source_at(&factory, &Offsets::single("0", 0)).unwrap();
    let mut next = |max_rows| {
        let request = PollRequest { max_rows, until: Some(&plan), waker: Waker::noop() };
        source.poll(request).unwrap()
    };
    assert!(matches!(next(9), Polled::Batch(batch) if batch.as_slice() == [3]));
    assert!(matches!(next(9), Polled::AtEnd));
    assert_eq!(read(&mut source, 2).unwrap(), [4, 5]);
    assert_eq!(source.offsets(), Offsets::single("0", 6));
}
