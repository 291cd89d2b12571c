//! The seed of a test, and how to run it again.

/// A test binary and the environment variables it takes.
pub(crate) struct Names {
    pub(crate) binary: &'static str,
    /// How many kills.
    pub(crate) kills: &'static str,
    /// The seed.
    pub(crate) seed: &'static str,
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: write a whole number")))
}

impl Names {
    /// The number of kills asked for.
    pub(crate) fn kills(&self) -> Option<u64> {
        variable(self.kills)
    }

    /// The seed given, or a new one.
    pub(crate) fn seed(&self) -> u64 {
        let now =
            || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007);
        variable(self.seed).unwrap_or_else(now)
    }

    /// Keeps the folder and says how to see the failure again.
    pub(crate) fn fail(&self, test: &str, seed: u64, folder: tempfile::TempDir, problem: &str) -> ! {
        let Names { binary, kills, seed: seed_name } = self;
        let kills = self.kills().map_or(String::new(), |count| format!("{kills}={count} "));
        panic!(
            "{problem}\nseed {seed}; folder {}\nreplay: {kills}{seed_name}={seed} cargo test -p lotic --test {binary} \
             {test} -- --nocapture",
            folder.keep().display()
        );
    }
}
