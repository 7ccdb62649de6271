//! Regular expressions that cannot explode.
//!
//! A pattern that backtracks can be made to take hours by whoever sends the text. So a [`Pattern`] is a table, made when the
//! configuration is read: each byte is one step in it, whatever the pattern and whatever the text. Such a table may be large
//! instead, and is bounded: a pattern whose table does not fit is an error where it is written. To match takes no memory and
//! no lock, so that all workers use one.
//!
//! It is held against the *whole* of a value: `/v[0-9]+` is `/v12` and not `/v12/cart`. Values are bytes and need not be text;
//! `.`, `\w` and classes are of ASCII, and `(?i)` folds ASCII's case.
//!
//! A [`Substitution`] has to say what its groups have matched, which a table cannot. It simulates all ways of matching at once
//! (Pike's machine), in time that is the product of the two lengths, for routes that rewrite paths alone.

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::util::{interpolate, syntax};
use regex_automata::{Anchored, Input, MatchKind};

/// The longest pattern.
const MAX_LENGTH: usize = 1024;
/// The largest table.
pub const MAX_SIZE: usize = 256 << 10;
/// What may be in use while a table is made.
const MAX_EFFORT: usize = 2 << 20;

/// A regular expression, made into a table.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    table: Arc<dense::DFA<Vec<u32>>>,
}

impl Pattern {
    /// Makes the table.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern: its grammar, or that its table would be too large.
    pub fn new(text: &str) -> Result<Self, String> {
        check(text)?;
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(MAX_SIZE))
            .determinize_size_limit(Some(MAX_EFFORT));
        let built = dense::Builder::new().configure(config).syntax(bytes()).thompson(small()).build(text);
        let table = built.map_err(|error| wrong(text, error.is_size_limit_exceeded(), &error))?;
        Ok(Self { text: text.into(), table: Arc::new(table) })
    }

    /// Whether it is the whole of a value.
    pub fn is_match(&self, value: &[u8]) -> bool {
        let table = &*self.table;
        let Ok(mut state) = table.start_state_forward(&Input::new(value).anchored(Anchored::Yes)) else { return false };
        for byte in value {
            state = table.next_state(state, *byte);
            if table.is_dead_state(state) {
                return false;
            }
        }
        table.is_match_state(table.next_eoi_state(state))
    }

    /// Bytes of its table.
    pub fn size(&self) -> usize {
        self.table.memory_usage()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

/// What a value becomes where a pattern is the whole of it.
#[derive(Clone)]
pub struct Substitution {
    text: Arc<str>,
    with: Arc<str>,
    machine: Arc<PikeVM>,
}

impl Substitution {
    /// `with` may name the pattern's groups: `$1`, `${name}`; `$$` is a dollar.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern.
    pub fn new(text: &str, with: &str) -> Result<Self, String> {
        check(text)?;
        let whole = format!("^(?:{text})$");
        let machine = PikeVM::builder().syntax(bytes()).thompson(small()).build(&whole);
        let machine = machine.map_err(|error| wrong(text, error.size_limit().is_some(), &error))?;
        Ok(Self { text: text.into(), with: with.into(), machine: Arc::new(machine) })
    }

    /// The first group that is named and that the pattern does not have.
    pub fn missing_group(&self) -> Option<String> {
        let missing = std::cell::RefCell::new(None);
        let info = self.machine.get_nfa().group_info();
        let (zero, mut out) = (regex_automata::PatternID::ZERO, String::new());
        interpolate::string(
            &self.with,
            |index, _| {
                if index >= info.group_len(zero) {
                    missing.borrow_mut().get_or_insert(index.to_string());
                }
            },
            |name| {
                let index = info.to_index(zero, name);
                if index.is_none() {
                    missing.borrow_mut().get_or_insert(name.to_owned());
                }
                index
            },
            &mut out,
        );
        missing.into_inner()
    }

    /// What the value becomes; none where the pattern is not the whole of it.
    pub fn of(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut cache = self.machine.create_cache();
        let mut groups = self.machine.create_captures();
        self.machine.captures(&mut cache, value, &mut groups);
        let mut out = Vec::with_capacity(value.len() + self.with.len());
        groups.is_match().then(|| {
            groups.interpolate_bytes_into(value, self.with.as_bytes(), &mut out);
            out
        })
    }

    /// The pattern and what it is replaced with, as they were written.
    pub fn texts(&self) -> (&str, &str) {
        (&self.text, &self.with)
    }
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl fmt::Debug for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Substitution").field(&self.text).field(&self.with).finish()
    }
}

