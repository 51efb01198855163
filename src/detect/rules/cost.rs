//! How large values can be, and what is done with them costs at most, in steps of about 50 ns: what goes through bytes
//! takes a step for so and so many of them. Measured over the worst conditions of each kind: 10 to 100 ns a step.

use cel::common::ast::operators;

use super::{
    types::Type,
    values::{LIST_MAX, LISTED_TEXT_MAX, TEXT_MAX},
};

/// Bytes of a text copied or compared in a step.
const COPIED_BYTES: usize = 512;
/// Bytes of a text searched or read in a step.
const SEARCHED_BYTES: usize = 32;
/// Bytes of a pattern's table for a step: a search may touch all of it.
const TABLE_BYTES: usize = 128;
/// Steps for writing a number.
const WRITTEN_STEPS: usize = 3;
/// Bytes of a number or a truth as a text: 5e-324 written out.
const NUMBER_BYTES: usize = 512;

/// How large a value can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Elements of a list.
    pub(super) len: usize,
    /// Bytes of a text, or of any text within a list or group.
    pub(super) bytes: usize,
}

impl Size {
    /// Of a number or a truth.
    pub(super) const NONE: Self = Self { len: 0, bytes: 0 };
    /// Of what a condition is asked about: groups, and the list of findings.
    pub(super) const ASKED: Self = Self { len: LIST_MAX, bytes: TEXT_MAX };

    /// Of a text.
    pub(super) fn of_text(bytes: usize) -> Self {
        Self { len: 0, bytes }
    }

    /// Of a member or an element, which is such a one.
    pub(super) fn part(self, kind: &Type) -> Self {
        match kind {
            Type::Bool | Type::Int | Type::Double => Self::NONE,
            Type::List(_) => Self { len: LIST_MAX, bytes: self.bytes.min(LISTED_TEXT_MAX) },
            Type::Any => Self { len: LIST_MAX, bytes: self.bytes },
            Type::Text | Type::Word(_) | Type::Map(_) | Type::Object(_) => Self::of_text(self.bytes),
        }
    }

    /// Of either.
    pub(super) fn or(self, other: Self) -> Self {
        Self { len: self.len.max(other.len), bytes: self.bytes.max(other.bytes) }
    }

    /// Steps for a copy, or for comparing it with as much.
    pub(super) fn copied(self) -> usize {
        self.len.max(1).saturating_mul(self.bytes / COPIED_BYTES).saturating_add(self.len)
    }

    /// Steps for looking at each byte of a text.
    pub(super) fn searched(self) -> usize {
        self.bytes / SEARCHED_BYTES
    }
}

/// Steps that a call takes beside the one that everything takes.
pub(super) fn steps(function: &str, given: &[Type], sizes: &[Size]) -> usize {
    match (function, sizes) {
        (operators::EQUALS | operators::NOT_EQUALS, [one, other])
        | (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [one, other]) => {
            one.copied().min(other.copied())
        }
        (operators::IN, [one, all]) => {
            let each = 1 + one.bytes.min(all.bytes) / COPIED_BYTES;
            // A name is looked up in a group by all of it.
            let name = if matches!(given[1], Type::List(_)) { 0 } else { one.searched() };
            all.len.saturating_mul(each).saturating_add(name)
        }
        (operators::INDEX, [_, at]) => at.searched(),
        (operators::ADD, [one, other]) => one.copied().saturating_add(other.copied()),
        ("size", [one]) if given[0].is_text() => one.copied(),
        ("startsWith" | "endsWith" | "inNetwork", [one, other]) => one.copied().saturating_add(other.copied()),
        ("contains" | "matches", [one, other]) => one.searched().saturating_add(other.searched()),
        ("int" | "double", [one]) => one.searched(),
        ("string", [_]) => WRITTEN_STEPS,
        _ => 0,
    }
}

/// Steps for a search with a pattern's table, beside those for the text.
pub(super) fn steps_of_table(bytes: usize) -> usize {
    bytes / TABLE_BYTES
}

/// The size of what a call makes.
pub(super) fn size(function: &str, kind: &Type, given: &[Type], sizes: &[Size]) -> Size {
    match (function, sizes) {
        (operators::ADD, [one, other]) => match kind {
            Type::List(_) => Size { len: one.len.saturating_add(other.len), bytes: one.bytes.max(other.bytes) },
            _ => Size::of_text(one.bytes.saturating_add(other.bytes)),
        },
        (operators::CONDITIONAL, [_, one, other]) => one.or(*other),
        (operators::INDEX, [of, _]) => of.part(kind),
        ("string", [one]) if matches!(given[0], Type::Text | Type::Word(_)) => *one,
        ("string", [one]) => Size::of_text(one.bytes.max(NUMBER_BYTES)),
        _ => Size::NONE,
    }
}
