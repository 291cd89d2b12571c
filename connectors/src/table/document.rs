//! The documentation of the formats, made from what they say of themselves.

use super::options::OptionSpec;
use super::registry::Registry;
use std::fmt::Write;

/// All formats with all their options as a page of Markdown.
///
/// ```
/// let page = lotic_connectors::table::document(&lotic_connectors::table::registry());
/// assert!(page.contains("| `rate` | read | `rowsPerSecond` | `1` |"));
/// ```
pub fn document(registry: &Registry) -> String {
    let mut page = String::from(
        "# Formats and their options\n\n\
         Made from the code, by `connectors/tests/table_connectors.rs`: do not edit.\n\n\
         Names of formats and options are the same in any case. An unknown option is an error.\n\n\
         | format | what it is |\n|---|---|\n",
    );
    for format in registry.formats() {
        let _ = writeln!(page, "| `{}` | {} |", format.name(), cell(format.summary()));
    }
    page.push_str("\n| format | for | option | default | meaning |\n|---|---|---|---|---|\n");
    for format in registry.formats() {
        let (read, write) = (format.read_options(), format.write_options());
        for option in &read {
            let used = if write.contains(option) { "read, write" } else { "read" };
            row(&mut page, format.name(), used, option);
        }
        for option in write.iter().filter(|option| !read.contains(option)) {
            row(&mut page, format.name(), "write", option);
        }
    }
    page
}

fn row(page: &mut String, format: &str, used: &str, option: &OptionSpec) {
    let default = if option.default.is_empty() { String::new() } else { format!("`{}`", option.default) };
    let (default, doc) = (cell(&default), cell(option.doc));
    let _ = writeln!(page, "| `{format}` | {used} | `{}` | {default} | {doc} |", option.name);
}

/// A text that does not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
