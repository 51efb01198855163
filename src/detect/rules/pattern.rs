//! A pattern of `matches` as a table: one look-up a byte, whatever the pattern and the text. What does not fit into a table
//! of a bounded size is refused when the rule is read.

use regex_automata::{
    Input,
    dfa::{Automaton as _, StartKind, dense},
    nfa::thompson::{Compiler, Config, WhichCaptures},
    util::syntax,
};

/// Bytes of a table, and of what it is made from.
const TABLE_BYTES_MAX: usize = 1 << 20;

/// A pattern, ready to be looked for.
pub(super) struct Pattern(dense::DFA<Vec<u32>>);

impl Pattern {
    /// Reads one; or says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        // The last line of an error says what is wrong, those before it show where.
        let last = |error: String| format!("not a pattern: {}", error.lines().last().unwrap_or_default());
        let parsed = syntax::parse(text).map_err(|error| last(error.to_string()))?;
        if parsed.properties().look_set().contains_word_unicode() {
            return Err(r"there is no `\b` of all alphabets: write (?-u:\b), which is that of ASCII".to_owned());
        }
        let too_large = || {
            format!(
                "the pattern is larger than {TABLE_BYTES_MAX} bytes: begin it with ^, repeat less, or split it in two"
            )
        };
        let states = Config::new().nfa_size_limit(Some(TABLE_BYTES_MAX)).which_captures(WhichCaptures::None);
        let states = Compiler::new().configure(states).build_from_hir(&parsed).map_err(|_| too_large())?;
        let table = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(TABLE_BYTES_MAX))
            .determinize_size_limit(Some(TABLE_BYTES_MAX));
        dense::Builder::new().configure(table).build_from_nfa(&states).map(Self).map_err(|_| too_large())
    }

    /// Whether it is anywhere in the text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        // It cannot fail: no byte makes this table give up.
        self.0.try_search_fwd(&Input::new(text).earliest(true)).is_ok_and(|found| found.is_some())
    }

    /// Bytes of its table.
    pub(super) fn bytes(&self) -> usize {
        self.0.memory_usage()
    }
}
