//! `lotic formats`: what STORED AS takes, from the same tables that the checks use.

use crate::fault::Fault;
use lotic::connectors::table::options::OptionSpec;
use lotic::connectors::table::{TableFormat, registry};
use std::fmt::Write;

/// The text to print.
pub(crate) fn run(format: Option<&str>) -> Result<String, Fault> {
    let registry = registry();
    let mut text = String::new();
    if let Some(name) = format {
        let format = registry.get(name).map_err(|error| Fault::input(error.to_string()))?;
        show(format.as_ref(), &mut text);
        return Ok(text);
    }
    for (number, format) in registry.formats().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        show(format.as_ref(), &mut text);
    }
    Ok(text)
}

fn show(format: &dyn TableFormat, text: &mut String) {
    let _ = writeln!(text, "{}: {}", format.name(), format.summary());
    for (what, options) in [("reading", format.read_options()), ("writing", format.write_options())] {
        if !options.is_empty() {
            let _ = writeln!(text, "  options for {what}:");
        }
        for OptionSpec { name, default, doc } in options {
            let default = if default.is_empty() { String::new() } else { format!(" (default {default})") };
            let _ = writeln!(text, "    {name}{default}\n        {doc}");
        }
    }
}
