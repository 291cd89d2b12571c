//! A simulated operator or sink actor: drains its channels, aligns markers with the real aligner, takes
//! snapshots, as `runtime/stage_actor.rs` does it.

use super::Check;
use super::channel::Outbox;
use super::operators::Logic;
use super::outside::Outside;
use super::wires::{Report, Wires};
use crate::checkpoint::ActorId;
use crate::checkpoint::align::{Aligner, Alignment};
use crate::checkpoint::coordinator::Event;
use crate::checkpoint::writer::{Job, OperatorSnapshot};
use crate::testing::random::Random;
use lotic_operators::{After, Instance, Item, Marker};

#[derive(Debug)]
struct Input {
    channel: usize,
    over: bool,
}

#[derive(Debug)]
pub(super) struct StageActor {
    pub(super) id: ActorId,
    name: String,
    instance: Instance,
    inputs: Vec<Input>,
    aligner: Aligner,
    logic: Logic,
    out: Outbox,
    acknowledges_early: bool,
    ended: bool,
}

/// What a stage is made of.
pub(super) struct StageParts {
    pub(super) id: ActorId,
    pub(super) name: String,
    pub(super) instance: Instance,
    pub(super) inputs: Vec<usize>,
    pub(super) aligner: Aligner,
    pub(super) logic: Logic,
    pub(super) out: Outbox,
    pub(super) acknowledges_early: bool,
}

impl StageActor {
    pub(super) fn new(parts: StageParts) -> StageActor {
        StageActor {
            id: parts.id,
            name: parts.name,
            instance: parts.instance,
            inputs: parts.inputs.into_iter().map(|channel| Input { channel, over: false }).collect(),
            aligner: parts.aligner,
            logic: parts.logic,
            out: parts.out,
            acknowledges_early: parts.acknowledges_early,
            ended: false,
        }
    }

    /// One item; whether there was anything to do.
    pub(super) fn step(
        &mut self,
        wires: &mut Wires,
        outside: &mut Outside,
        (random, declines_in): (&mut Random, u64),
    ) -> Check<bool> {
        if !self.out.is_empty() {
            return self.out.flush(&mut wires.channels);
        }
        if self.ended {
            return Ok(false);
        }
        let first = random.below(self.inputs.len());
        for input in (first..self.inputs.len()).chain(0..first) {
            if self.inputs[input].over || self.aligner.holds(input) {
                continue;
            }
            if let Some(item) = wires.channels[self.inputs[input].channel].pop() {
                let declines = random.once_in(declines_in);
                self.take(input, item, wires, outside, declines)?;
                self.out.flush(&mut wires.channels)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take(
        &mut self,
        input: usize,
        item: Item<Vec<super::outside::Row>>,
        wires: &mut Wires,
        outside: &mut Outside,
        declines: bool,
    ) -> Check {
        let aligned = match item {
            Item::Batch { rows, .. } => {
                wires.moved += rows.len() as u64;
                self.out.rows(self.logic.process(rows));
                return Ok(());
            }
            Item::Marker(marker) => self.aligner.marker(input, marker)?,
            Item::Cancel(epoch) => self.aligner.cancel(epoch),
            Item::End => {
                self.inputs[input].over = true;
                self.aligner.end(input)
            }
            _ => return Ok(()),
        };
        let mut next = aligned;
        loop {
            match next {
                Alignment::Wait => return Ok(()),
                Alignment::Cancelled(epoch) => self.out.control(Item::Cancel(epoch)),
                Alignment::Complete(marker) => self.complete(marker, wires, outside, declines),
            }
            next = self.aligner.next_complete();
        }
    }

    fn complete(&mut self, marker: Marker, wires: &mut Wires, outside: &mut Outside, declines: bool) {
        let epoch = marker.epoch;
        if marker.after == After::Finish {
            self.out.rows(self.logic.finish());
        }
        outside.note(|| {
            format!(
                "{}[{}] passes {epoch}{}",
                self.name,
                self.instance.index,
                if declines { ", declining" } else { "" }
            )
        });
        self.out.control(Item::Marker(marker));
        if declines {
            outside.tally.declined += 1;
            let cause = "the simulation says so".to_owned();
            wires.report(self.id, Report::Event(Event::Declined { epoch, cause }));
        } else {
            let (snapshot, prepare) = self.logic.snapshot(epoch, self.instance);
            let operators = if snapshot.tables.is_empty() {
                Vec::new()
            } else {
                vec![OperatorSnapshot { operator: self.name.clone(), instance: self.instance, snapshot }]
            };
            let prepare = prepare.map(|prepare| (self.name.clone(), prepare));
            wires.hand_over(self.id, Job::Snapshot { actor: self.id, epoch, operators, prepare });
            if self.acknowledges_early {
                wires.report(self.id, Report::Event(Event::Acknowledged { actor: self.id, epoch }));
            }
        }
        if marker.after != After::Continue {
            self.out.control(Item::End);
            self.ended = true;
        }
    }
}
