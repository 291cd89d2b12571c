//! Asking outside: the futures of a lookup join, and the stage that hears of their answers.
//!
//! The futures run on the thread of the actor that asks, beside its turns. An answer is put into a queue of
//! the operator's and rings a [`Bell`], which wakes the actor; its next turn begins with a resume of the
//! stage, where [`LookupLink`] hears the bell and lets the operator take its answers. Other operators do not
//! pay for that.

use super::link::Link;
use super::stage::{Flow, Signal, Stage, StageContext, StageSnapshot};
use crate::error::{Error, Result};
use atomic_waker::AtomicWaker;
use lotic_operators::lookup::{Answer, LookupFailure, LookupOptions, LookupService};
use lotic_operators::{Batch, Epoch, StateImage};
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use tokio::task::AbortHandle;

/// Wakes an actor because something has come for one of its operators.
pub(crate) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    /// A bell that has been rung, so that a restored operator is called once the actor runs.
    pub(crate) fn new() -> Arc<Bell> {
        Arc::new(Bell { rung: AtomicBool::new(true), waker: AtomicWaker::new() })
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether it has been rung since the last call; `waker` is woken when it is again.
    fn heard(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.rung.swap(false, Ordering::AcqRel)
    }
}

/// A [`Link`] whose operator waits for what comes from outside.
pub(crate) struct LookupLink<I: Batch, O: Batch> {
    link: Link<I, O>,
    bell: Arc<Bell>,
    /// The bell was heard and the operator has not been called.
    news: bool,
}

impl<I: Batch, O: Batch> LookupLink<I, O> {
    pub(crate) fn new(link: Link<I, O>, bell: Arc<Bell>) -> Self {
        LookupLink { link, bell, news: false }
    }
}

impl<I: Batch, O: Batch> Stage<I> for LookupLink<I, O> {
    fn push(&mut self, input: &mut I, context: &mut StageContext<'_>) -> Result<Flow> {
        self.link.push(input, context)
    }

    fn signal(&mut self, signal: Signal, context: &mut StageContext<'_>) -> Result<Flow> {
        self.link.signal(signal, context)
    }

    fn resume(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        self.news |= self.bell.heard(context.waker);
        if self.link.resume(context)? == Flow::Blocked {
            return Ok(Flow::Blocked);
        }
        if std::mem::take(&mut self.news) {
            return self.link.take_answers(context);
        }
        Ok(if self.link.waits() { Flow::Blocked } else { Flow::Ready })
    }

    fn flush(&mut self) {
        self.link.flush();
    }

    fn snapshot(&mut self, epoch: Epoch, into: &mut StageSnapshot) -> Result<()> {
        self.link.snapshot(epoch, into)
    }

    fn start(
        &mut self,
        image: &dyn Fn(&str) -> StateImage,
        next: Epoch,
        context: &mut StageContext<'_>,
    ) -> Result<()> {
        self.link.start(image, next, context)
    }
}

type Answers<V> = Arc<Mutex<VecDeque<(u64, Answer<V>)>>>;

fn lock<V>(answers: &Answers<V>) -> MutexGuard<'_, VecDeque<(u64, Answer<V>)>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks by an async function.
pub(crate) struct AsyncLookup<V, A> {
    ask: A,
    options: LookupOptions,
    answers: Answers<V>,
    bell: Arc<Bell>,
    under_way: HashMap<u64, AbortHandle>,
}

impl<V, A> AsyncLookup<V, A> {
    pub(crate) fn new(ask: A, options: LookupOptions, bell: Arc<Bell>) -> Self {
        AsyncLookup { ask, options, answers: Arc::default(), bell, under_way: HashMap::new() }
    }
}

impl<V, A> Drop for AsyncLookup<V, A> {
    fn drop(&mut self) {
        self.under_way.values().for_each(AbortHandle::abort);
    }
}

/// Answers a request, in any case.
struct Reply<V> {
    request: u64,
    answer: Option<Answer<V>>,
    answers: Answers<V>,
    bell: Arc<Bell>,
}

impl<V> Reply<V> {
    fn send(mut self, answer: Answer<V>) {
        self.answer = Some(answer);
    }
}

impl<V> Drop for Reply<V> {
    fn drop(&mut self) {
        let without =
            || Err(LookupFailure::Panicked("panicked: a future did so when it was dropped".to_owned()));
        lock(&self.answers).push_back((self.request, self.answer.take().unwrap_or_else(without)));
        self.bell.ring();
    }
}

impl<K, V, E, A, Fut> LookupService<K, V> for AsyncLookup<V, A>
where
    K: Clone + Send + 'static,
    V: Send + 'static,
    E: Display + 'static,
    A: Fn(K) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Option<V>, E>> + 'static,
{
    fn ask(&mut self, request: u64, key: K) {
        let asked = attempts(self.ask.clone(), key, self.options);
        let (answers, bell) = (Arc::clone(&self.answers), Arc::clone(&self.bell));
        let reply = Reply { request, answer: None, answers, bell };
        let task = actix_rt::spawn(async move {
            reply.send(caught(asked).await);
        });
        self.under_way.insert(request, task.abort_handle());
    }

    fn answer(&mut self) -> Option<(u64, Answer<V>)> {
        let (request, answer) = lock(&self.answers).pop_front()?;
        self.under_way.remove(&request);
        Some((request, answer))
    }
}

/// A panic of the user's function or future becomes an answer.
async fn caught<V>(asked: impl Future<Output = Answer<V>>) -> Answer<V> {
    let mut asked = pin!(asked);
    let polled = poll_fn(|task| match Error::catch(|| Ok(asked.as_mut().poll(task))) {
        Ok(polled) => polled,
        Err(panic) => std::task::Poll::Ready(Err(LookupFailure::Panicked(panic.to_string()))),
    });
    polled.await
}

/// Asks until there is an answer or no attempt is left.
async fn attempts<K, V, E, A, Fut>(ask: A, key: K, options: LookupOptions) -> Answer<V>
where
    K: Clone,
    E: Display,
    A: Fn(K) -> Fut,
    Fut: Future<Output = Result<Option<V>, E>>,
{
    let (attempts, pause) = options.attempts_and_pause();
    let mut attempt = 1;
    loop {
        let asked = ask(key.clone());
        let answer = match options.attempt_timeout() {
            None => asked.await.map_err(|error| error.to_string()),
            Some(limit) => match tokio::time::timeout(limit, asked).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_) => Err(format!("it took longer than the timeout of {limit:?}")),
            },
        };
        match answer {
            Ok(answer) => return Ok(answer),
            Err(cause) if attempt == attempts => {
                let tried =
                    if attempts == 1 { String::new() } else { format!(" (the last of {attempts} attempts)") };
                return Err(LookupFailure::Failed(format!("{cause}{tried}")));
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        attempt += 1;
    }
}
