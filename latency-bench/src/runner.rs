//! Runs configurations in turns, with a progress bar.

use crate::error::Result;
use crate::options::Options;
use crate::report::Measured;
use crate::workload::Workload;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Runs all configurations of these workloads. Those of one workload take turns, A B C A B C, so that a
/// change of the host's mood falls on all of them.
///
/// # Errors
/// As soon as one run fails.
pub fn run(workloads: &[&'static dyn Workload], options: &Options) -> Result<Vec<Measured>> {
    let plan: Vec<(&'static dyn Workload, Vec<Measured>)> = workloads
        .iter()
        .map(|workload| (*workload, workload.cases(options).into_iter().map(Measured::new).collect()))
        .collect();
    let runs: usize = plan.iter().map(|(_, cases)| cases.len() * options.runs as usize).sum();
    let bar = progress_bar(runs as u64);
    let mut measured = Vec::new();
    for (workload, mut cases) in plan {
        for run in 1..=options.runs {
            for case in &mut cases {
                let label = case.config.label();
                bar.set_message(format!("{} {label}, run {run} of {}", case.config.name(), options.runs));
                case.push(workload.run(&case.config)?);
                bar.inc(1);
            }
        }
        measured.extend(cases);
    }
    bar.finish_and_clear();
    Ok(measured)
}

/// On stderr, and only if that is a terminal. It is drawn between runs, never during one: a ticking bar
/// would take a processor away from what is measured.
fn progress_bar(runs: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {elapsed} of about {duration}  {msg}")
        .expect("invariant: the template is valid");
    ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr()).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::report::made_up;
    use crate::workload::{Epochs, Load, Mode, RunConfig, RunResult};
    use std::sync::Mutex;
    use std::time::Duration;

    static ORDER: Mutex<String> = Mutex::new(String::new());

    struct Turns;

    impl Workload for Turns {
        fn name(&self) -> &'static str {
            "turns"
        }
        fn description(&self) -> &'static str {
            "tells in which order it was run"
        }
        fn cases(&self, options: &Options) -> Vec<RunConfig> {
            let lotic = |keys| {
                let epochs = Epochs::Every(Duration::from_millis(100));
                RunConfig { keys, ..options.lotic("turns", Load::Saturated, (Mode::Continuous, epochs)) }
            };
            vec![lotic(10), lotic(11), lotic(12)]
        }
        fn run(&self, config: &RunConfig) -> Result<RunResult> {
            ORDER.lock().unwrap().push_str(&format!("{:X}", config.keys));
            Ok(made_up::result(1))
        }
    }

    #[test]
    fn configurations_take_turns() {
        let options = Options { runs: 3, ..Options::default() };
        let measured = run(&[&Turns], &options).unwrap();
        assert_eq!(*ORDER.lock().unwrap(), "ABCABCABC");
        let runs: Vec<u32> = measured[1].rows.iter().map(|row| row.run).collect();
        assert_eq!((measured.len(), runs), (3, vec![1, 2, 3]));
    }
}
