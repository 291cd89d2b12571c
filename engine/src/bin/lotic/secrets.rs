//! What of a script must not be shown: the values of options that may be secret.

use lotic::connectors::table::options::is_secret;
use std::ops::Range;

/// A word or the inside of quotes.
struct Atom {
    inside: Range<usize>,
    is_quoted: bool,
}

/// The text with stars in the place of secrets, as long as before, so that places in it stay the same.
pub(crate) fn masked(text: &str) -> String {
    let atoms = atoms(text);
    let mut shown = text.to_owned();
    for pair in atoms.windows(2) {
        let [name, value] = pair else { continue };
        let quotes = usize::from(name.is_quoted) + usize::from(value.is_quoted);
        let between = &text[name.inside.end..value.inside.start];
        let between = between.trim_matches(['\'', '"', '`', ' ', '\t', '\r', '\n']);
        let belongs =
            between == "=" || between.eq_ignore_ascii_case("to") || (between.is_empty() && quotes > 0);
        if belongs && is_secret(&text[name.inside.clone()]) {
            let secret = &text[value.inside.clone()];
            let stars = secret.split('\n').map(|line| "*".repeat(line.len())).collect::<Vec<_>>();
            shown.replace_range(value.inside.clone(), &stars.join("\n"));
        }
    }
    shown
}

/// All words and quoted texts, without those in comments. `TO` is none: it stands for `=`.
fn atoms(text: &str) -> Vec<Atom> {
    let mut atoms = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let find = |from: usize, what: &str| rest[from..].find(what).map_or(rest.len(), |end| from + end);
        let length = match first {
            '-' if rest.starts_with("--") => find(2, "\n"),
            '/' if rest.starts_with("/*") => (find(2, "*/") + 2).min(rest.len()),
            quote @ ('\'' | '"' | '`') => {
                let end = closing(rest, quote);
                atoms.push(Atom { inside: at + 1..at + end, is_quoted: true });
                (end + 1).min(rest.len())
            }
            first if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                if !rest[..length].eq_ignore_ascii_case("to") {
                    atoms.push(Atom { inside: at..at + length, is_quoted: false });
                }
                length
            }
            other => other.len_utf8(),
        };
        at += length;
    }
    atoms
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// Where the quote that opens `text` is closed; a doubled one is a part of the text.
fn closing(text: &str, quote: char) -> usize {
    let mut quotes = text.char_indices().skip(1).filter(|(_, c)| *c == quote).map(|(at, _)| at).peekable();
    while let Some(at) = quotes.next() {
        if quotes.next_if_eq(&(at + 1)).is_none() {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_of_secrets_are_stars_and_all_else_stays() {
        for (text, shown) in [
            ("OPTIONS ('sasl.password' 'hunter2', 'a' 'b')", "OPTIONS ('sasl.password' '*******', 'a' 'b')"),
            ("('x.password' 'it''s', 'y' 'z')", "('x.password' '*****', 'y' 'z')"),
            ("(\"auth.token\" = \"ab\")", "(\"auth.token\" = \"**\")"),
            ("('sasl.secret'\n  ab)", "('sasl.secret'\n  **)"),
            ("-- it's\nSET kafka.password = ab", "-- it's\nSET kafka.password = **"),
            ("('password' 'not closed", "('password' '**********"),
            ("SELECT token FROM t WHERE a = 'b'", "SELECT token FROM t WHERE a = 'b'"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    proptest! {
        #[test]
        fn places_stay_the_same(text in "[a-z'\"`=/*\n -]{0,20}(password)?[' é]{0,4}[a-z'\" é]{0,20}") {
            let shown = masked(&text);
            prop_assert_eq!(shown.len(), text.len());
            prop_assert!(shown.match_indices('\n').eq(text.match_indices('\n')));
        }
    }
}
