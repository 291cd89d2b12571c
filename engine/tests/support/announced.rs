//! A sink that says on stdout what it has committed.

use lotic::connectors::{Committer, Result, Sink, SinkFactory, SinkTraits};
use lotic::operators::{Batch, Epoch, Instance};
use std::io::Write;
use std::sync::mpsc::Sender;

/// Says that an epoch is committed.
pub(crate) fn announce(epoch: Epoch, commits: &Sender<Epoch>) {
    let _ = writeln!(std::io::stdout(), "committed {epoch}");
    let _ = commits.send(epoch);
}

/// A sink, as it is, with a word after each commit.
pub(crate) struct Announced<B> {
    pub(crate) sink: Box<dyn SinkFactory<B>>,
    pub(crate) commits: Sender<Epoch>,
}

impl<B: Batch> SinkFactory<B> for Announced<B> {
    fn traits(&self) -> SinkTraits {
        self.sink.traits()
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<B>>> {
        self.sink.create(instance)
    }

    fn committer(&self, writer: &str) -> Result<Option<Box<dyn Committer>>> {
        let commits = self.commits.clone();
        let announcing =
            |inner| Box::new(AnnouncingCommitter { inner, commits: commits.clone() }) as Box<dyn Committer>;
        Ok(self.sink.committer(writer)?.map(announcing))
    }
}

struct AnnouncingCommitter {
    inner: Box<dyn Committer>,
    commits: Sender<Epoch>,
}

impl Committer for AnnouncingCommitter {
    fn last_committed(&mut self) -> Result<Epoch> {
        self.inner.last_committed()
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        self.inner.commit(epoch, handles)?;
        announce(epoch, &self.commits);
        Ok(())
    }

    fn abort_prepared(&mut self) -> Result<()> {
        self.inner.abort_prepared()
    }
}
