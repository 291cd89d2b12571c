//! The end of a chain that leaves the engine.

use super::metrics::ActorMetrics;
use super::stage::{Flow, Signal, Stage, StageContext, StageSnapshot};
use crate::error::{Error, Result};
use lotic_connectors::Sink;
use lotic_operators::{Batch, Epoch, Marker, StateImage};

/// A sink as a stage.
pub(crate) struct SinkStage<I: Batch> {
    name: String,
    label: String,
    sink: Box<dyn Sink<I>>,
}

impl<I: Batch> SinkStage<I> {
    pub(crate) fn new(name: String, instance: usize, sink: Box<dyn Sink<I>>) -> Self {
        SinkStage { label: format!("{name}[{instance}]"), name, sink }
    }
}

impl<I: Batch> Stage<I> for SinkStage<I> {
    #[inline]
    fn push(&mut self, input: &mut I, context: &mut StageContext<'_>) -> Result<Flow> {
        let before = input.rows();
        self.sink.write(input, context.waker).map_err(|error| Error::from(error).at_operator(&self.label))?;
        let after = input.rows();
        ActorMetrics::add(&context.metrics.rows_out, (before - after) as u64);
        Ok(if after == 0 { Flow::Ready } else { Flow::Blocked })
    }

    fn signal(&mut self, signal: Signal, _context: &mut StageContext<'_>) -> Result<Flow> {
        if let Signal::Marker(Marker { whole: true, .. }) = signal {
            self.sink.whole();
        }
        Ok(Flow::Ready)
    }

    fn resume(&mut self, _context: &mut StageContext<'_>) -> Result<Flow> {
        Ok(Flow::Ready)
    }

    fn flush(&mut self) {}

    fn snapshot(&mut self, epoch: Epoch, into: &mut StageSnapshot) -> Result<()> {
        let prepare =
            self.sink.pre_commit(epoch).map_err(|error| Error::from(error).at_operator(&self.label))?;
        into.prepare = prepare.map(|prepare| (self.name.clone(), prepare));
        Ok(())
    }

    fn start(
        &mut self,
        _image: &dyn Fn(&str) -> StateImage,
        next: Epoch,
        _context: &mut StageContext<'_>,
    ) -> Result<()> {
        self.sink.start(next).map_err(|error| Error::from(error).at_operator(&self.label))
    }
}
