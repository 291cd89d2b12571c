//! A simulated source actor: the gate, the plan and the markers, as `runtime/source_actor.rs` does it, over a
//! real source.

use super::channel::Outbox;
use super::outside::{Outside, Row};
use super::wires::{Report, Wires};
use super::{Check, ill};
use crate::checkpoint::ActorId;
use crate::checkpoint::coordinator::Event;
use crate::checkpoint::writer::{Job, OperatorSnapshot};
use crate::runtime::control::Command;
use crate::testing::random::Random;
use lotic_connectors::{Latest, Offsets, PollRequest, Polled, Source};
use lotic_operators::state::codec;
use lotic_operators::{After, Instance, Item, Marker, Rows, Snapshot, TableSnapshot};
use std::collections::VecDeque;
use std::task::Waker;

pub(super) const OFFSETS: &str = "offsets";

struct Begin {
    marker: Marker,
    until: Option<Offsets>,
    gates_open: bool,
}

pub(super) struct SourceActor {
    pub(super) id: ActorId,
    pub(super) input: u8,
    instance: Instance,
    source: Box<dyn Source<Rows<Row>>>,
    out: Outbox,
    pub(super) mailbox: VecDeque<Command>,
    commands: VecDeque<Command>,
    begins: VecDeque<Begin>,
    completing: Option<Begin>,
    /// Where it stood at its last marker.
    from: Offsets,
    batch_rows_max: Option<u64>,
    gate_open: bool,
    exhausted: bool,
    ended: bool,
}

/// What a source is made of.
pub(super) struct SourceParts {
    pub(super) id: ActorId,
    pub(super) input: u8,
    pub(super) instance: Instance,
    pub(super) source: Box<dyn Source<Rows<Row>>>,
    pub(super) out: Outbox,
    pub(super) batch_rows_max: Option<u64>,
}

/// The stable id of an input's source.
pub(super) fn uid(input: u8) -> String {
    format!("input-{input}")
}

impl SourceActor {
    pub(super) fn new(parts: SourceParts) -> SourceActor {
        SourceActor {
            id: parts.id,
            input: parts.input,
            instance: parts.instance,
            from: parts.source.offsets(),
            source: parts.source,
            out: parts.out,
            mailbox: VecDeque::new(),
            commands: VecDeque::new(),
            begins: VecDeque::new(),
            completing: None,
            batch_rows_max: parts.batch_rows_max,
            gate_open: false,
            exhausted: false,
            ended: false,
        }
    }

    /// The mailbox hands over its next message.
    pub(super) fn deliver(&mut self) -> bool {
        match self.mailbox.pop_front() {
            Some(command) => {
                self.commands.push_back(command);
                true
            }
            None => false,
        }
    }

    /// One turn; whether it did anything.
    pub(super) fn step(
        &mut self,
        wires: &mut Wires,
        outside: &mut Outside,
        random: &mut Random,
    ) -> Check<bool> {
        if !self.out.is_empty() {
            return self.out.flush(&mut wires.channels);
        }
        if let Some(begin) = self.completing.take() {
            self.complete(begin, wires, outside)?;
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        if let Some(command) = self.commands.pop_front() {
            self.obey(command, wires)?;
            return Ok(true);
        }
        self.poll(wires, random)
    }

    fn poll(&mut self, wires: &mut Wires, random: &mut Random) -> Check<bool> {
        let until = match self.begins.front() {
            Some(Begin { until: Some(until), .. }) if !self.exhausted => Some(until),
            Some(_) => return Ok(self.reach_end()),
            None if self.gate_open && !self.exhausted => None,
            None => return Ok(false),
        };
        let request = PollRequest { max_rows: 1 + random.below(6), until, waker: Waker::noop() };
        match self.source.poll(request).map_err(ill)? {
            Polled::Batch(batch) => {
                let rows: Vec<Row> = batch.collect();
                wires.moved += rows.len() as u64;
                self.out.rows(rows);
                self.out.flush(&mut wires.channels)?;
                Ok(true)
            }
            Polled::Pending(_) => Ok(false),
            Polled::AtEnd => Ok(self.reach_end()),
            Polled::Finished => {
                self.exhausted = true;
                wires.report(self.id, Report::Event(Event::Exhausted(self.id)));
                self.reach_end();
                Ok(true)
            }
        }
    }

    fn reach_end(&mut self) -> bool {
        self.completing = self.begins.pop_front();
        self.completing.is_some()
    }

    fn obey(&mut self, command: Command, wires: &mut Wires) -> Check {
        match command {
            Command::Plan { epoch, unlimited } => {
                let rows_max = self.batch_rows_max.filter(|_| !unlimited).unwrap_or(u64::MAX);
                let Latest::At(end) = self.source.latest(rows_max, Waker::noop()).map_err(ill)? else {
                    return super::broken("a source in memory knows its end".to_owned());
                };
                let position = self.source.offsets();
                let has_rows = end != position;
                if !has_rows && !self.exhausted {
                    let request = PollRequest { max_rows: 1, until: Some(&position), waker: Waker::noop() };
                    self.exhausted = matches!(self.source.poll(request).map_err(ill)?, Polled::Finished);
                }
                let exhausted = self.exhausted && !has_rows;
                let planned = Event::Planned { source: self.id, epoch, end, has_rows, exhausted };
                wires.report(self.id, Report::Event(planned));
            }
            Command::Begin { marker, until, gates_open } => {
                self.begins.push_back(Begin { marker, until, gates_open });
            }
            Command::OpenGates => self.gate_open = true,
            Command::Cancel(epoch) => {
                self.begins.retain(|begin| begin.marker.epoch != epoch);
                self.out.control(Item::Cancel(epoch));
            }
            _ => {}
        }
        Ok(())
    }

    fn complete(&mut self, begin: Begin, wires: &mut Wires, outside: &mut Outside) -> Check {
        let Begin { marker, until, gates_open } = begin;
        let offsets = self.source.offsets();
        outside.note(|| {
            format!("{}[{}] marks {} at {offsets}", uid(self.input), self.instance.index, marker.epoch)
        });
        if let Some(until) = &until {
            outside.batch(marker.epoch, self.input, (&self.from, &offsets), until)?;
        }
        self.out.control(Item::Marker(marker));
        if marker.after != After::Continue {
            self.out.control(Item::End);
            self.ended = true;
        }
        let mut bytes = Vec::new();
        codec::encode(OFFSETS, &offsets, &mut bytes).map_err(ill)?;
        let table = TableSnapshot::single(OFFSETS, bytes);
        let snapshot = Snapshot { tables: vec![table] };
        let operators =
            vec![OperatorSnapshot { operator: uid(self.input), instance: self.instance, snapshot }];
        wires.hand_over(
            self.id,
            Job::Snapshot { actor: self.id, epoch: marker.epoch, operators, prepare: None },
        );
        self.from = offsets;
        self.gate_open = gates_open;
        Ok(())
    }
}
