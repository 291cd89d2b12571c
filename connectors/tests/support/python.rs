//! Python for the tests that hold our output against programs nobody here wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The scripts of a test: a folder beside it with a `check.py` and a `requirements.txt`.
pub(crate) struct Scripts {
    pub(crate) folder: &'static str,
    /// The modules that have to be there.
    pub(crate) imports: &'static str,
}

impl Scripts {
    /// A Python that has what the script needs, in an environment of its own under the target folder.
    pub(crate) fn python(&self) -> Result<PathBuf, String> {
        let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.folder.replace('_', "-"));
        let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
        let ready = || succeed(Command::new(&python).args(["-c", &format!("import {}", self.imports)]));
        if ready().is_err() {
            succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
            let wanted = self.file("requirements.txt");
            succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(wanted))?;
            ready()?;
        }
        Ok(python)
    }

    /// The script, to be run by that Python.
    pub(crate) fn check(&self) -> PathBuf {
        self.file("check.py")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(self.folder).join(name)
    }
}

/// Standard output of a command; all it said if it fails.
pub(crate) fn succeed(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|cause| format!("{command:?}: {cause}"))?;
    let [out, said] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if status.success() { Ok(out) } else { Err(format!("{command:?}: {status}\n{out}{said}")) }
}