fn bytes() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

fn small() -> thompson::Config {
    thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_SIZE))
}

fn check(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("found an empty pattern, expected a regular expression like `/v[0-9]+/.*`".into()),
        length if length > MAX_LENGTH => {
            Err(format!("found {length} bytes, expected a pattern of at most {MAX_LENGTH}"))
        }
        _ => Ok(()),
    }
}

fn wrong(text: &str, large: bool, error: &(dyn std::error::Error + 'static)) -> String {
    // The innermost cause says what it is; those around it only that there is one.
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let automaton = cause.downcast_ref::<thompson::BuildError>();
    if large || automaton.is_some_and(|error| error.size_limit().is_some()) {
        return format!(
            "found `{text}`, which needs a table of more than {} KiB: a repetition of a repetition, or a long one after `.*`, \
             multiplies; expected a simpler pattern",
            MAX_SIZE >> 10
        );
    }
    let said = cause.to_string();
    let last = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
    format!("found `{text}`, which is no regular expression: {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(pattern: &str, value: &str) -> bool {
        Pattern::new(pattern).unwrap().is_match(value.as_bytes())
    }

    #[test]
    fn a_pattern_is_held_against_the_whole_of_a_value() {
        assert!(is("/v[0-9]+", "/v12"));
        assert!(!is("/v[0-9]+", "/v12/cart") && !is("/v[0-9]+", "a/v12") && !is("/v[0-9]+", ""));
        assert!(is("a|ab", "ab") && is("ab|a", "a") && !is("a|ab", "b"));
        assert!(is("a*", "") && is("^/x$", "/x") && is("(?i)/cart", "/CaRt"));
        assert!(Pattern::new(".*").unwrap().is_match(b"\xff\x00/"));
        assert!(is("/\u{e4}", "/\u{e4}"));
        assert!(is(r"/a\b.*", "/a-b") && !is(r"/a\b.*", "/ab"));
    }

    #[test]
    fn a_pattern_that_would_explode_is_an_error_and_at_once() {
        for text in ["(a|b)*a(a|b){30}", "(((a{30}){30}){30}){30}", ".*[01]{24}1.{24}", "(.{1,200}){1,200}"] {
            let started = std::time::Instant::now();
            let error = Pattern::new(text).unwrap_err();
            assert!(error.contains("table of more than 256 KiB"), "{text}: {error}");
            assert!(started.elapsed() < std::time::Duration::from_secs(20), "{text}");
        }
        assert!(Substitution::new("((a{99}){99}){99}", "").unwrap_err().contains("simpler"));
        for text in ["", "(", "[z-a]", r"\1", "a{2,1}", "(?=a)", "*"] {
            assert!(Pattern::new(text).is_err(), "{text}");
            assert!(Substitution::new(text, "").is_err(), "{text}");
        }
        assert!(Pattern::new(&"a".repeat(1025)).is_err());
    }

    #[test]
    fn a_substitution_says_what_its_groups_have_matched() {
        let of = |text: &str, with: &str, value: &str| {
            let made = Substitution::new(text, with).unwrap().of(value.as_bytes());
            made.map(|made| String::from_utf8(made).unwrap())
        };
        assert_eq!(of("/old/(.*)", "/new/$1", "/old/a/b").as_deref(), Some("/new/a/b"));
        assert_eq!(of("/(?P<id>[0-9]+)/(.*)", "/${2}x/${id}", "/7/a").as_deref(), Some("/ax/7"));
        assert_eq!(of("/old/(.*)", "/new/$1", "/older/a"), None);
        assert_eq!(of("/a|/ab", "/$$", "/ab").as_deref(), Some("/$"));
        let missing = |with| Substitution::new("/(?P<id>.)(.)", with).unwrap().missing_group();
        assert_eq!(
            [missing("/$1$2${id}"), missing("/$3"), missing("/$1x")],
            [None, Some("3".into()), Some("1x".into())]
        );
    }

    proptest::proptest! {
        /// The table agrees with an engine that was written apart from it.
        #[test]
        fn a_pattern_and_a_substitution_agree_on_what_matches(pattern in "[ab.*?+|()]{0,12}", value in "[abc]{0,12}") {
            let (table, machine) = (Pattern::new(&pattern), Substitution::new(&pattern, ""));
            if let (Ok(table), Ok(machine)) = (table, machine) {
                proptest::prop_assert_eq!(table.is_match(value.as_bytes()), machine.of(value.as_bytes()).is_some());
            }
        }
    }
}
